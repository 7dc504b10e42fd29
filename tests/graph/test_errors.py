"""What is wrong is said at the user's line, with what was given and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.runtime.interpreter import interpret

X = sf.input("x", (3, 4))
N = sf.input("n", ("batch", 4))
K = sf.input("k", (3,), "int64")
P = sf.input("p", (3,), "bool")

SHAPES: dict[str, tuple[Callable[[], Any], str]] = {
    "broadcast": (lambda: X + sf.input("y", (3,)), "add: shapes do not broadcast at axis -1"),
    "named": (lambda: N + sf.input("m", ("other", 4)), "do not broadcast at axis -2"),
    "named never stretches": (lambda: N * sf.input("m", (5, 4)), "do not broadcast"),
    "matmul": (lambda: X @ X, "matmul: inner sizes 4 and 3 differ"),
    "matmul remedy": (lambda: X @ X, r"transpose the second operand with \.T"),
    "matmul vector": (lambda: X @ sf.input("v", (3,)), "inner sizes 4 and 3 differ"),
    "matmul scalar": (lambda: X @ sf.const(2.0), "a scalar is no matrix"),
    "matmul batch": (lambda: sf.input("a", (2, 3, 4)) @ sf.input("b", (5, 4, 3)),
                     "do not broadcast"),
    "reshape": (lambda: X.reshape(5, 2), r"float32\[3, 4\] to \(5, 2\)"),
    "reshape rest": (lambda: X.reshape(5, -1), "number of elements differs"),
    "reshape two": (lambda: X.reshape(-1, -1), "one of them may be -1"),
    "reshape named": (lambda: N.reshape(8, -1), "number of elements differs"),
    "transpose": (lambda: X.transpose(0, 0), "axes must name every axis once"),
    "squeeze": (lambda: ops.squeeze(X, 0), "squeeze: axis 0 has size 3"),
    "squeeze named": (lambda: ops.squeeze(N, 0), "squeeze: axis 0 has size batch"),
    "axis": (lambda: X.sum(axis=2), "sum: axis 2 is out of range for 2 dimensions"),
    "axis twice": (lambda: X.sum(axis=(0, -2)), "an axis is given twice"),
    "broadcast_to": (lambda: ops.broadcast_to(X, (4,)), "broadcast_to"),
    "index": (lambda: X[3], "indexing: 3 is out of range for axis 0"),
    "index many": (lambda: X[0, 0, 0], "too many indices"),
    "size of a mask": (lambda: X[np.array([True, False])], "sizes of the axes"),
    "index dots": (lambda: X[..., ...], "more than one Ellipsis"),
    "step zero": (lambda: X[::0], "a step cannot be 0"),
    "step named": (lambda: N[::2], "a step of 2 along axis 0 needs an integer size"),
    "concatenate": (lambda: ops.concatenate([X, N], 1), "sizes differ beside axis 1"),
    "concatenate ranks": (lambda: ops.concatenate([X, K]), "sizes differ beside axis 0"),
    "concatenate nothing": (lambda: ops.concatenate([]), "nothing to concatenate"),
    "stack": (lambda: ops.stack([X, N]), "the arrays must have one shape"),
    "split": (lambda: ops.split(X, 2), "does not divide into 2 equal parts"),
    "pad": (lambda: ops.pad(X, ((1, -1), (0, 0))), "non-negative"),
    "max of nothing": (lambda: sf.input("e", (0,)).max(), "no element"),
    "argmax of nothing": (lambda: ops.argmax(sf.input("e", (0,))), "no element"),
    "labels": (lambda: ops.softmax_cross_entropy(X, sf.input("t", (4,), "int64")),
               "one label for each row"),
    "embedding": (lambda: ops.embedding(K.astype("float32"), K), "the table must have two axes"),
    "take_along_axis": (lambda: ops.take_along_axis(X, K), "as many axes"),
    "tril": (lambda: ops.tril(K), "needs a matrix"),
    "tensordot": (lambda: ops.tensordot(X, X, ((0,), (1,))), "summed sizes differ"),
    "len": (lambda: len(N), "has no length"),
    "iterate": (lambda: list(N), "integer leading size"),
    "shape": (lambda: sf.input("y", (2.5,)), "a dimension is an int or a name"),
    "negative": (lambda: sf.input("y", (-2,)), "a dimension cannot be negative"),
    "name": (lambda: sf.input("y", ("a b",)), "must be an identifier"),
    "param": (lambda: sf.param("w", ("n", 2)), "sizes must be integers"),
    "init": (lambda: sf.param("w", (2, 2), init=np.ones(3)), "initial value's shape"),
    "update": (lambda: sf.update(sf.state("s", (2,)), K.astype("float32")), "value's type differs"),
    "ragged": (lambda: ops.add(X, [[1.0], [1.0, 2.0]]), "not an array"),
    "keepdims for an axis": (lambda: X.sum(True), "an axis is an integer here"),
    "half an axis": (lambda: X.sum(0.5), "an axis is an integer here"),
    "half a width": (lambda: ops.pad(X, 0.5), r"needs a non-negative \(before, after\)"),
    "widths of nothing": (lambda: ops.pad(X, [(1, 2, 3)]), r"needs a non-negative"),
}  # fmt: skip

DTYPES: dict[str, tuple[Callable[[], Any], str]] = {
    "bool arithmetic": (lambda: P + P, "add: takes numbers, not booleans"),
    "bool negative": (lambda: -P, r"use \.astype\('int32'\) to count"),
    "bits of floats": (lambda: X & X, "takes integers or booleans"),
    "float index": (lambda: X[sf.input("i", (2,))], "must be integers"),
    "float labels": (lambda: ops.softmax_cross_entropy(X, X[:, 0]), "the labels: must be integers"),
    "float classes": (lambda: ops.one_hot(X, 3), "the labels: must be integers"),
    "complex": (lambda: X * 2j, "complex numbers are not supported"),
    "complex array": (lambda: X * np.ones(4, complex), "only numbers"),
    "text": (lambda: X + "two", "only numbers"),
    "dtype": (lambda: sf.input("y", (2,), "float16"), "dtype float16 is not supported"),
    "cast": (lambda: X.astype("int8"), "use one of float32, float64, int32, int64, bool"),
    "const": (lambda: sf.const("two"), "must be numeric"),
    "a negative power": (lambda: K**-1, "integers have no negative powers"),
    "bits of truth values": (lambda: P << P, r"left_shift: takes integers\n"),
    "bits moved in floats": (lambda: X >> 1, r"right_shift: takes integers\n"),
    "half a shift": (lambda: ops.roll(X, 1.5), "a shift is an integer"),
    "half a bound": (lambda: X[0.5:], "bounds of a slice are integers"),
    "half a position": (lambda: ops.split(X, [0.5]), "bounds of a slice are integers"),
    "half a place": (lambda: ops.round(X, 0.5), "decimals must be an integer"),
    "half a turn": (lambda: X.trace(offset=None), "offset must be an integer"),
    "an argument": (lambda: X.sum(dim=1), r"sum: sum\(\) got an unexpected .* argument 'dim'"),
    "text for a number": (lambda: ops.huber(X, X, "a"), "huber: .*not"),
    "no list": (lambda: ops.stack(None), "stack: 'NoneType' object is not iterable"),
    "too many operands": (lambda: ops.tanh(X, X), "tanh takes 1 operands, got 2"),
}  # fmt: skip

GRAPHS: dict[str, tuple[Callable[[], Any], str]] = {
    "truth": (lambda: bool(X), "no truth value"),
    "if": (lambda: 1 if X > 0 else 0, "use ops.where or sf.cond"),
    "== a number": (lambda: ops.where(K == 0, K, 1), r"write ops\.equal\(x, y\)"),
    "!= a number": (lambda: X != 0.5, r"got: <x: float32\[3, 4\]> and 0\.5"),
    "a number ==": (lambda: np.float32(2) == X, "compare no values"),
    "== an array": (lambda: X == np.zeros((3, 4)), r"and float64\[3, 4\]"),
    "an array ==": (lambda: np.arange(3) == K, r"and int64\[3\]"),
    "mask": (lambda: X[X > 0], "selection by a mask"),
    "leaf name": (lambda: sf.input("", (2,)), "a name is a non-empty string"),
    "update": (lambda: sf.update(X, X), "declare it by sf.state"),
    "modes": (lambda: ops.by_mode(X, K[:, None]), "the values differ in dtype"),
    "rate": (lambda: ops.dropout(X, 1.0), "a probability below 1"),
    "differences": (lambda: ops.diff(X, -1), "n must not be negative"),
    "an order": (lambda: ops.quantile(X, "half"), "quantile: could not convert"),
    "random": (lambda: ops.random.uniform((2,), dtype="int64"), "draws floats"),
}  # fmt: skip


def check(kind: type[Exception], build: Callable[[], Any], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        build()
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  at test_errors.py:"), "the user's line"
    assert "lambda" in lines[1] or ":" in lines[1]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    check(sf.ShapeError, *SHAPES[name])


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(name: str) -> None:
    check(sf.DTypeError, *DTYPES[name])


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str) -> None:
    check(sf.GraphError, *GRAPHS[name])


def test_numpys_integers_are_integers() -> None:
    two = np.int64(2)
    assert [y.shape for y in ops.split(X, two, axis=np.int32(1))] == [(3, 2)] * 2
    assert len(ops.array_split(X, two)) == 2 and ops.linspace(0, 1, two).shape == (2,)
    assert ops.top_k(X, two)[0].shape == ops.diff(X, n=two).shape == (3, 2)
    assert ops.matrix_power(X @ X.T, two).shape == (3, 3)


def test_the_kinds_of_errors() -> None:
    assert issubclass(sf.ShapeError, ValueError) and issubclass(sf.GraphError, ValueError)
    assert issubclass(sf.DTypeError, TypeError)
    assert issubclass(sf.NumericsError, FloatingPointError)


def test_the_line_is_the_users_however_deep() -> None:
    with pytest.raises(sf.ShapeError) as caught:
        ops.layer_norm(X, scale=np.ones(3, "float32"))  # the user's line
    assert "# the user's line" in str(caught.value)


def test_the_interpreter_names_what_is_missing() -> None:
    with pytest.raises(sf.GraphError, match="no value is given for 'x'"):
        interpret([ops.tanh(X)], {})
    with pytest.raises(sf.ShapeError, match="does not have its shape"):
        interpret([ops.tanh(X)], {X: np.ones((4, 3))})
    with pytest.raises(sf.ShapeError, match="does not have its shape"):
        interpret([N + 1.0], {N: np.ones((2, 4)), sf.input("m", ("batch",)): np.ones(3)})


def test_a_size_that_no_input_tells_is_named_by_a_step() -> None:
    x, w = sf.input("x", ("batch", 2)), sf.param("w", (2,))
    loss = (x * w).mean() + sf.ops.sin(sf.ops.zeros(("other", 3)) + w[0]).sum()
    session = sf.Session(loss, optimizer=sf.optim.SGD(0.1))
    with pytest.raises(sf.GraphError, match="the size of dimension 'other' is not known"):
        session.step({"x": np.ones((4, 2))})
