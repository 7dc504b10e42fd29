"""`Session(check_numerics=True)`: which node made the first NaN or Inf, and nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.optim import algorithms as optim

Array = np.ndarray[Any, Any]


def values(session: sf.Session) -> list[Array]:
    stores = (session.params, session.states, session._state.slots)
    return [array.copy() for store in stores for array in store.values()]


def assert_unchanged(session: sf.Session, before: list[Array], steps: int) -> None:
    for now, old in zip(values(session), before, strict=True):
        np.testing.assert_array_equal(now, old)
    assert session.step_count == steps


def logarithm(**options: Any) -> sf.Session:
    x = sf.input("x", ("batch", 3))
    z = x * sf.param("w", (3,), init="ones")
    y = ops.log(z)  # the line at fault
    return sf.Session(loss=y.mean(), outputs={"y": y}, check_numerics=True, **options)


def rows(count: int, fill: float = 1.0) -> Array:
    return np.full((count, 3), fill, np.float32)


def test_a_step_names_the_node_its_line_and_the_operand() -> None:
    session = logarithm(optimizer=optim.Adam(1e-3))
    session.step({"x": rows(4)})
    before = values(session)
    bad = rows(4)
    bad[2, 1] = -5.0
    with pytest.raises(sf.NumericsError) as caught:
        session.step({"x": bad})
    message = str(caught.value)
    assert "log: NaN first appears here in training step 2" in message
    assert "test_check_numerics.py" in message and "the line at fault" in message
    assert "nan at (2, 1), 1 such of 12 elements" in message
    assert "multiply = -4.99" in message or "multiply = -5" in message
    assert_unchanged(session, before, 1)
    session.step({"x": rows(4)})
    assert session.step_count == 2


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("count", [32, 29])
def test_a_fit_stops_before_the_bad_step(shuffle: bool, count: int) -> None:
    session = logarithm(optimizer=optim.SGD(1e-3, momentum=0.9), threads=2)
    data = rows(count)
    data[-1, 0] = 0.0  # log(0) = -inf
    with pytest.raises(sf.NumericsError, match="log: Inf first appears here in training step"):
        session.fit({"x": data}, batch_size=8, shuffle=shuffle, progress=False)
    assert session.step_count < 4
    assert shuffle or session.step_count == 3
    assert all(np.isfinite(array).all() for array in values(session))


def test_data_with_nan_is_named() -> None:
    session = logarithm(optimizer=optim.SGD(0.1))
    bad = rows(4)
    bad[1, 2] = np.nan
    with pytest.raises(sf.NumericsError, match=r"(?s)input 'x' holds NaN.*at \(1, 2\)"):
        session.step({"x": bad})


def test_a_parameter_with_nan_is_named() -> None:
    session = logarithm(optimizer=optim.SGD(0.1))
    session.params["w"][1] = np.nan
    with pytest.raises(sf.NumericsError, match="param 'w' holds NaN"):
        session.step({"x": rows(2)})


def test_a_fault_in_the_derivative() -> None:
    x = sf.input("x", ("batch",))
    root = ops.sqrt(x * sf.param("w", (1,), init="ones"))
    session = sf.Session(loss=root.mean(), optimizer=optim.SGD(0.1), check_numerics=True)
    before = values(session)
    with pytest.raises(sf.NumericsError, match=r"(?s)Inf first appears.*ops.sqrt"):
        session.step({"x": np.array([1.0, 0.0], np.float32)})
    assert_unchanged(session, before, 0)
    with pytest.raises(sf.NumericsError, match="Inf first appears"):
        session.gradients({"x": np.array([1.0, 0.0], np.float32)})


def test_a_fault_in_the_update() -> None:
    x = sf.input("x", ("batch",))
    loss = (x * sf.param("w", (1,), init="ones")).mean()
    session = sf.Session(
        loss=loss, optimizer=optim.Adam(lambda step: 1.0 / (step - 1.0)), check_numerics=True
    )
    feeds = {"x": np.ones(2, np.float32)}
    session.step(feeds)
    before = values(session)
    with pytest.raises(sf.NumericsError, match=r"divide: Inf.*in the optimizer's part"):
        session.step(feeds)
    assert_unchanged(session, before, 1)


def test_states_are_put_back() -> None:
    x = sf.input("x", ("batch", 3))
    seen = sf.state("seen", (3,), init="zeros")
    sf.update(seen, ops.log(x.sum(axis=0)) + seen)
    loss = (x * sf.param("w", (3,))).mean() + 0.0 * seen.sum()
    session = sf.Session(loss=loss, optimizer=optim.SGD(0.1), check_numerics=True)
    session.step({"x": rows(2)})
    before = values(session)
    with pytest.raises(sf.NumericsError, match="log: NaN"):
        session.step({"x": rows(2, -1.0)})
    assert_unchanged(session, before, 1)


def test_the_inf_of_a_mask_is_no_fault() -> None:
    x = sf.input("x", ("batch", 4))
    w = sf.param("w", (4,), init="ones")
    keep = sf.input("keep", ("batch", 4), "bool")
    p = ops.softmax(ops.where(keep, x * w, -np.inf), axis=-1)
    masked = ops.where(x > 0, x, -np.inf)
    session = sf.Session(
        loss=(p * x).mean(), outputs={"masked": masked}, optimizer=optim.SGD(0.1),
        check_numerics=True,
    )  # fmt: skip
    data = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    some, none = np.ones((3, 4), bool), np.ones((3, 4), bool)
    some[0, 1:] = False
    none[1] = False
    session.step({"x": data, "keep": some})
    assert np.isinf(session.run("masked", {"x": data})).any()
    with pytest.raises(sf.NumericsError, match=r"divide: NaN first appears"):
        session.step({"x": data, "keep": none})


def test_a_run_is_checked_too() -> None:
    session = logarithm()
    session.run("y", {"x": rows(2)})
    with pytest.raises(sf.NumericsError, match="log: NaN first appears here in a run"):
        session.run("y", {"x": rows(2, -1.0)})
    with pytest.raises(sf.NumericsError, match="log: NaN"):
        session.evaluate({"x": rows(2, -1.0)})
    large = rows(3000, -1.0)
    with pytest.raises(sf.NumericsError, match="9000 such of 9000"):
        session.run("y", {"x": large})


def test_a_fault_inside_a_loop_is_named_by_its_line() -> None:
    xs = sf.input("xs", ("time", "batch"))
    w = sf.param("w", (1,), init="ones")

    def step(total: Any, x: Any) -> tuple[Any, Any]:
        total = ops.log(total * x * w)  # inside the loop
        return total, total

    last, _ = sf.scan(step, xs[0] * 0.0 + 3.0, xs)
    session = sf.Session(loss=last.mean(), optimizer=optim.SGD(0.1), check_numerics=True)
    with pytest.raises(sf.NumericsError, match=r"(?s)log: NaN first appears.*inside the loop"):
        session.step({"xs": np.full((6, 2), 0.5, np.float32)}, batch_axis="time")


def test_checking_changes_no_bit() -> None:
    def train(check: bool) -> tuple[Any, sf.Session]:
        x, label = sf.input("x", ("batch", 5)), sf.input("label", ("batch",), "int64")
        y = models.FNN([5, 8, 3], dropout=0.3, norm="batch")(x)
        loss = ops.softmax_cross_entropy(y, label).mean()
        session = sf.Session(
            loss=loss, optimizer=optim.Adam(1e-2, clip_norm=1.0), threads=1, check_numerics=check
        )
        rng = np.random.default_rng(0)
        data = {"x": rng.standard_normal((50, 5)), "label": rng.integers(0, 3, 50)}
        log = session.fit(data, epochs=3, batch_size=16, progress=False).epochs
        return log, session

    (log, checked), (expected, plain) = train(True), train(False)
    assert log == expected
    assert checked.step_count == plain.step_count
    for a, b in zip(values(checked), values(plain), strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_values_are_found_again() -> None:
    x = sf.input("x", ("batch", 4))
    w = sf.param("w", (4,), init="ones")
    noise = ops.random.uniform(x.shape)
    y = ops.log(x * w * (noise - 0.5))
    session = sf.Session(loss=y.mean(), optimizer=optim.SGD(0.1), check_numerics=True)
    with pytest.raises(sf.NumericsError, match=r"(?s)log: NaN first appears.*multiply = -"):
        session.step({"x": np.ones((2, 4), np.float32)})
