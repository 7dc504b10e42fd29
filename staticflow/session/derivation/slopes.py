"""The derivatives of elementwise functions, as expressions: those of the op table.

A function's own rule is asked for its derivative once, of vectors x and y, and what it gives is
read as any graph is; for other arguments these are put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from staticflow.autodiff.derivatives import vjp
from staticflow.compiler.formula.explain import ALL_PATTERNS
from staticflow.graph.kinds import MapRow
from staticflow.graph.leaves import Input
from staticflow.graph.node import apply
from staticflow.graph.op_table import table
from staticflow.graph.types import TensorType
from staticflow.ops import ones
from staticflow.session.derivation.expr import (
    Expr,
    Size,
    add,
    function,
    number,
    scale,
    symbol,
    zero,
)
from staticflow.session.derivation.expr import (
    ones as ones_of,
)
from staticflow.session.derivation.matrix import (
    had,
    rebuilt,
)
from staticflow.session.derivation.reader import GraphReader

LENGTH = 2


def reference(name: str) -> Any:
    """The function in NumPy."""
    row = table()[name].row
    assert isinstance(row, MapRow)
    return row.reference


def slopes(name: str, args: tuple[Expr, ...], y: Expr) -> list[Expr]:
    """The derivatives by each argument, given the arguments and the value."""
    if name in PIECEWISE:
        return [function(PIECEWISE[name], y.shape, *args)]
    if name == "power":
        base, e = args
        below = add([e, scale(number(-1), ones_of(*y.shape))], y.shape)
        logs = function("log", y.shape, base)
        return [had(e, function("power", y.shape, base, below)), had(logs, y)]
    operands, found = _templates(name)
    given = dict(zip((*operands, RESULT), (*args, y), strict=True))
    return [_put_in(x, given, y.shape) for x in found]


PIECEWISE: Mapping[str, str] = {"relu": "positive", "abs": "sign"}  # wherever there is one
RESULT = symbol("result", (LENGTH, 1))


@cache
def _templates(name: str) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    row = table()[name].row
    assert isinstance(row, MapRow)
    type_ = TensorType((LENGTH,), "float64")
    labels = [f"operand {letter}" for letter in row.inputs]
    inputs = [apply(Input(label, type_)) for label in labels]
    node = table()[name].function(*inputs)
    made = vjp(node, inputs, ones((LENGTH,), dtype="float64"))
    names = {**dict(zip(inputs, labels, strict=True)), node: "result"}
    reader = GraphReader(made, names, ALL_PATTERNS)
    found = tuple(reader.read(g, [*inputs, node]) for g in made)
    return tuple(symbol(names[x], (LENGTH, 1)) for x in inputs), found


def _put_in(x: Expr, given: Mapping[Expr, Expr], shape: Size) -> Expr:
    """A template of other arguments, of their shape."""
    if x in given:
        return given[x]
    if x.head in ("ones", "zero"):
        return ones_of(*shape) if x.head == "ones" else zero(shape)
    args = tuple(_put_in(a, given, shape) for a in x.args)
    if x.head == "sum":
        return add(args, shape)
    if x.head == "fn":
        return function(x.attr, shape, *args)
    return rebuilt(x, args)
