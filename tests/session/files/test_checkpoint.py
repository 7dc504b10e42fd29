"""Saved sessions: resuming bit for bit, files that other tools read, what files can hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.dim_text import parse_dim
from staticflow.graph.dims import Dim
from staticflow.graph.printer import format_graph
from staticflow.optim import algorithms as optim
from staticflow.runtime.saved_names import rows
from tests.session.files.support import Array, network, rewritten
from tests.support.places import ROOT


def data(dtype: str = "float32") -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((50, 6)).astype(dtype), "label": rng.integers(0, 4, 50)}


def fit(session: sf.Session, epochs: int, rows: dict[str, Array]) -> list[dict[str, float]]:
    return session.fit(rows, epochs=epochs, batch_size=16, progress=False).epochs


def assert_equal(a: sf.Session, b: sf.Session) -> None:
    assert list(a.params) == list(b.params)
    for store, other in ((a.params, b.params), (a.states, b.states)):
        assert list(store) == list(other)
        for name in store:
            np.testing.assert_array_equal(store[name], other[name])
    assert (a.step_count, a.epoch_count) == (b.step_count, b.epoch_count)


OPTIMIZERS = [
    optim.AdamW(optim.warmup(3, optim.cosine(1e-2, steps=40)), clip_norm=1.0),
    optim.SGD(lambda step: 0.1 / (1.0 + 0.1 * step), momentum=0.9, nesterov=True),
    optim.RMSProp(centered=True, momentum=0.5, weight_decay=0.01),
    optim.Adagrad(initial_accumulator_value=0.1),
    optim.Lion(optim.step(1e-3, 4), clip_value=0.5),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_training_resumes_bit_for_bit(optimizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    straight, broken = network(optimizer), network(optimizer)
    expected = fit(straight, 2, data())
    first = fit(broken, 1, data())
    broken.save(path)
    resumed = sf.Session.load(path)
    assert [*first, *fit(resumed, 1, data())] == expected
    assert_equal(resumed, straight)
    resumed.save(path)
    assert_equal(sf.Session.load(path), straight)


def test_float64(tmp_path: Path) -> None:
    straight, broken = network(dtype="float64"), network(dtype="float64")
    fit(straight, 2, data("float64"))
    fit(broken, 1, data("float64"))
    broken.save(tmp_path / "m")
    resumed = sf.Session.load(tmp_path / "m")
    fit(resumed, 1, data("float64"))
    assert_equal(resumed, straight)


def test_outputs_keep_their_structure_and_values(tmp_path: Path) -> None:
    session = network()
    fit(session, 1, data())
    session.save(tmp_path / "m")
    loaded = sf.Session.load(tmp_path / "m")
    feeds = {"x": data()["x"]}
    found, expected = loaded.run(["y", "pair"], feeds), session.run(["y", "pair"], feeds)
    np.testing.assert_array_equal(found[0], expected[0])
    assert isinstance(found[1], tuple) and isinstance(found[1][1], list)
    np.testing.assert_array_equal(found[1][1][0], expected[1][1][0])
    assert loaded.evaluate(data()) == session.evaluate(data())
    found, saved = (format_graph(s._state.graph.roots) for s in (loaded, session))
    assert found.count("\n") == saved.count("\n")


def test_an_untrained_session_without_loss(tmp_path: Path) -> None:
    x = sf.input("x", ("n", 3))
    session = sf.Session(outputs=x @ sf.param("w", (3, 2)))
    session.save(tmp_path / "m")
    loaded = sf.Session.load(tmp_path / "m")
    rows = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(loaded(x=rows), session(x=rows))


def test_every_kind_of_op_survives(tmp_path: Path) -> None:
    """Sizes of sizes, slices, gathers, assemblies, comparisons, special constants."""
    x, i = sf.input("x", ("batch", "time", 4)), sf.input("i", ("batch",), "int32")
    flat = x[:, 1:, ::-1].reshape(-1, 2)
    outputs = {
        "flat": flat,
        "take": ops.take(x, i, axis=0),
        "along": ops.take_along_axis(x[:, :, 0], i[:, None], axis=1),
        "pad": ops.pad(x, ((1, 0), (0, 2), (0, 0)), -np.inf),
        "cat": ops.concatenate([x, 2 * x], axis=1),
        "max": ops.where(x > 0, x, -np.inf).max(axis=-1),
        "nan": x + np.float32(np.nan),
        "int": (i // 2) ** 2 % 3,
        "grad": sf.grad(ops.sum(ops.take(x, i, axis=0) ** 3), x),
        "one": ops.one_hot(i, 5),
        "mean": x.mean(axis=(0, 1)),
    }
    session = sf.Session(outputs=outputs)
    session.save(tmp_path / "m")
    loaded = sf.Session.load(tmp_path / "m")
    feeds = {
        "x": np.random.default_rng(1).standard_normal((3, 5, 4)).astype(np.float32),
        "i": np.array([2, 0, 1], np.int32),
    }
    found, expected = loaded.run(loaded.outputs, feeds), session.run(outputs, feeds)
    for name in outputs:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_loops(tmp_path: Path) -> None:
    x = sf.input("x", ("time", "batch", 3))
    w = sf.param("w", (3, 3))

    def step(h: Any, x: Any) -> tuple[Any, Any]:
        h = ops.tanh(x @ w + h)
        return h, h

    last, ys = sf.scan(step, x[0] * 0.0, x)
    loss = (ys * ys).mean() + last.sum()
    session = sf.Session(loss=loss, outputs=ys, optimizer=optim.Adam(1e-2), threads=1)
    session.save(tmp_path / "m")
    loaded = sf.Session.load(tmp_path / "m")
    feeds = {"x": np.random.default_rng(1).standard_normal((5, 4, 3)).astype(np.float32)}
    for _ in range(3):
        assert loaded.step(feeds, batch_axis="time") == session.step(feeds, batch_axis="time")
    assert_equal(loaded, session)


def test_native_routines_and_their_derivatives(tmp_path: Path) -> None:
    a = sf.input("a", ("batch", 3, 3), "float64")
    outputs = {"inv": ops.inv(a), "slope": sf.grad(ops.sum(ops.slogdet(a)[1]), a)}
    session = sf.Session(outputs=outputs)
    session.save(tmp_path / "m")
    loaded = sf.Session.load(tmp_path / "m")
    feeds = {"a": np.random.default_rng(0).standard_normal((4, 3, 3))}
    for name in outputs:
        np.testing.assert_array_equal(loaded.run(name, feeds), session.run(name, feeds))


def test_another_process_resumes_bit_for_bit(tmp_path: Path) -> None:
    session = network()
    fit(session, 1, data())
    session.save(tmp_path / "m")
    np.savez(tmp_path / "data.npz", **data())
    code = (
        "import numpy as np, staticflow as sf; s = sf.Session.load('m');"
        "s.fit(dict(np.load('data.npz')), epochs=1, batch_size=16, progress=False); s.save('n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    fit(session, 1, data())
    assert_equal(sf.Session.load(tmp_path / "n"), session)


def test_any_tool_reads_the_weights(tmp_path: Path) -> None:
    session = network()
    session.save(tmp_path / "m")
    tensors = load_file(tmp_path / "m")
    for name, value in [*session.params.items(), *session.states.items()]:
        np.testing.assert_array_equal(tensors[name], value)


def test_load_params_from_a_session_and_from_another_tool(tmp_path: Path) -> None:
    session, other = network(), network(seed=8)
    session.save(tmp_path / "m")
    other.load_params(tmp_path / "m")
    assert_equal(other, session)
    save_file({"shift": np.full(4, 7, np.float32)}, tmp_path / "w")
    other.load_params(str(tmp_path / "w"))
    assert (other.params["shift"] == 7).all()
    with pytest.raises(sf.GraphError, match="no graph"):
        sf.Session.load(tmp_path / "w")


def test_extra_comes_back(tmp_path: Path) -> None:
    extra = {"classes": ["a", "b"], "mean": 0.1, "nested": {"n": None}}
    network().save(tmp_path / "m", extra=extra)
    loaded = sf.Session.load(tmp_path / "m")
    assert loaded.extra == extra
    loaded.save(tmp_path / "n")
    assert sf.Session.load(tmp_path / "n").extra == extra
    with pytest.raises(sf.GraphError, match="plain data"):
        loaded.save(tmp_path / "n", extra={"x": np.zeros(3)})
    assert sf.Session.load(tmp_path / "n").extra == extra


def test_threads(tmp_path: Path) -> None:
    network().save(tmp_path / "m")
    assert sf.Session.load(tmp_path / "m").threads == 1
    assert sf.Session.load(tmp_path / "m", threads=2).threads == 2


@numba.njit  # type: ignore[misc]
def twice(x: Array) -> Array:
    return 2 * x


def test_foreign_ops_are_refused_at_saving(tmp_path: Path) -> None:
    class Own(optim.SGD):
        pass

    with pytest.raises(sf.GraphError, match=r"(?s)the optimizer cannot be saved.*Own"):
        network(Own(0.1)).save(tmp_path / "m")
    x = sf.input("x", ("n",))
    y = sf.custom_op(twice)(x)
    with pytest.raises(sf.GraphError, match=r"(?s)cannot be saved.*custom_op"):
        sf.Session(outputs=y).save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_rows_have_names_of_their_own() -> None:
    assert len({id(row) for row in rows().values()}) == len(rows())


@pytest.mark.parametrize("text", ["n", "n - 1", "2*batch*time + 3", "-n + 4", "n*n - 2*n"])
def test_sizes_as_text(text: str) -> None:
    size = parse_dim(text)
    assert isinstance(size, Dim)
    assert parse_dim(repr(size)) == size


def test_scalars_are_saved_as_scalars(tmp_path: Path) -> None:
    x = sf.input("x", ("batch",))
    w, count = sf.param("w", (), init="ones"), sf.state("count", (), 3.0)
    session = sf.Session(outputs={"y": x * w + count})
    session.save(tmp_path / "model.safetensors")
    loaded = sf.Session.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.run("y", {"x": [1.0, 2.0]}), [4.0, 5.0])
    assert load_file(tmp_path / "model.safetensors")["w"].shape == ()


def test_every_file_says_who_wrote_it(tmp_path: Path) -> None:
    """The version of the format, which is checked, and that of staticflow, which is told."""
    network().save(tmp_path / "m")
    found: dict[str, Any] = {}
    rewritten(tmp_path / "m", lambda content, tensors: found.update(content))
    assert found["version"] == 1 and found["written_by"]
    rewritten(tmp_path / "m", lambda content, tensors: content.update(version=2, written_by="9.1"))
    with pytest.raises(sf.GraphError, match=r"(?s)version 2 .*staticflow 9\.1"):
        sf.Session.load(tmp_path / "m")
    rows = np.random.default_rng(0).standard_normal((20, 3))
    state = models.FNNRegressor(hidden=4, epochs=1).fit(rows, rows[:, 0])._network.__getstate__()
    assert state["version"] == 1 and state["written_by"]
    fresh = object.__new__(type(models.FNNRegressor().fit(rows, rows[:, 0])._network))
    with pytest.raises(sf.GraphError, match="a pickled estimator: version 2"):
        fresh.__setstate__({**state, "version": 2})


NAMES = ["\ud800", "__metadata__", "n" * 1001, ""]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_no_file_holds_is_refused_at_its_declaration(name: str) -> None:
    for declare in (sf.input, sf.param, sf.state):
        with pytest.raises(sf.GraphError, match="name"):
            declare(name, (3,))
    if name != "__metadata__":  # which a size may have
        with pytest.raises(sf.ShapeError, match="dimension"):
            sf.input("x", (name,))


@pytest.mark.parametrize("name", ["staticflow.const.0", "optimizer:m:w", "n" * 1000, "a\0b", "\n"])
def test_any_other_name_is_saved(name: str, tmp_path: Path) -> None:
    x, w = sf.input("x", ("batch", 3)), sf.param("w", (3,), init="ones")
    y = (x * w + sf.param(name, (3,), init="ones") + np.arange(3, dtype=np.float32)).sum(axis=1)
    session = sf.Session(loss=y.mean(), outputs=y, optimizer=optim.Adam(0.1))
    rows = np.ones((2, 3), np.float32)
    session.step({"x": rows})
    session.save(tmp_path / "m")
    loaded = sf.Session.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded(x=rows), session(x=rows))


@pytest.mark.parametrize("value", ["1", b"1", None, [[1]], float("nan"), float("inf"), 10**400, -1])
def test_a_setting_that_is_no_number_is_refused_where_it_is_given(value: Any) -> None:
    with pytest.raises(sf.GraphError, match=r"number|finite|function"):
        optim.Adam(value)
    with pytest.raises(sf.GraphError, match="weight_decay"):
        optim.Adam(weight_decay=value)
    with pytest.raises(sf.GraphError, match="lr_scale"):
        sf.param("w", (3,), lr_scale=value)
    with pytest.raises(sf.GraphError, match=r"lr|steps"):
        optim.cosine(value, steps=3)


def test_numbers_beyond_those_of_json_are_saved(tmp_path: Path) -> None:
    extra = {"best": float("inf"), "worst": [-float("inf"), 5e-324, 1.7e308]}
    session = network(optim.Adam(5e-324, eps=1e-300, weight_decay=1.7e308))
    session.save(tmp_path / "m", extra=extra)
    loaded = sf.Session.load(tmp_path / "m")
    assert loaded.extra == extra and loaded.optimizer == session.optimizer
