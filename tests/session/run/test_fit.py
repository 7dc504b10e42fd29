"""The semantics of fit: batches, shuffling, logs, callbacks, streams, calls within calls."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from tests.support.small_nets import Array, assert_same, data, regression, values

FED = data(50)


def rows(first: int, last: int) -> dict[str, Array]:
    return {name: array[first:last] for name, array in FED.items()}


def fit(session: sf.Session, fed: Any = FED, **options: Any) -> sf.History:
    return session.fit(fed, **{"batch_size": 16, "progress": False, **options})


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fit_is_its_steps(threads: int) -> None:
    """In order, with a last batch of two rows; logs are means over rows."""
    whole, steps = regression(sf.optim.Adam(0.01), threads=threads), regression(sf.optim.Adam(0.01))
    history = fit(whole, epochs=2, shuffle=False)
    logs = []
    for _ in range(2):
        losses, errors = [], []
        for first in range(0, 50, 16):
            batch = rows(first, min(first + 16, 50))
            errors.append(float(steps.run("mae", batch)) * len(batch["x"]))
            losses.append(steps.step(batch) * len(batch["x"]))
        logs.append({"loss": sum(losses) / 50, "mae": sum(errors) / 50})
    assert_same(values(whole), values(steps))
    assert whole.step_count == steps.step_count == 8 and whole.epoch_count == 2
    for log, expected in zip(history.epochs, logs, strict=True):
        assert log == pytest.approx(expected, rel=1e-5)


def test_a_ragged_batch_counts_with_its_own_size() -> None:
    """The mean of a batch of two rows is over two rows, and so is its gradient."""
    session = regression(sf.optim.SGD(1.0))
    session.load_params(dict(regression(seed=1).params))
    before = values(session)
    found = session.gradients(rows(48, 50))
    fit(session, rows(48, 50), batch_size=16)
    for name, gradient in found.items():
        np.testing.assert_allclose(before[name] - session.params[name], gradient, 1e-4, 1e-6)


def test_a_batch_larger_than_the_data_is_one_smaller_batch() -> None:
    large, exact = regression(), regression()
    fit(large, batch_size=1000, shuffle=False)
    fit(exact, batch_size=50, shuffle=False)
    assert_same(values(large), values(exact))
    assert large.step_count == 1


def test_a_single_batch_needs_no_shuffling() -> None:
    shuffled, ordered = regression(), regression()
    fit(shuffled, batch_size=50, epochs=3)
    fit(ordered, batch_size=50, epochs=3, shuffle=False)
    assert_same(values(shuffled), values(ordered))


def test_every_row_is_seen_once_an_epoch_in_another_order() -> None:
    x = sf.input("x", ("batch",), "float64")
    seen = sf.state("seen", (50,), dtype="float64")
    order = sf.state("order", (), dtype="float64")
    marks = ops.one_hot(x.astype("int64"), 50, "float64").sum(axis=0)
    sf.update(seen, seen + marks)
    sf.update(order, order * 1.01 + x[0])
    w = sf.param("w", (), dtype="float64")
    loss = ops.mean(x * w) + 0.0 * (seen.sum() + order)
    made = [sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), seed=s) for s in (0, 0, 1)]
    for session in made:
        fit(session, {"x": np.arange(50.0)}, epochs=3, batch_size=7)
        np.testing.assert_array_equal(session.states["seen"], 3.0)
    orders = [float(session.states["order"]) for session in made]
    assert orders[0] == orders[1] != orders[2]


def test_fits_go_on_where_the_last_ended() -> None:
    """Two fits of one epoch are one of two, with the random state and the optimizer's."""
    one, two = regression(sf.optim.Adam(0.01)), regression(sf.optim.Adam(0.01))
    fit(one, epochs=2)
    fit(two), fit(two)
    assert_same(values(one), values(two))


def test_epochs_in_one_native_call_and_each_in_its_own() -> None:
    together, apart = regression(), regression()
    fit(together, epochs=5)
    fit(apart, epochs=5, callbacks=[lambda session, log: None])
    assert_same(values(together), values(apart))


def test_callbacks_see_logs_and_stop() -> None:
    seen: list[dict[str, float]] = []
    session = regression()

    def stop(which: sf.Session, log: dict[str, float]) -> bool:
        assert which is session
        seen.append(log)
        return len(seen) == 3

    history = fit(session, epochs=10, callbacks=[stop, lambda session, log: False])
    assert len(history) == 3 and session.epoch_count == 3
    assert [log["loss"] for log in seen] == history.curve("loss")


def test_a_single_callback_needs_no_list() -> None:
    seen: list[float] = []
    session = regression()
    session.fit(data(12), epochs=3, progress=False, callbacks=lambda _, log: len(seen) > 0 or
                seen.append(log["loss"]))  # fmt: skip
    assert session.epoch_count == 2 and len(seen) == 1


