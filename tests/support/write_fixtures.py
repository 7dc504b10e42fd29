"""Writes the files that later versions must load; to be run once a release:

    python -m tests.support.write_fixtures

They go to tests/fixtures/VERSION/, where `test_fixtures.py` finds them, whatever their version:

    NAME.safetensors            a saved session
    NAME.session.pickle, NAME.function.pickle, NAME.estimator.pickle
    NAME.npz                    what goes in and must come out: `feed.x`, `out.y` at inference, and
                                `train.x` with the `losses` of three more steps after loading;
                                `X` and `y` of an estimator, its `losses` and that of the `next`
                                epoch by `partial_fit`
    NAME.train.csv or .txt or .npz   what a model of the command line was trained on
    NAME.model                  that model
    NAME.predicted              what `predict` printed of the same data, `evaluate` of a text

It prints a line for each case, its name and what its files take together, and the whole:

    fnn_adam                     28,401
    ...
    20 cases, 358,596 bytes in tests/fixtures/0.1.0

Only the public API is used, so that it goes on working; a folder that is there is left as it is.
tests/fixtures/0.1.0 was written before files had a version of staticflow in them.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import models, ops
from staticflow.cli.main import main
from staticflow.optim import algorithms as optim
from tests.support.places import FIXTURES, ROOT

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Made = tuple[sf.Session, Feeds, Feeds]  # a session, what it is run on, and what it trains on


def normal(seed: int, *shape: int) -> Array:
    """Rows to feed."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def fnn_adam() -> Made:
    """In the middle of a training: Adam's moments, a schedule, batch norm, groups, a constant."""
    x, label = sf.input("x", ("batch", 6)), sf.input("label", ("batch",), "int64")
    net = models.FNN([6, 9, 4], norm="batch")
    shift = sf.param("shift", (4,), init="ones", trainable=False)
    scale = sf.param("scale", (4,), init="ones", decay=False, lr_scale=0.5)
    table = sf.const(np.arange(8, dtype=np.float32).reshape(2, 4))
    y = net(x) * scale + shift + table[1]
    hit = ops.equal(ops.argmax(y, axis=-1), label).astype("float32").mean()
    session = sf.Session(
        loss=ops.softmax_cross_entropy(y, label).mean(),
        outputs={"y": y, "pair": (y[:, 0], [ops.exp(-y)])},
        metrics={"accuracy": hit},
        optimizer=optim.AdamW(optim.warmup(3, optim.cosine(1e-2, steps=40)), clip_norm=1.0),
        seed=3,
        threads=1,
    )
    session.extra = {"classes": ["a", "b"], "mean": 0.25, "nested": {"n": None}}
    rows = {"x": normal(0, 40, 6), "label": np.arange(40) % 4}
    session.fit(rows, epochs=2, batch_size=16, progress=False)
    return session, {"x": rows["x"]}, rows


def fnn_dropout() -> Made:
    """Dropout and layer norm, in float64, by RMSProp."""
    x, t = sf.input("x", ("batch", 5), "float64"), sf.input("t", ("batch", 2), "float64")
    y = models.FNN([5, 8, 2], activation="gelu", dropout=0.3, norm="layer")(x)
    session = sf.Session(ops.mse(y, t), {"y": y}, None, optim.RMSProp(1e-2, momentum=0.5), seed=1)
    rows = {"x": normal(1, 24, 5).astype(np.float64), "t": normal(2, 24, 2).astype(np.float64)}
    session.fit(rows, epochs=1, batch_size=8, progress=False)
    return session, {"x": rows["x"]}, {}  # what is dropped may be drawn in other ways


