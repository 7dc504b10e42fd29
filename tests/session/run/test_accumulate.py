"""Several batches with one update: `fit(accumulate=k)`, `session.accumulate`, `session.apply`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import staticflow as sf
from staticflow import models, ops
from staticflow.session.run import nan_guard
from staticflow.session.run.nan_guard import NanGuard
from staticflow.training import trainer as trainer_module
from tests.session.files.support import rewritten
from tests.support.sharding import force
from tests.support.small_nets import values

RNG = np.random.default_rng(0)
ROWS, BATCH, GROUP = 107, 8, 3  # 13 batches and 3 rows: groups of 3, and 2 with 11 rows
X, T = RNG.normal(size=(ROWS, 5)), RNG.normal(size=(ROWS, 2))
DATA = {"x": X, "t": T}


def made(
    optimizer: Any = None, threads: int = 1, check_numerics: bool = False, **options: Any
) -> sf.Session:
    x, t = sf.input("x", ("batch", 5), "float64"), sf.input("t", ("batch", 2), "float64")
    y = models.FNN([5, 7, 2], "tanh", **options)(x)
    return sf.Session(
        ops.mse(y, t),
        outputs={"y": y},
        metrics={"mae": ops.mae(y, t)},
        optimizer=optimizer or sf.optim.Adam(0.05, clip_norm=0.5),
        threads=threads,
        check_numerics=check_numerics,
        seed=3,
    )


def batches(size: int = BATCH) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    for first in range(0, ROWS, size):
        yield {name: array[first : first + size] for name, array in DATA.items()}


def by_hand(session: sf.Session, epochs: int = 1, group: int = GROUP) -> list[float]:
    """The loop that `fit(accumulate=)` makes; what each update returns."""
    losses = []
    for _ in range(epochs):
        parts = list(batches())
        for first in range(0, len(parts), group):
            for feeds in parts[first : first + group]:
                session.accumulate(feeds)
            losses.append(session.apply())
    return losses


def assert_same(one: sf.Session, other: sf.Session) -> None:
    """Bit for bit."""
    assert one.step_count == other.step_count
    for name, array in values(other).items():
        np.testing.assert_array_equal(values(one)[name], array, err_msg=name)


def assert_close(one: sf.Session, other: sf.Session, tolerance: float = 1e-12) -> None:
    assert one.step_count == other.step_count
    for name, array in values(other).items():
        np.testing.assert_allclose(values(one)[name], array, tolerance, tolerance, err_msg=name)


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: sf.optim.SGD(0.1, momentum=0.9, clip_value=0.02),
    "adam": lambda: sf.optim.Adam(sf.optim.cosine(0.05, 12), clip_norm=0.5),
    "lion": lambda: sf.optim.Lion(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_is_one_large_batch(
    name: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clipping comes after accumulation, schedules and steps count updates, logs are the same."""
    force(monkeypatch)
    large, group = made(OPTIMIZERS[name](), threads), made(OPTIMIZERS[name](), threads)
    expected = large.fit(DATA, epochs=3, batch_size=GROUP * BATCH, progress=False)
    found = group.fit(DATA, epochs=3, batch_size=BATCH, accumulate=GROUP, progress=False)
    assert group.step_count == 3 * 5
    assert_close(group, large)
    for log, other in zip(found.epochs, expected.epochs, strict=True):
        assert log == pytest.approx(other, rel=1e-12)
    (trainer,) = group._state.trainers.values()
    assert len(trainer.shards) == threads


