"""Rules for random compositions that reduce, accumulate, order and arrange arrays of any shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz.compositions.rules import (
    COLUMN,
    ROW,
    SQUARE,
    TALL,
    WIDE,
    Choose,
    Function,
    Rule,
    Shape,
    constant,
    one_of,
    spread,
)


def _along(name: str, function: Function) -> Rule:
    """`function(m, x, axis)` for some axis of x."""

    def make(choose: Choose, shape: Shape) -> Function:
        axis = choose(len(shape))
        return lambda m, x: function(m, x, axis)

    return Rule(name, (None,), make, 1)


def _reduced(name: str, before: Function) -> Rule:
    """A reduction of what `before` makes of x, over some axes."""

    def make(choose: Choose, shape: Shape) -> Function:
        chosen = tuple(k for k in range(len(shape)) if choose(2))
        axis = one_of(choose, (None, chosen or (0,)))
        keep = bool(choose(2))
        return lambda m, x: getattr(m, name)(before(m, x), axis=axis, keepdims=keep)

    return Rule(name, (None,), make, 1)


def _apart(m: Any, x: Any) -> Any:
    return x + 3.0 * spread(x.shape)


def _same(m: Any, x: Any) -> Any:
    return x


REDUCTIONS = (
    _reduced("sum", lambda m, x: 0.3 * x),
    _reduced("mean", _same),
    _reduced("max", _apart),
    _reduced("min", _apart),
    _reduced("prod", lambda m, x: 1.0 + 0.3 * m.sin(x)),
    _reduced("var", _apart),
    constant("std", (TALL,), lambda m, x: m.std(_apart(m, x), axis=1)),
    _reduced("logsumexp", _same),
    _reduced("nansum", lambda m, x: m.where(x > 0.123, x, float("nan"))),
    _reduced("nanmean", _same),
)

ORDERS = (
    _along("cumsum", lambda m, x, axis: 0.5 * m.cumsum(x, axis)),
    _along("cumprod", lambda m, x, axis: m.cumprod(1.0 + 0.3 * m.sin(x), axis)),
    _along("sort", lambda m, x, axis: m.sort(_apart(m, x), axis)),
    _along("argsort", lambda m, x, axis: m.take_along_axis(x, m.argsort(_apart(m, x), axis), axis)),
    _along("softmax", lambda m, x, axis: m.softmax(x, axis)),
    _along("log_softmax", lambda m, x, axis: m.log_softmax(x, axis)),
    constant("layer_norm", (TALL,), lambda m, x: m.layer_norm(_apart(m, x))),
    constant("top_k", (WIDE,), lambda m, x: m.top_k(_apart(m, x), 2)[0]),
    constant("row of the largest", (TALL,), lambda m, x: x[m.argmax(_apart(m, x)[:, 0])]),
    constant("largest by index", (WIDE,), lambda m, x: m.take_along_axis(
        m.sin(x), m.argmax(_apart(m, x), 1, keepdims=True), 1)),
    constant("softmax_cross_entropy", (TALL,), lambda m, x: m.softmax_cross_entropy(
        x, np.array([2, 0, 1, 1]))),
    constant("searchsorted", (COLUMN, ROW), lambda m, x, v: m.take(
        v, m.searchsorted(m.sort(_apart(m, x)), v) % 3, 0)),
)  # fmt: skip


def _transposed(choose: Choose, shape: Shape) -> Function:
    order = list(range(len(shape)))
    for k in range(len(shape)):
        other = k + choose(len(shape) - k)
        order[k], order[other] = order[other], order[k]
    return lambda m, x: m.transpose(x, order)


def _sliced(choose: Choose, shape: Shape) -> Function:
    forms: list[Any] = [slice(None)] * len(shape)
    axis = choose(len(shape))
    size = shape[axis]
    forms[axis] = one_of(
        choose,
        (slice(1, None), slice(None, None, -1), slice(None, None, 2), slice(-1, None, -2),
         choose(size), slice(0, max(size - 1, 1)), -1 - choose(size)),
    )  # fmt: skip
    if choose(3) == 0:
        forms.insert(choose(len(forms) + 1), None)
    return lambda m, x: x[tuple(forms)]


def _gathered(choose: Choose, shape: Shape) -> Function:
    axis = choose(len(shape))
    index = np.array([choose(shape[axis]) for _ in range(4)])
    index = index.reshape((2, 2)) if choose(2) else index
    return lambda m, x: m.take(x, index, axis)


def _pairs(choose: Choose, *_: Shape) -> Function:
    rows, columns = ([choose(3) for _ in range(5)] for _ in range(2))
    return lambda m, x: x[np.array(rows), np.array(columns)]


def _assembled(name: str) -> Rule:
    def make(choose: Choose, shape: Shape, _: Shape) -> Function:
        axis = choose(len(shape))
        return lambda m, x, y: getattr(m, name)([x, m.tanh(y), x], axis)

    return Rule(name, (None, None), make, 1)


def _padded(choose: Choose, shape: Shape) -> Function:
    widths = [(choose(2), choose(3)) for _ in shape]
    return lambda m, x: m.pad(x, widths)


def _masked(choose: Choose, shape: Shape) -> Function:
    mask = spread(shape) > 0.4
    return lambda m, x: m.where(mask, x, 0.5)


VIEWS = (
    Rule("transpose", (None,), _transposed, 2),
    Rule("getitem", (None,), _sliced, 1),
    Rule("getitem again", (None,), _sliced, 1),
    Rule("take", (None,), _gathered, 1),
    Rule("elements", (SQUARE,), _pairs),
    _assembled("concatenate"),
    _assembled("stack"),
    Rule("pad", (None,), _padded, 1),
    Rule("mask", (None,), _masked, 1),
    _along("flip", lambda m, x, axis: m.flip(x, axis)),
    _along("roll", lambda m, x, axis: m.roll(x, 1, axis)),
    _along("repeat", lambda m, x, axis: m.repeat(x, 2, axis)),
    _along("expand_dims", lambda m, x, axis: m.expand_dims(x, axis)),
    _along("moveaxis", lambda m, x, axis: m.moveaxis(x, axis, 0)),
    _along("swapaxes", lambda m, x, axis: m.swapaxes(x, axis, -1)),
    _along("split", lambda m, x, axis: m.concatenate(m.split(x, [1], axis)[::-1], axis)),
    constant("ravel", (TALL,), lambda m, x: m.ravel(x.T)),
    constant("reshape", (TALL,), lambda m, x: m.reshape(x.T, (2, 6))),
    constant("tile", (ROW,), lambda m, x: m.tile(x, (2, 2))),
    constant("tril", (SQUARE,), lambda m, x: m.tril(x)),
    constant("triu", (WIDE,), lambda m, x: m.triu(x, 1)),
    constant("broadcast_to", (ROW,), lambda m, x: m.broadcast_to(x, (2, 3))),
    constant("squeeze", (ROW,), lambda m, x: m.squeeze(m.expand_dims(x, 0), 0)),
    constant("scatter_add", (TALL, (2, 3)), lambda m, x, v: m.scatter_add(x, np.array([3, 1]), v)),
    constant(
        "scatter_add twice",
        (WIDE, SQUARE),
        lambda m, x, v: m.scatter_add(x, np.array([1, 3, 1]), v, axis=1),
    ),
    constant("embedding", (TALL,), lambda m, x: m.take(x, np.array([[0, 2], [3, 2]]), 0)),
)