def recurrent(cell: str, layers: int, bidirectional: bool, rate: Any) -> Callable[[], Made]:
    """A recurrent network over sequences of different lengths."""

    def make() -> Made:
        x, t = sf.input("x", ("batch", "time", 3)), sf.input("t", ("batch", 1))
        lengths = sf.input("lengths", ("batch",), "int64")
        rnn = models.RNN(5, cell, layers, bidirectional, return_sequences=True)
        hidden = rnn(x, lengths=lengths)
        y = models.FNN([hidden.shape[-1], 1], name="head")(hidden.mean(axis=1))
        session = sf.Session(
            ops.mse(y, t), {"y": y, "hidden": hidden}, None, rate, seed=2, threads=1
        )
        rows = {"x": normal(3, 12, 7, 3), "t": normal(4, 12, 1), "lengths": np.arange(12) % 7 + 1}
        session.fit(rows, epochs=2, batch_size=6, progress=False)
        return session, {k: rows[k] for k in ("x", "lengths")}, rows

    return make


def loops() -> Made:
    """A scan, a branch in it and outside, and a while loop; trained by a schedule of its own."""
    x, w = sf.input("x", ("batch", "time", 3)), sf.param("w", (3, 3))

    def step(h: Any, x: Any) -> tuple[Any, Any]:
        h = ops.tanh(x @ w + 0.5 * h)
        return h, sf.cond(h.sum() > 0.0, lambda: h * 2.0, lambda: -h)

    last, ys = sf.scan(step, x[:, 0] * 0.0, ops.transpose(x, (1, 0, 2)), remat=2)
    halved = sf.while_loop(
        lambda v: (v * v).sum() > 0.01, lambda v: v / 2.0, last.sum(axis=0), max_steps=20
    )
    y = sf.cond(last.sum() > 0.0, last, lambda: last - 1.0)
    session = sf.Session(
        (ys * ys).mean() + last.sum() + halved.sum(),
        {"ys": ys, "y": y, "halved": halved, "slope": sf.grad(ys.sum(), w)},
        None,
        optim.SGD(lambda done: 0.1 / (1.0 + 0.1 * done), momentum=0.9, nesterov=True),
        threads=1,
    )
    rows = {"x": normal(5, 8, 4, 3)}
    session.fit(rows, epochs=2, batch_size=4, progress=False)
    return session, rows, rows


def many_ops() -> Made:
    """Sizes of sizes, slices, gathers, assemblies, comparisons, linear algebra, derivatives."""
    x, i = sf.input("x", ("batch", "time", 4)), sf.input("i", ("batch",), "int32")
    a = sf.input("a", ("batch", 3, 3), "float64")
    outputs = {
        "flat": x[:, 1:, ::-1].reshape(-1, 2),
        "take": ops.take(x, i, axis=0),
        "along": ops.take_along_axis(x[:, :, 0], i[:, None], axis=1),
        "pad": ops.pad(x, ((1, 0), (0, 2), (0, 0)), -np.inf),
        "cat": ops.concatenate([x, 2 * x], axis=1),
        "max": ops.where(x > 0, x, -np.inf).max(axis=-1),
        "int": (i // 2) ** 2 % 3,
        "grad": sf.grad(ops.sum(ops.take(x, i, axis=0) ** 3), x),
        "one": ops.one_hot(i, 5),
        "sorted": ops.sort(x, axis=1),
        "cumsum": ops.cumsum(x, axis=1),
        "inv": ops.inv(a),
        "solve": ops.solve(a, ops.transpose(a, (0, 2, 1))),
        "cholesky": ops.cholesky(a @ ops.transpose(a, (0, 2, 1)) + 3.0 * np.eye(3)),
        "slope": sf.grad(ops.sum(ops.slogdet(a)[1]), a),
        "einsum": ops.einsum("bij,bjk->bik", a, a),
    }
    feeds = {"x": normal(6, 3, 5, 4), "i": np.array([2, 0, 1], np.int32)}
    feeds["a"] = normal(7, 3, 3, 3).astype(np.float64) + 3 * np.eye(3)
    return sf.Session(outputs=outputs), feeds, {}


def running_average() -> Made:
    """A state of one's own, which training steps carry along."""
    x, w = sf.input("x", ("batch", 2)), sf.param("w", (2,), init="ones")
    seen = sf.state("seen", (2,), "zeros")
    y = x * w + seen
    sf.update(seen, 0.9 * seen + 0.1 * x.mean(axis=0))
    session = sf.Session((y * y).mean(), {"y": y}, None, optim.Lion(1e-2), threads=1)
    rows = {"x": normal(8, 6, 2)}
    session.step(rows)
    return session, rows, rows


def estimator(kind: str) -> tuple[Any, Array, Array]:
    """A fitted estimator, and rows."""
    settings: dict[str, Any] = {"hidden": 6, "epochs": 5, "random_state": 0, "learning_rate": 0.01}
    x = normal(9, 30, 4, 2) if "RNN" in kind else normal(9, 30, 4)
    total = x.reshape(30, -1).sum(axis=1)
    y: Array = np.where(total > 0, "up", "down") if "Classifier" in kind else total * 3 + 1
    if kind == "FNNClassifier":
        settings |= {"norm": "batch", "optimizer": optim.Adam(0.02)}
    return getattr(models, kind)(**settings).fit(x, y), x, y


SESSIONS: Mapping[str, Callable[[], Made]] = {
    "fnn_adam": fnn_adam,
    "fnn_dropout": fnn_dropout,
    "rnn_lengths": recurrent("tanh", 1, False, optim.Adam(1e-2)),
    "lstm_lengths": recurrent("lstm", 1, False, optim.Adagrad(optim.exponential(1e-2, 0.9))),
    "gru_two_layers": recurrent("gru", 2, True, optim.Adam(optim.step(1e-2, 4))),
    "loops": loops,
    "many_ops": many_ops,
    "running_average": running_average,
}
ESTIMATORS = ("FNNClassifier", "FNNRegressor", "RNNClassifier", "RNNRegressor")


def leaves(value: Any, name: str) -> Feeds:
    """The arrays in a structure of outputs, each under where it stands."""
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list | tuple):
        members = [(str(k), v) for k, v in enumerate(value)]
    else:
        return {name: np.asarray(value)}
    return {k: a for key, v in members for k, a in leaves(v, f"{name}.{key}").items()}