def test_pytorch_accumulates_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With batch norm, whose statistics are those of each batch; losses weighted by rows."""
    force(monkeypatch)
    x, t = sf.input("x", ("batch", 5), "float64"), sf.input("t", ("batch", 2), "float64")
    model = models.FNN([5, 7, 2], "tanh", norm="batch")
    optimizer = sf.optim.SGD(0.1, momentum=0.9, clip_norm=0.3)
    sessions = [sf.Session(ops.mse(model(x), t), optimizer=optimizer, threads=n) for n in (1, 2)]
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 2)).double()
    for session in sessions:
        session.fit(DATA, 2, BATCH, shuffle=False, accumulate=GROUP, progress=False)
    start = sf.Session(ops.mse(model(x), t)).params
    with torch.no_grad():
        for layer, k in ((net[0], 0), (net[3], 1)):
            layer.weight.copy_(torch.tensor(start[f"fnn.{k}.weight"].T))
            layer.bias.copy_(torch.tensor(start[f"fnn.{k}.bias"]))
    steps = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    parts = list(batches())
    for _ in range(2):
        for first in range(0, len(parts), GROUP):
            group = parts[first : first + GROUP]
            rows = sum(len(feeds["x"]) for feeds in group)
            for feeds in group:
                y = net(torch.tensor(feeds["x"]))
                loss = nn.functional.mse_loss(y, torch.tensor(feeds["t"]))
                (loss * (len(feeds["x"]) / rows)).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.3)
            steps.step()
            steps.zero_grad()
    for session in sessions:
        found = {**session.params, **session.states}
        pairs = {
            "fnn.0.weight": net[0].weight.T, "fnn.0.norm.weight": net[1].weight,
            "fnn.0.norm.running_mean": net[1].running_mean, "fnn.1.bias": net[3].bias,
            "fnn.0.norm.running_var": net[1].running_var,
        }  # fmt: skip
        for name, tensor in pairs.items():
            expected = tensor.detach().numpy()
            np.testing.assert_allclose(found[name], expected, 1e-9, 1e-12, err_msg=name)


@pytest.mark.parametrize("options", [{}, {"norm": "batch", "dropout": 0.3}])
def test_fit_is_the_loop_that_one_would_write(options: dict[str, Any]) -> None:
    """Bit for bit, with draws and states: in memory, from an iterator, by hand."""
    fit, stream, loop = made(**options), made(**options), made(**options)
    log = fit.fit(DATA, 2, BATCH, shuffle=False, accumulate=GROUP, progress=False).epochs
    streamed = stream.fit(batches, 2, accumulate=GROUP, progress=False).epochs
    losses = by_hand(loop, 2)
    assert_same(stream, fit)
    assert_same(loop, fit)
    assert fit.step_count == 10 and len(losses) == 10
    assert [x["loss"] for x in streamed] == pytest.approx([x["loss"] for x in log], rel=1e-12)
    rows = [24] * 4 + [11]
    first = np.dot(losses[:5], rows) / ROWS
    assert first == pytest.approx(log[0]["loss"], rel=1e-12)


def test_batches_of_a_group_draw_their_own_numbers() -> None:
    """Each micro-batch has other draws than the rest of its group, and other groups."""
    x = sf.input("x", ("batch", 1), "float64")
    w = sf.param("w", (1,), init="zeros", dtype="float64")
    drawn = ops.uniform(("batch", 1), dtype="float64") + 0.0 * x
    session = sf.Session((w * drawn).mean() + 0.0 * drawn.mean(), optimizer=sf.optim.SGD(1.0))
    found = []
    for _ in range(2):
        for _ in range(3):
            session.accumulate({"x": np.zeros((1, 1))})
            total = session._state.accumulated
            assert total is not None
            found.append(float(total.total[0]))
        session.apply()
    single = np.concatenate([np.diff([0.0, *found[:3]]), np.diff([0.0, *found[3:]])])
    assert len(set(single.round(12))) == 6


def test_native_calls_may_end_within_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nan_guard, "CALL_NS", 0.0)  # a call for each batch
    short = made()
    short.fit(DATA, 2, BATCH, accumulate=GROUP, progress=False)
    monkeypatch.undo()
    long = made()
    long.fit(DATA, 2, BATCH, accumulate=GROUP, progress=False)
    assert_same(short, long)


def test_gradients_that_owners_make_are_accumulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights wide enough to be left to their owners in a step of its own: not in a group."""
    force(monkeypatch)
    x = sf.input("x", ("batch", 96), "float64")
    data = {"x": RNG.normal(size=(16, 96))}
    sessions = [
        sf.Session((models.FNN([96, 80, 1])(x) ** 2).mean(), optimizer=sf.optim.SGD(0.1), threads=n)
        for n in (1, 2, 2)
    ]
    for session, size, group in zip(sessions, (16, 8, 16), (1, 2, 1), strict=True):
        session.fit(data, 2, size, accumulate=group, progress=False)
    owned = [next(iter(s._state.trainers.values())).owned for s in sessions]
    assert not owned[1] and owned[2]
    assert_close(sessions[1], sessions[0], 1e-9)


