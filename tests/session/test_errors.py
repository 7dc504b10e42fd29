"""Each bad input gets an error that names the thing and the remedy, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from tests.support.small_nets import assert_same, data, regression, values

FED = data(12)
X, T = FED["x"], FED["t"]
Call = Callable[[sf.Session], Any]


def fit(fed: Any, **options: Any) -> Call:
    return lambda session: session.fit(fed, progress=False, **options)


REFUSED: dict[str, tuple[Call, type[Exception], str, str]] = {
    # what is done, the error, what it says, what it advises
    "a missing input": (
        fit({"x": X}), sf.GraphError, "no value for input 't'", "float32[batch, 1]"
    ),
    "an unknown input": (
        fit({**FED, "q": T}), sf.GraphError, "there is no input 'q'", "the inputs are 'x', 't'"
    ),
    "another node's name": (
        lambda s: s.run("y", {sf.input("x", ("batch", 4)): X}),
        sf.GraphError, "there is no input 'x'", "the inputs are",
    ),
    "a wrong width": (
        fit({"x": X[:, :3], "t": T}), sf.ShapeError, "'x' expects shape (batch, 4)", "reshape"
    ),
    "a wrong rank": (
        lambda s: s.run("y", {"x": X[0]}), sf.ShapeError, "got: shape (4,)", "reshape"
    ),
    "unequal lengths": (
        fit({"x": X, "t": T[:5]}), sf.ShapeError, "dimension batch has two sizes", "agree"
    ),
    "text": (
        lambda s: s.run("y", {"x": X.astype(str)}), sf.DTypeError, "'x' takes float32", "numbers"
    ),
    "objects": (
        lambda s: s.run("y", {"x": [[1, 2, 3, None]]}), sf.DTypeError, "dtype object", "numbers"
    ),
    "masked values": (
        lambda s: s.run("y", {"x": np.ma.masked_array(X, X > 0)}),
        sf.GraphError, "input 'x': values are masked", ".filled(value)",
    ),
    "complex numbers": (
        lambda s: s.run("y", {"x": X + 1j}), sf.DTypeError, "complex64", "numbers"
    ),
    "a list with holes": (
        lambda s: s.run("y", {"x": [[1, 2, 3, 4], [1, 2]]}), sf.ShapeError, "not an array", ""
    ),
    "no rows": (fit({"x": X[:0], "t": T[:0]}), sf.GraphError, "the data has no rows", "one row"),
    "a NaN label": (
        fit({"x": X, "t": np.where(np.arange(12)[:, None] == 3, np.nan, T)}),
        sf.GraphError, "input 't': a value is NaN", "leave such rows out",
    ),
    "data that is no dict": (
        fit([X, T]), sf.GraphError, "data must be a dict", "write fit({'x': ..., 't': ...}, epochs="
    ),
    "features and targets": (
        lambda s: s.fit(X, T), sf.GraphError, "data must be a dict", "write fit({'x': ..., 't': ..."
    ),
    "an array of epochs": (fit(FED, epochs=X), sf.GraphError, "epochs must be an integer", ""),
    "feeds in place of a fetch": (
        lambda s: s.run({"x": X}), sf.GraphError, "what looks like feeds",
        "session.run('y', {'x': ...})",
    ),
    "an array in place of a fetch": (
        lambda s: s.run(X), sf.GraphError, "a fetch is a name", "session.run('y', {'x': ...})"
    ),
    "an array in a fetch": (lambda s: s.run(["y", X]), sf.GraphError, "a fetch is a name", ""),
    "an array in place of feeds": (
        lambda s: s.run("y", X), sf.GraphError, "an array of shape (12, 4)", "pass {'x': ...}"
    ),
    "a tuple in place of feeds": (
        lambda s: (s.run("y", {"x": X}), s.run("y", (X,))),
        sf.GraphError, "what is fed is a dict from input name to array", "pass {'x': ...}",
    ),
    "an array in a step": (
        lambda s: s.step(X), sf.GraphError, "what is fed is a dict", "pass {'x': ..., 't': ...}"
    ),
    "an array for gradients": (
        lambda s: s.gradients(X), sf.GraphError, "what is fed is a dict", "pass {'x': ..., 't': ..."
    ),
    "an array to evaluate": (lambda s: s.evaluate(X), sf.GraphError, "data must be a dict", ""),
    "an array in a call": (
        lambda s: s(X), sf.GraphError, "inputs are given by keyword", "write session(x=...)"
    ),
    "no batch size": (fit(FED, batch_size=0), sf.GraphError, "batch_size one of at least 1", ""),
    "half a batch": (fit(FED, batch_size=2.5), sf.GraphError, "batch_size=2.5", ""),
    "negative epochs": (fit(FED, epochs=-1), sf.GraphError, "epochs=-1", ""),
    "a number as a callback": (
        fit(FED, callbacks=[3]), sf.GraphError, "callbacks are functions", "a list of them"
    ),
    "callbacks by name": (
        fit(FED, callbacks="stop"), sf.GraphError, "callbacks are functions", "a list of them"
    ),
    "bad validation data": (
        fit(FED, validation_data={"x": X}), sf.GraphError, "no value for input 't'", ""
    ),
    "an unknown output": (
        lambda s: s.run("z", {"x": X}), sf.GraphError, "no output 'z'", "'y', 'mae', 'loss'"
    ),
    "a number as a fetch": (lambda s: s.run(3, {"x": X}), sf.GraphError, "a fetch is a name", ""),
    "a strange parameter": (
        lambda s: s.run(sf.param("other", (2,))), sf.GraphError, "parameter 'other'", "outputs="
    ),
    "an unknown parameter": (
        lambda s: s.load_params({"w": X}), sf.GraphError, "no parameter 'w'", "fnn.0.weight"
    ),
    "a parameter's shape": (
        lambda s: s.load_params({"fnn.0.weight": X}), sf.GraphError, "has shape (4, 8)", ""
    ),
    "a batch axis": (
        fit(FED, batch_axis="time"), sf.GraphError, "'time' as its leading dimension", ""
    ),
    "an empty stream": (
        lambda s: s.fit(lambda: iter(()), progress=False), sf.GraphError, "no batches", "iterator"
    ),
    "a bad batch in a stream": (
        lambda s: s.fit(lambda: iter([{"x": X}]), progress=False),
        sf.GraphError, "no value for input 't'", "",
    ),
    "a NaN label in a step": (
        lambda s: s.step({"x": X, "t": np.where(np.arange(12)[:, None] == 3, np.nan, T)}),
        sf.GraphError, "input 't': a value is NaN", "leave such rows out",
    ),
    "a step with a NaN-shaped feed": (
        lambda s: s.step({"x": X, "t": None}), sf.DTypeError, "'t' takes float32", ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_changes(case: str) -> None:
    call, kind, what, advice = REFUSED[case]
    session = regression(sf.optim.Adam(0.1))
    session.step(FED)
    before, order = values(session), session._state.rng.bit_generator.state
    with pytest.raises(kind) as caught:
        call(session)
    text = str(caught.value)
    assert what in text and advice in text
    assert "test_errors.py:" in text or "small_nets.py:" in text, "the user's line is missing"
    assert_same(values(session), before)
    assert session.step_count == 1 and session._state.rng.bit_generator.state == order
    twin = regression(sf.optim.Adam(0.1))
    assert [twin.step(FED), twin.step(FED)][1] == session.step(FED)


def declare(name: str, shape: Any = (2,), **options: Any) -> sf.Node:
    return sf.param(name, shape, **options)


DECLARED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "an unknown initializer": (
        lambda: sf.Session(outputs=declare("w", init="glorot")),
        sf.GraphError, "initializer 'glorot'",
    ),
    "an initial array's shape": (
        lambda: declare("w", init=np.zeros(3)), sf.ShapeError, "'w': the initial value's shape"
    ),
    "two parameters of one name": (
        lambda: sf.Session(outputs=[declare("w"), declare("w")]), sf.GraphError, "two parameters"
    ),
    "two inputs of one name": (
        lambda: sf.Session(outputs=[sf.input("x", ("n",)), sf.input("x", ("n",))]),
        sf.GraphError, "two inputs are called 'x'",
    ),
    "a loss that is no scalar": (
        lambda: sf.Session(loss=declare("w")), sf.ShapeError, "the loss must be a scalar"
    ),
    "a loss of integers": (
        lambda: sf.Session(loss=declare("w", (), init="zeros", dtype="int64")),
        sf.DTypeError, "the loss must be a float",
    ),
    "a loss that is no node": (lambda: sf.Session(loss=1.0), sf.GraphError, "must be a node"),
    "a metric that is no scalar": (
        lambda: sf.Session(metrics={"m": sf.input("x", (3,))}), sf.ShapeError, "metric 'm'"
    ),
    "a metric called loss": (
        lambda: sf.Session(metrics={"loss": sf.const(1.0)}), sf.GraphError, "other than 'loss'"
    ),
    "a metric without a name": (
        lambda: sf.Session(metrics=sf.const(1.0)), sf.GraphError, "metrics must be a dict"
    ),
    "no threads": (
        lambda: sf.Session(outputs=declare("w"), threads=0),
        sf.GraphError, "threads must be an integer from 1",
    ),
    "threads by name": (
        lambda: sf.Session(outputs=declare("w"), threads="a"), sf.GraphError, "got: 'a'"
    ),
    "a negative seed": (
        lambda: sf.Session(outputs=declare("w"), seed=-1), sf.GraphError, "got: -1"
    ),
    "a seed beyond 64 bits": (
        lambda: sf.Session(outputs=declare("w"), seed=2**63), sf.GraphError, "the seed must be"
    ),
    "half a seed": (
        lambda: sf.Session(outputs=declare("w"), seed=1.5), sf.GraphError, "got: 1.5"
    ),
    "a loop of less than no steps": (
        lambda: sf.scan(lambda c, _: (c, c), 0.0, None, length=-1), sf.ShapeError, "length=-1"
    ),
    "a loop of half steps": (
        lambda: sf.scan(lambda c, _: (c, c), 0.0, None, length=2.5), sf.ShapeError, "length=2.5"
    ),
    "nothing at all": (lambda: sf.Session(), sf.GraphError, "needs a loss or outputs"),
    "an optimizer by name": (
        lambda: regression("adam"), sf.GraphError, "the optimizer must be one of sf.optim"
    ),
    "an optimizer's class": (lambda: regression(sf.optim.Adam), sf.GraphError, "one of sf.optim"),
    "gradients of integers": (
        lambda: sf.grad(sf.input("x", (3,)).sum(), sf.input("i", (3,), "int64")),
        sf.DTypeError, "only floats have derivatives",
    ),
    "a gradient of a vector": (
        lambda: sf.grad(sf.input("x", (3,)), sf.input("x", (3,))), sf.ShapeError, "scalar"
    ),
    "no reached parameter": (
        lambda: _step(ops.sum(ops.stop_gradient(declare("w"))), outputs=declare("lost")),
        sf.GraphError, "does not depend on any parameter that is trained",
    ),
    "a step without an optimizer": (
        lambda: sf.Session(loss=ops.sum(declare("w"))).step({}), sf.GraphError, "needs an optimizer"
    ),
    "a step without a loss": (
        lambda: sf.Session(outputs=declare("w"), optimizer=sf.optim.SGD(0.1)).step({}),
        sf.GraphError, "no loss to train on",
    ),
    "gradients without a loss": (
        lambda: sf.Session(outputs=declare("w")).gradients({}), sf.GraphError, "no loss to train on"
    ),
    "nothing to evaluate": (
        lambda: sf.Session(outputs=declare("w")).evaluate({}),
        sf.GraphError, "no loss and no metric",
    ),
    "two dtypes to train": (
        lambda: _step(ops.sum(declare("a")) + ops.sum(declare("b", dtype="float64"))),
        sf.GraphError, "must have one dtype",
    ),
    "an input of an expression's size": (
        lambda: sf.input("y", (2 * sf.input("x", ("n",)).shape[0],)), sf.ShapeError, "int or a name"
    ),
    "a parameter of a named size": (lambda: declare("w", ("n",)), sf.ShapeError, "integers"),
    "a negative size": (lambda: sf.input("x", (-1,)), sf.ShapeError, "negative"),
    "a size with a blank": (lambda: sf.input("x", ("a b",)), sf.ShapeError, "identifier"),
    "a dtype": (lambda: sf.input("x", (2,), "float16"), sf.DTypeError, "float16 is not supported"),
    "an update of no state": (
        lambda: sf.update(declare("w"), 0.0), sf.GraphError, "the target is not a state"
    ),
    "an update of another shape": (
        lambda: sf.update(sf.state("s", (2,)), np.zeros(3)), sf.ShapeError, "state 's'"
    ),
    "a function of too little": (
        lambda: sf.function([], sf.input("x", (2,))), sf.GraphError, "depend on input 'x'"
    ),
    "a function of random values without a seed": (
        lambda: sf.function([], ops.uniform((2,)), seed=-1), sf.GraphError, "the seed must be"
    ),
    "a function of an expression": (
        lambda: sf.function([sf.input("x", (2,)) * 2], sf.const(1.0)), sf.GraphError, "inputs"
    ),
    "a size that nothing fed tells": (
        lambda: sf.function([], ops.arange("n"))(),
        sf.GraphError, "the size of dimension 'n' is not known",
    ),
    "a function without outputs": (
        lambda: sf.function([sf.input("x", (2,))], []), sf.GraphError, "at least one output"
    ),
}  # fmt: skip


def _step(loss: sf.Node, **options: Any) -> float:
    return sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), **options).step({})


@pytest.mark.parametrize("case", DECLARED)
def test_refused_where_it_is_declared(case: str) -> None:
    make, kind, what = DECLARED[case]
    with pytest.raises(kind) as caught:
        make()
    assert what in str(caught.value)
    assert "test_errors.py:" in str(caught.value) or "small_nets.py:" in str(caught.value)


def classifier(classes: Any) -> sf.Session:
    logits, labels = sf.input("logits", ("batch", classes)), sf.input("labels", ("batch",), "int64")
    loss = ops.softmax_cross_entropy(logits * sf.param("w", ()), labels).mean()
    return sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1))


@pytest.mark.parametrize("classes", [3, "classes"])
@pytest.mark.parametrize("bad", [3, -1, 2**40])
def test_a_label_out_of_range(classes: Any, bad: int) -> None:
    session = classifier(classes)
    labels = np.array([0, 2, bad, 1])
    for call in (
        lambda fed: session.fit(fed, progress=False), session.step, session.gradients,
        session.evaluate, lambda fed: session.run("loss", fed),
    ):  # fmt: skip
        with pytest.raises(
            sf.GraphError, match=r"'labels': an index is out of range 0\.\.2"
        ) as caught:
            call({"logits": np.zeros((4, 3)), "labels": labels})
        assert f"{bad} at position (2,)" in str(caught.value)
    assert session.step_count == 0


def test_labels_that_are_not_whole() -> None:
    for labels in (np.array([0.0, np.nan]), np.array([0.5, 1.0])):
        with pytest.raises(sf.DTypeError, match="'labels' takes int64"):
            classifier(3).step({"logits": np.zeros((2, 3)), "labels": labels})


def test_nan_is_taken_where_the_graph_looks_for_it() -> None:
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    known = ops.logical_not(ops.isnan(t))
    error = ops.where(known, ops.square(x @ sf.param("w", (4, 1)) - ops.where(known, t, 0.0)), 0.0)
    session = sf.Session(loss=error.mean(), optimizer=sf.optim.SGD(0.1))
    gaps = np.where(np.arange(12)[:, None] % 3 == 0, np.nan, T)
    history = session.fit({"x": X, "t": gaps}, progress=False)
    assert np.isfinite(history.epochs[-1]["loss"])


def test_a_nan_in_the_features_is_the_users_affair() -> None:
    x = np.where(np.arange(12)[:, None] == 3, np.nan, X)
    with pytest.warns(RuntimeWarning, match="input 'x' holds NaN"):
        history = regression().fit({"x": x, "t": T}, progress=False)
    assert np.isnan(history.epochs[0]["loss"])


def _loop(step: Callable[[sf.Node, sf.Node], None]) -> sf.Node:
    """The last carry of a loop over x, whose step also does something of the user's."""
    x = sf.input("x", ("time", 4))
    return sf.scan(lambda c, row: (step(c, row), (c + row, c))[1], ops.zeros((4,)), x)[0]


@pytest.mark.parametrize("way", ["session", "fetch", "function", "itself"])
def test_a_value_of_a_step_does_not_leave_its_loop(way: str) -> None:
    kept: list[sf.Node] = []
    last = _loop(lambda c, _: kept.append(c if way == "itself" else ops.tanh(c) * 2.0))
    with pytest.raises(sf.GraphError, match="outside of the loop: its carry") as caught:
        if way == "function":
            sf.function([], kept[0])
        elif way == "fetch":
            sf.Session(outputs=last).run(kept[0])
        else:
            sf.Session(outputs=kept[0])
    assert "at test_errors.py" in str(caught.value)
    assert ("got: carry" if way == "itself" else "got: tanh") in str(caught.value)


def test_a_state_is_not_updated_within_a_loop() -> None:
    mean, w = sf.state("mean", (4,)), sf.param("w", (4,))
    last = _loop(lambda _, row: sf.update(mean, 0.9 * mean + 0.1 * row))
    session = sf.Session(loss=((last * w - mean) ** 2).mean(), optimizer=sf.optim.SGD(0.1))
    with pytest.raises(sf.GraphError, match="a state is updated after the loop"):
        session.step({"x": np.ones((3, 4))})