def test_a_callback_may_use_the_session() -> None:
    """Steps, gradients and another fit in between leave this one's batches as they are."""
    plain, busy = regression(threads=1), regression(threads=1)

    def meddle(session: sf.Session, log: dict[str, float]) -> None:
        session.gradients({k: v.copy() for k, v in rows(0, 16).items()})
        session.evaluate(FED)
        session.run("y", {"x": FED["x"]})

    fit(plain, epochs=4, callbacks=[lambda session, log: None])
    fit(busy, epochs=4, callbacks=[meddle])
    assert_same(values(plain), values(busy))

    inner = {k: v[:21].copy() for k, v in FED.items()}
    one, other = regression(threads=1), regression(threads=1)
    fit(one, epochs=2, shuffle=False, callbacks=[lambda session, log: fit(session, inner) and None])
    for _ in range(2):
        fit(other, shuffle=False)
        fit(other, inner)
    assert_same(values(one), values(other))


def test_a_callback_that_raises_ends_the_fit() -> None:
    session = regression()

    def fail(session: sf.Session, log: dict[str, float]) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fit(session, epochs=3, callbacks=[fail])
    assert session.step_count == 4
    fit(session)


def test_validation_is_logged() -> None:
    session = regression()
    held_out = data(23, seed=9)
    history = fit(session, epochs=2, validation_data=held_out)
    assert set(history.epochs[-1]) == {"loss", "mae", "val_loss", "val_mae"}
    expected = session.evaluate(held_out)
    assert history.epochs[-1]["val_mae"] == pytest.approx(expected["mae"], rel=1e-6)


def test_a_stream_of_batches() -> None:
    whole, streamed = regression(), regression()

    def batches() -> Iterator[dict[str, Array]]:
        for first in range(0, 50, 16):
            yield rows(first, min(first + 16, 50))

    expected = fit(whole, epochs=2, shuffle=False)
    history = fit(streamed, batches, epochs=2)
    assert_same(values(whole), values(streamed))
    assert streamed.step_count == whole.step_count
    for log, other in zip(history.epochs, expected.epochs, strict=True):
        assert log == pytest.approx(other, rel=1e-6)
    with pytest.raises(sf.GraphError, match="the data has no batches"):
        fit(streamed, lambda: iter(()))