def test_blocks_of_rows_are_accumulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that goes through in blocks that fit the cache: what the blocks leave is added up."""
    monkeypatch.setattr(trainer_module, "block_rows", lambda *sizes: 5)
    blocked = made()
    blocked.fit(DATA, 2, BATCH, shuffle=False, accumulate=GROUP, progress=False)
    assert next(iter(blocked._state.trainers.values())).blocks == (5,)
    monkeypatch.undo()
    whole = made()
    whole.fit(DATA, 2, GROUP * BATCH, shuffle=False, progress=False)
    assert_close(blocked, whole)


def test_float32() -> None:
    x, t = sf.input("x", ("batch", 5)), sf.input("t", ("batch", 2))
    loss = ops.mse(models.FNN([5, 7, 2])(x), t)
    sessions = [sf.Session(loss, optimizer=sf.optim.SGD(0.1), threads=1) for _ in range(2)]
    for session, size, group in zip(sessions, (24, 8), (1, 3), strict=True):
        session.fit(DATA, 3, size, accumulate=group, progress=False)
    assert_close(sessions[1], sessions[0], 1e-5)


def copies(session: sf.Session, folder: Path) -> Iterator[sf.Session]:
    session.save(folder / "middle.sf")
    yield sf.Session.load(folder / "middle.sf")
    yield copy.deepcopy(session)
    yield pickle.loads(pickle.dumps(session))


def test_a_group_goes_on_in_a_copy(tmp_path: Path) -> None:
    """Saved, copied or pickled in the middle of it: bit for bit, with draws and states."""
    session, (first, second, *_) = made(norm="batch", dropout=0.3), batches()
    by_hand(session)
    session.accumulate(first)
    others = list(copies(session, tmp_path))
    for each in (session, *others):
        each.accumulate(second)
        assert each.apply() > 0
        each.fit(DATA, 1, BATCH, accumulate=GROUP, progress=False)
    for other in others:
        assert_same(other, session)
    session.save(tmp_path / "whole.sf")  # nothing waits here
    assert sf.Session.load(tmp_path / "whole.sf")._state.accumulated is None


def test_another_optimizer_may_take_what_is_accumulated() -> None:
    session, expected = made(), made(sf.optim.SGD(0.5))
    feeds = next(batches())
    for each in (session, expected):
        each.accumulate(feeds)
    session.optimizer = sf.optim.SGD(0.5)
    for each in (session, expected):
        each.apply()
    assert_same(session, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_nan_leaves_the_last_update(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second batch of the second group: its first is forgotten, one update has been made.

    Shards wait for each other at updates only: one may be batches ahead of who finds the NaN.
    """
    force(monkeypatch)
    bad = {"x": X.copy(), "t": T}
    bad["x"][4 * BATCH + 1, 0] = np.nan
    expected = made()
    for feeds in list(batches())[:GROUP]:
        expected.accumulate(feeds)
    expected.apply()
    parts = [{n: a[i : i + BATCH] for n, a in bad.items()} for i in range(0, ROWS, BATCH)]
    for data in (bad, lambda: iter(parts)):
        session = made(threads=threads)
        with pytest.warns(RuntimeWarning, match=r"step 5 of epoch 1, training step 2"):
            session.fit(data, 2, BATCH, shuffle=False, accumulate=GROUP, progress=False)
        assert_close(session, expected)
        session.discard()  # nothing waits: it does nothing
        session.step(next(batches()))


def test_an_interrupt_forgets_the_group_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def calls(guard: NanGuard, steps: int, estimate_ns: float) -> Iterator[tuple[int, int]]:
        yield 0, GROUP + 1
        raise KeyboardInterrupt

    session, expected = made(), made()
    with monkeypatch.context() as patched:
        patched.setattr(NanGuard, "calls", calls)
        with pytest.raises(KeyboardInterrupt):
            session.fit(DATA, 1, BATCH, shuffle=False, accumulate=GROUP, progress=False)
    for feeds in list(batches())[:GROUP]:
        expected.accumulate(feeds)
    expected.apply()
    assert_same(session, expected)
    for each in (session, expected):
        each.fit(DATA, 1, BATCH, shuffle=False, accumulate=GROUP, progress=False)
    assert_same(session, expected)