def outcome(session: sf.Session, feeds: Feeds) -> Feeds:
    """Every output at inference, by `out.` and where it stands."""
    return leaves(session.run(session.outputs, feeds), "out")


def losses(session: sf.Session, feeds: Feeds) -> Array:
    """Of three more steps."""
    return np.array([session.step(feeds, batch_axis="batch") for _ in range(3)])


def write_session(name: str, folder: Path, pickled: bool) -> None:
    """A session and what it must do after loading."""
    session, feeds, train = SESSIONS[name]()
    if pickled:
        write_pickle(folder / f"{name}.session.pickle", session)
    else:
        session.save(folder / f"{name}.safetensors")
    expected = {f"feed.{k}": v for k, v in feeds.items()} | outcome(session, feeds)
    if train:
        expected |= {f"train.{k}": v for k, v in train.items()}
        expected["losses"] = losses(session, train)
    np.savez_compressed(folder / f"{name}.npz", **expected)


def write_function(name: str, folder: Path) -> None:
    """A function with a derivative among its outputs."""
    x, w = sf.input("x", ("batch", 3)), sf.input("w", (3, 3))
    y = ops.softmax(ops.tanh(x @ w))
    function = sf.function([x, w], {"y": y, "slopes": [sf.grad((y * y).sum(), w)]})
    write_pickle(folder / f"{name}.function.pickle", function)
    feeds = {"x": normal(10, 4, 3), "w": normal(11, 3, 3)}
    expected = {f"feed.{k}": v for k, v in feeds.items()}
    np.savez_compressed(folder / f"{name}.npz", **expected, **leaves(function(**feeds), "out"))


def write_estimator(name: str, folder: Path) -> None:
    """A fitted estimator, and what it predicts."""
    fitted, x, y = estimator(name)
    write_pickle(folder / f"{name}.estimator.pickle", fitted)
    expected = {"X": x, "y": y, "out.predict": fitted.predict(x), "losses": fitted.loss_curve_}
    going_on = pickle.loads(pickle.dumps(fitted)).partial_fit(x, y)
    expected["next"] = going_on.loss_curve_[-1]
    if hasattr(fitted, "predict_proba"):
        expected["out.predict_proba"] = fitted.predict_proba(x)
    np.savez_compressed(folder / f"{name}.npz", **expected)


