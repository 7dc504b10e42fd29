"""`scan`: the one loop construct, and its derivative, a scan in reverse.

    carry, ys = sf.scan(step, init, xs)      # step(carry, x) -> (carry, y)

computes what this Python computes, in compiled code and for a length known when data arrives:

    ys = []
    for x in xs:                             # over the leading axis; from the end with reverse=True
        carry, y = step(carry, x)
        ys.append(y)
    return carry, stack(ys)

No module but the package itself imports this one, whose name is that of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim, as_dim, square_root
from staticflow.graph.kinds import parts
from staticflow.graph.loop_op import body_input, capture, draw_each_step
from staticflow.graph.node import Node, apply
from staticflow.graph.pytree import flatten, map_structure, paths, rebuild_like
from staticflow.graph.scan_op import Scan
from staticflow.graph.types import TensorType
from staticflow.ops import arange, equal, flip, stop_gradient, where
from staticflow.ops.coerce import entry
from staticflow.ops.control_flow.carries import check_carries, meet, meet_integers
from staticflow.ops.control_flow.gate_products import arrange_products
from staticflow.ops.control_flow.rematerialise import scan_in_segments


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: Any = None,
    reverse: bool = False,
    remat: Any = None,
    truncate: int | None = None,
) -> tuple[Any, Any]:
    """Loop `step(carry, x) -> (carry, y)` over the leading axis of `xs`; returns (carry, ys).

    carry, x and y are nodes, or tuples, lists or dicts of nodes; `xs` may be None with a `length`.
    The carry's types must not change; what else the step uses of the graph is a constant to it.
    What the step draws at random (`ops.dropout(carry, 0.2)`) is drawn anew in each step; what was
    drawn outside, and is only used in the step, is the same in all of them.

    With `remat=k`, derivatives save only every k-th carry and compute the steps in between again;
    with `remat=True`, k is the square root of the length. With `truncate=k`, no derivative goes
    back beyond the start of its run of k steps.
    Raises ShapeError or DTypeError naming the carry whose type would change.
    """
    init = map_structure(entry, init)
    xs = map_structure(entry, xs)
    size = _length(flatten(xs), length)
    if truncate is not None:
        step, xs = _truncated(step, xs, size, _count("truncate", truncate), reverse)
    op, init, draws, outer, y_out = _traced(step, init, xs, size, reverse)
    operands = flatten(init), [*flatten(xs), *draws], outer
    if remat is None or remat is False:
        found = list(parts(apply(op, *operands[0], *operands[1], *operands[2])))
    else:
        every = square_root(size) if remat is True else _count("remat", remat)
        found = scan_in_segments(op, *operands, every)
    results = iter(found)
    return rebuild_like(init, results), rebuild_like(y_out, results)


def _count(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        fail(GraphError, f"scan: {what} is a number of steps, at least 1", got=repr(value))
    return value


def _traced(
    step: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any, size: AnyDim, reverse: bool
) -> tuple[Scan, Any, list[Node], list[Node], Any]:
    """The op for a step; the carry that it starts from, where Python's numbers have the dtypes that
    they meet; the nodes that its last xs, the random ones, and its constants stand for; and the
    structure of its ys.
    """

    def next_of(starts: list[Node]) -> tuple[list[Node], list[Node]]:
        body_inputs, _, following, _ = _declared(step, rebuild_like(init, iter(starts)), xs)
        return body_inputs, flatten(following)

    init = rebuild_like(init, iter(meet_integers(flatten(init), next_of)))
    start = body_input("steps", TensorType((), "int64")).serial
    carries, elements, carry_out, y_out = _declared(step, init, xs)
    starts = meet(flatten(init), carries, flatten(carry_out), flatten(y_out))
    if starts != flatten(init):
        return _traced(step, rebuild_like(init, iter(starts)), xs, size, reverse)
    following = check_carries("scan", init, carry_out)
    outputs, draws = draw_each_step([*following, *flatten(y_out)], start, size)
    elements += draws
    outputs = arrange_products(outputs, carries, elements, len(carries))
    body, consts, outer = capture(outputs, [*carries, *elements])
    op = Scan(
        carries=tuple(carries),
        xs=tuple(elements),
        consts=tuple(consts),
        next=tuple(body[: len(carries)]),
        ys=tuple(body[len(carries) :]),
        length=size,
        reverse=reverse,
        origin=object(),
    )
    return op, init, list(draws.values()), outer, y_out


def _declared(
    step: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any
) -> tuple[list[Node], list[Node], Any, Any]:
    """The body inputs for the carry and for the elements of xs, the next carry, and y."""
    names = zip(paths(init, "carry"), flatten(init), strict=True)
    carries = [body_input(name, n.type) for name, n in names]
    elements = [
        body_input(f"x {i}", n.type.with_shape(n.shape[1:])) for i, n in enumerate(flatten(xs))
    ]
    result = step(rebuild_like(init, iter(carries)), rebuild_like(xs, iter(elements)))
    if not isinstance(result, tuple) or len(result) != 2:
        fail(GraphError, "scan: the step must return (carry, y)", got=repr(type(result).__name__))
    carry_out, y_out = (map_structure(entry, part) for part in result)
    return carries, elements, carry_out, y_out


def _truncated(
    step: Callable[[Any, Any], tuple[Any, Any]], xs: Any, size: AnyDim, every: int, reverse: bool
) -> tuple[Callable[[Any, Any], tuple[Any, Any]], Any]:
    """The step, with a counter among its xs, that takes every so many-th carry as a constant."""
    counter = arange(size, dtype="int64")
    count = flip(counter, 0) if reverse else counter

    def cut(carry: Any, now: Any) -> tuple[Any, Any]:
        first = equal(now[1] % every, 0)

        def constant(node: Node) -> Node:
            return where(first, stop_gradient(node), node) if node.type.is_float else node

        return step(map_structure(constant, carry), now[0])

    return cut, (xs, count)


def _steps(length: Any) -> AnyDim:
    try:
        return as_dim(length)
    except ValueError as error:
        fail(
            ShapeError,
            f"scan: the length is no number of steps: {error}",
            got=f"length={length!r}",
            do="give an int of at least 0, or the name of a dimension",
        )


def _length(xs: Sequence[Node], length: Any) -> AnyDim:
    sizes: list[AnyDim] = [] if length is None else [_steps(length)]
    for x in xs:
        if x.ndim == 0:
            fail(ShapeError, "scan: xs need a leading axis to loop over", got=str(x))
        sizes.append(x.shape[0])
    if not sizes:
        fail(GraphError, "scan: without xs, a length is needed", do="pass length=")
    if any(n != sizes[0] for n in sizes):
        fail(
            ShapeError,
            "scan: the leading axes of xs differ",
            got=", ".join(map(str, sizes)),
            do="loop over arrays of one length, with one name for it",
        )
    return sizes[0]