def test_check_numerics_takes_back_what_made_nan() -> None:
    """A batch adds nothing, an update changes nothing; both are named by the update's number."""
    x = sf.input("x", ("batch",), "float64")
    w = sf.param("w", (), init=lambda rng, shape: np.float64(0.5), dtype="float64")
    loss = (ops.log(x + w) + w).mean()
    session = sf.Session(loss, optimizer=sf.optim.SGD(1e200), check_numerics=True)
    session.accumulate({"x": np.ones(3)})
    waiting = copy.deepcopy(session._state.accumulated)
    with pytest.raises(sf.NumericsError, match="training step 1"):
        session.accumulate({"x": -np.ones(2)})
    assert session._state.accumulated is not None and waiting is not None
    np.testing.assert_array_equal(session._state.accumulated.total, waiting.total)
    assert session._state.accumulated.rows == 3
    session.params["w"][...] = -1e200  # the next update overflows
    session._state.accumulated.total[0] = 3e200
    with pytest.raises(sf.NumericsError, match="training step 1"):
        session.apply()
    assert session.params["w"] == -1e200 and session.step_count == 0
    session.discard()
    with pytest.raises(sf.NumericsError, match="training step 2"):
        trained = made(check_numerics=True)
        bad = np.where(np.arange(ROWS)[:, None] == 4 * BATCH, np.inf, X)
        trained.fit({**DATA, "x": bad}, 1, BATCH, False, accumulate=GROUP, progress=False)
    assert trained.step_count == 1


def test_bad_use_is_refused() -> None:
    session, feeds = made(), next(batches())
    with pytest.raises(sf.GraphError, match=r"apply: no gradients have been accumulated"):
        session.apply()
    for bad in (0, -1, 2.5, True, None):
        with pytest.raises(sf.GraphError, match=r"accumulate, the number .* integer from 1"):
            session.fit(DATA, accumulate=bad, progress=False)  # type: ignore[arg-type]
    session.accumulate(feeds)
    for train in (lambda: session.step(feeds), lambda: session.fit(DATA, progress=False)):
        with pytest.raises(sf.GraphError, match=r"got: 1 batches, 8 rows[\s\S]*session\.apply\(\)"):
            train()
    with pytest.raises(sf.ShapeError):
        session.accumulate({"x": X, "t": T[:, :1]})
    assert session.apply() > 0 and session.step_count == 1
    x = sf.input("x", ("batch", 5))
    with pytest.raises(sf.GraphError, match="accumulate needs an optimizer"):
        sf.Session(models.FNN([5, 1])(x).mean()).accumulate({"x": X})
    with pytest.raises(sf.GraphError, match="trains no parameters"):
        sf.Session(x.mean(), optimizer=sf.optim.SGD(0.1)).accumulate({"x": X})


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "rows": lambda data, tensors: data["accumulated"].update(rows=-1),
    "batches": lambda data, tensors: data["accumulated"].update(batches="2"),
    "loss": lambda data, tensors: data["accumulated"].update(loss=None),
    "along": lambda data, tensors: data["accumulated"].update(along="elsewhere"),
    "kind": lambda data, tensors: data.update(accumulated=[1]),
    "no tensor": lambda data, tensors: tensors.pop("accumulated:fnn.0.bias"),
    "shape": lambda data, tensors: tensors.update({"accumulated:fnn.0.bias": np.zeros(3)}),
    "nothing trained": lambda data, tensors: data.update(trained=[]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_with_other_gradients_is_refused(name: str, tmp_path: Path) -> None:
    session = made()
    session.accumulate(next(batches()))
    session.save(tmp_path / "model.sf")
    rewritten(tmp_path / "model.sf", CHANGES[name])
    with pytest.raises(sf.GraphError, match=r"model\.sf"):
        sf.Session.load(tmp_path / "model.sf")