class Sliceable:
    """What h5py and zarr give: a shape, a length, slices; no array."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Array:
        return self._array[index]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self._array, dtype)


def test_anything_sliceable(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "x", "f4", "w+", shape=(50, 4))
    mapped[:] = FED["x"]
    made = [regression() for _ in range(4)]
    fit(made[0])
    fit(made[1], {"x": mapped, "t": FED["t"].tolist()})
    fit(made[2], {"x": Sliceable(FED["x"]), "t": FED["t"]})
    fit(made[3], {"x": np.asfortranarray(FED["x"].astype("f8")), "t": FED["t"][::-1][::-1]})
    for session in made[1:]:
        assert_same(values(session), values(made[0]))


def test_whole_inputs_are_read_anew_at_each_fit() -> None:
    x, scale = sf.input("x", ("batch", 4)), sf.input("scale", (4,))
    loss = ops.mean(ops.square((x * scale) @ sf.param("w", (4, 1)) - 1.0))
    session, twin = (sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1)) for _ in range(2))
    factors = np.ones(4, "f4")
    for factor in (1.0, 2.0):
        factors[:] = factor
        fit(session, {"x": FED["x"], "scale": factors})
        fit(twin, {"x": FED["x"], "scale": np.full(4, factor)})
    assert_same(values(session), values(twin))
    step = {"x": FED["x"], "scale": factors}
    assert session.step(step) == twin.step(step)


def test_batch_axis_says_what_to_slice() -> None:
    x, keys = sf.input("x", ("batch", 4)), sf.input("keys", ("m", 4))
    loss = ops.mean(ops.softmax(x @ keys.T) @ (keys @ sf.param("w", (4, 1))))
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1))
    fed = {"x": FED["x"], "keys": FED["x"][:3]}
    with pytest.raises(sf.GraphError, match="cannot tell which dimension to slice"):
        fit(session, fed)
    fit(session, fed, batch_axis="batch")
    assert session.step_count == 4
    fit(session, fed, batch_axis="m", batch_size=2)
    assert session.step_count == 6
    with pytest.raises(sf.GraphError, match="no input has 'time' as its leading"):
        fit(session, fed, batch_axis="time")


def test_double_precision() -> None:
    single, double = regression(), regression(dtype="float64")
    double.load_params(dict(single.params))
    logs = [fit(s, epochs=3).curve("loss") for s in (single, double)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-4) and logs[0] != logs[1]


def test_a_rate_that_follows_the_steps() -> None:
    """Step n uses the rate of n - 1 finished steps, over epochs and fits."""
    w = sf.param("w", (), "zeros")
    x = sf.input("x", ("batch",))
    loss = -(w * x).mean()
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(lambda done: done + 1.0))
    ones = {"x": np.ones(6, "f4")}
    fit(session, ones, batch_size=2)
    assert float(session.params["w"]) == 1 + 2 + 3
    session.step(ones)
    fit(session, ones, batch_size=3)
    assert float(session.params["w"]) == 1 + 2 + 3 + 4 + 5 + 6


def test_no_epochs_change_nothing() -> None:
    session = regression()
    before = values(session)
    assert len(fit(session, epochs=0)) == 0
    assert_same(values(session), before)


def test_parameters_written_in_place_are_trained_on() -> None:
    one, other = regression(), regression(seed=4)
    for name, array in one.params.items():
        other.params[name][...] = array
    fit(one, shuffle=False), fit(other, shuffle=False)
    assert_same(values(one), values(other))


def test_a_bar_is_shown_only_if_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    fit(regression())
    assert capfd.readouterr() == ("", "")
    fit(regression(), progress=True, epochs=2)
    assert "epoch 2/2" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["fit", "stream", "step", "gradients"])
def test_a_session_does_not_keep_the_data(how: str) -> None:
    """Neither the rows nor what was fed whole."""
    x, scale = sf.input("x", ("batch", 4)), sf.input("scale", (4,))
    loss = ops.square((x * scale) @ sf.param("w", (4, 1))).mean()
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1))
    fed = {"x": np.ones((64, 4), np.float32), "scale": np.ones(4, np.float32)}
    seen = [weakref.ref(array) for array in fed.values()]
    for _ in range(2):
        if how == "fit":
            session.fit(fed, batch_size=24, progress=False)
        elif how == "stream":
            session.fit(lambda fed=fed: iter([fed]), progress=False)
        else:
            getattr(session, how)(fed)
    assert session._state.trainers
    del fed
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


def test_what_is_fed_whole_may_change_from_fit_to_fit() -> None:
    x, scale = sf.input("x", ("batch", 4)), sf.input("scale", (4,))
    loss = ops.square((x * scale) @ sf.param("w", (4, 1))).mean()
    both, apart = (sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1)) for _ in range(2))
    data, one, two = np.ones((64, 4)), np.ones(4), np.full(4, 2.0)
    for session in (both, apart):
        session.fit({"x": data, "scale": one}, batch_size=24, progress=False)
    both.fit({"x": data, "scale": two}, batch_size=24, progress=False)
    apart.fit({"x": 2 * data, "scale": one}, batch_size=24, progress=False)
    np.testing.assert_allclose(both.params["w"], apart.params["w"], rtol=1e-6)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 4, 10])
def test_rows_along_an_inner_axis(shuffle: bool, batch: int) -> None:
    """Series with time first beside labels with the batch first: each batch has its own rows."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=(5, 10, 3)).astype(np.float32)
    targets = rng.normal(size=(10, 1)).astype(np.float32)
    x, t = sf.input("x", ("time", "batch", 3)), sf.input("t", ("batch", 1))
    y = models.FNN([4, 1])(models.RNN(4, "gru")(ops.transpose(x, (1, 0, 2))))
    data = {"x": series, "t": targets}
    found = []
    for threads in (1, 3):
        net = sf.Session(
            loss=ops.mse(y, t), outputs={"y": y}, optimizer=sf.optim.SGD(0.0), threads=threads
        )
        right = float(((net.run("y", {"x": series}) - targets) ** 2).mean())
        fit = net.fit(
            data, epochs=2, batch_size=batch, shuffle=shuffle, progress=False, batch_axis="batch"
        )
        evaluated = net.evaluate(data, batch_size=batch, batch_axis="batch")["loss"]
        found += [*(epoch["loss"] for epoch in fit.epochs), evaluated]
        np.testing.assert_allclose(found, right, rtol=1e-5)


def test_one_name_on_several_axes_is_taken_whole_or_refused() -> None:
    a = sf.input("a", ("n", "n"))
    net = sf.Session(loss=ops.mean(a) * sf.param("w", (), 1.0), optimizer=sf.optim.SGD(0.0))
    data = {"a": np.arange(16, dtype=np.float32).reshape(4, 4)}
    for size in (4, 100):
        fit = net.fit(data, epochs=1, batch_size=size, progress=False)
        assert fit.epochs[0]["loss"] == 7.5
    for call in (net.fit, net.evaluate):
        with pytest.raises(sf.GraphError, match="several axes") as info:
            call(data, batch_size=2)
        assert "batch_size=4" in str(info.value)


def test_indices_are_checked_for_the_batch_that_runs() -> None:
    """An index that all rows together have room for, but a batch has not."""
    x, i = sf.input("x", ("batch", 2)), sf.input("i", ("batch",), "int64")
    loss = ops.mean(ops.take(x, i, axis=0)) * sf.param("w", (), 1.0)
    net = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.0))
    data = {"x": np.ones((6, 2), np.float32), "i": np.array([0, 1, 2, 3, 4, 5])}
    net.fit(data, epochs=1, batch_size=6, progress=False)
    with pytest.raises(sf.GraphError, match="out of range"):
        net.fit(data, epochs=1, batch_size=3, progress=False)