def write_pickle(path: Path, value: Any) -> None:
    """With the protocol that every supported Python reads."""
    path.write_bytes(pickle.dumps(value, protocol=4))


def table_file(path: Path, classes: bool) -> None:
    """A table with a target of classes, or of numbers."""
    x = normal(12, 40, 3)
    total = x.sum(axis=1)
    target = np.where(total > 0, "high", "low") if classes else np.round(3 * total + 1, 4)
    lines = ["a,b,c,target"]
    lines += [f"{p:.4f},{q:.4f},{r:.4f},{t}" for (p, q, r), t in zip(x, target, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def series_file(path: Path) -> None:
    """A column that follows in time."""
    values = np.sin(np.arange(60) / 3.0) * 4 + 10
    path.write_text("level\n" + "".join(f"{v:.4f}\n" for v in values))


def text_file(path: Path) -> None:
    """A text with something to learn in it."""
    lines = [f"{k} and {k + 1} make {2 * k + 1};" for k in range(70)]
    path.write_text("\n".join(lines) + "\n")


def array_file(path: Path) -> None:
    """Rows of numbers, and their classes."""
    x = normal(13, 40, 4)
    np.savez_compressed(path, X=x, y=(x[:, 0] > 0).astype(np.int64))


COMMANDS: Mapping[str, tuple[str, Callable[[Path], None], list[str]]] = {
    "table_classes": ("csv", lambda p: table_file(p, True), ["--target", "target"]),
    "table_numbers": ("csv", lambda p: table_file(p, False), ["--target", "target"]),
    "series": ("csv", series_file, ["--target", "level", "--window", "5"]),
    "text": ("txt", text_file, ["--steps", "16"]),
    "arrays": ("npz", array_file, ["--target", "y", "--model", "lstm"]),
}


def printed(*arguments: object) -> str:
    """What a command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        assert main([str(a) for a in arguments]) == 0
    return stream.getvalue()


def answers(name: str, model: Path, data: Path) -> str:
    """What a model of the command line says of its data."""
    if name == "text":
        return printed("evaluate", model, data, "--all").splitlines()[-1] + "\n"
    options = ["--ahead", "4"] if name == "series" else []
    options = ["--probabilities"] if name == "table_classes" else options
    return printed("predict", model, data, *options)


def write_command(name: str, folder: Path) -> None:
    """A model by `staticflow train`, and what it answers."""
    suffix, make, options = COMMANDS[name]
    data, model = folder / f"{name}.train.{suffix}", folder / f"{name}.model"
    make(data)
    common = ["--hidden", "6", "--epochs", "5", "--no-plot", "--no-progress", "--threads", "1"]
    printed("train", data, *options, *common, "--out", model)
    (folder / f"{name}.predicted").write_text(answers(name, model, data))


def write_all(folder: Path) -> None:
    """Every case; prints what each takes."""
    folder.mkdir(parents=True)
    cases: dict[str, Callable[[str, Path], None]] = {
        **{name: lambda n, f: write_session(n, f, pickled=False) for name in SESSIONS},
        "function": write_function,
        **dict.fromkeys(ESTIMATORS, write_estimator),
        **dict.fromkeys(COMMANDS, write_command),
    }
    for name, write in cases.items():
        write(name, folder)
        show(name, folder.glob(f"{name}.*"))
    (folder / "pickled").mkdir()
    for name in ("fnn_adam", "gru_two_layers"):
        write_session(name, folder / "pickled", pickled=True)
        show(f"pickled/{name}", (folder / "pickled").glob(f"{name}.*"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    print(f"{len(cases) + 2} cases, {total:,} bytes in {folder.relative_to(ROOT)}")


def show(name: str, files: Any) -> None:
    """The size of a case's files."""
    print(f"{name:24} {sum(path.stat().st_size for path in files):10,}")


if __name__ == "__main__":
    write_all(FIXTURES / importlib.metadata.version("staticflow"))
