"""Differentiate a graph: derivatives are nodes of the same ops, so it can be done again.

    y = sum(tanh(x))
    grad(y, x):   ones -> broadcast -> * (1 - tanh(x)^2)          reverse: from y back to x
    jvp(y, x, v): v -> * (1 - tanh(x)^2) -> sum                   forward: from x to y

Reverse mode walks the graph from `y` backwards and adds up, for every node between `wrt` and `y`,
the cotangents that its users give it. Nodes that do not depend on `wrt` are never visited. What
several passes share, such as a scalar operand's cotangent being a sum, is handled here and in no
rule of an op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticflow.dims import product
from staticflow.errors import DTypeError, GraphError, ShapeError, attributed, fail
from staticflow.kinds import Part
from staticflow.leaves import Input, const
from staticflow.node import Kind, Node, apply
from staticflow.ops import broadcast_to, eye, moveaxis, reshape, stack, zeros
from staticflow.ties import tied
from staticflow.traversal import is_zero, toposort
from staticflow.types import TensorType

WRITTEN_OUT = 8  # passes of a Jacobian
Gathered = dict[int, Node]  # the cotangents of an op's outputs, by their number


def grad(y: Node, wrt: Any) -> Any:
    """The derivative of a scalar `y` by a node or a list of nodes, of the shape of each."""
    _check_node("grad", y)
    if y.ndim:
        fail(
            ShapeError,
            "grad: differentiates a scalar only",
            got=str(y),
            do="reduce it with .sum() or .mean(), or use sf.vjp or sf.jacobian",
        )
    nodes = _wrt("grad", y, wrt)
    found = pull_back([y], [_direction("grad", "cotangent", 1.0, y)], nodes)
    return _like(wrt, tied(found, [y, *nodes]))


def vjp(y: Node, wrt: Any, cotangent: Any) -> Any:
    """The sum over y's elements of `cotangent` times their derivatives by `wrt`: cotangent @ J."""
    nodes = _wrt("vjp", y, wrt)
    g = _direction("vjp", "cotangent", cotangent, y)
    return _like(wrt, tied(pull_back([y], [g], nodes), [y, *nodes, g]))


def jvp(y: Node, wrt: Any, tangent: Any) -> Any:
    """The change of `y` as `wrt` moves along `tangent`: J @ tangent; a list for a list of nodes."""
    return _along("jvp", "tangent", [y], wrt, tangent)[0]


def _along(what: str, role: str, ys: Sequence[Node], wrt: Any, direction: Any) -> list[Node]:
    """The changes of `ys` as `wrt` moves along a direction."""
    nodes = _wrt(what, ys[0], wrt)
    several = isinstance(wrt, list | tuple)
    given = direction if several else [direction]
    if not isinstance(given, list | tuple) or len(given) != len(nodes):
        count = len(given) if isinstance(given, list | tuple) else "no list of"
        fail(GraphError, f"{what}: needs one {role} for each node",
             f"{count} {role}s for {len(nodes)} nodes")  # fmt: skip
    moves = [_direction(what, role, t, x) for t, x in zip(given, nodes, strict=True)]
    return tied(push_forward(ys, nodes, moves), [*ys, *nodes, *moves])


def jacobian(y: Node, wrt: Any) -> Any:
    """The derivatives of every element of `y` by every element of `wrt`: y.shape + wrt.shape.

    It takes one pass for each element of the smaller of the two, all of them at once where that is
    possible.
    """
    nodes = _wrt("jacobian", y, wrt)
    return _like(wrt, tied([_jacobian(y, x) for x in nodes], [y, *nodes]))


def hessian(y: Node, wrt: Any) -> Any:
    """The second derivatives of a scalar: wrt.shape + wrt.shape; a list of lists for a list."""
    first = grad(y, wrt)
    nodes = _wrt("hessian", y, wrt)
    rows = first if isinstance(wrt, list | tuple) else [first]
    # backwards where sizes are equal: the rows need no turning, and the first pass is shared
    blocks = [
        _like(wrt, tied([_jacobian(row, x, tie="reverse") for x in nodes], [y, *nodes]))
        for row in rows
    ]
    return _like(wrt, blocks)


def hvp(y: Node, wrt: Any, vector: Any) -> Any:
    """The Hessian of a scalar times a vector of the shape of `wrt`, without forming the Hessian."""
    first = grad(y, wrt)
    rows = first if isinstance(wrt, list | tuple) else [first]
    return _like(wrt, _along("hvp", "vector", rows, wrt, vector)) if rows else []


def reaching(y: Node, wrt: Sequence[Node]) -> list[Node | None]:
    """The derivatives of a scalar by nodes; None where it does not depend on one."""
    found = _cotangents([y], [_direction("grad", "cotangent", 1.0, y)], wrt)
    return [None if g is None or is_zero(g) else g for g in found]


def pull_back(ys: Sequence[Node], gs: Sequence[Node], wrt: Sequence[Node]) -> list[Node]:
    """Cotangents of `wrt`, given those of `ys`: zeros where a node does not reach."""
    found = _cotangents(ys, gs, wrt)
    return [zeros(x.shape, x.dtype) if g is None else g for x, g in zip(wrt, found, strict=True)]


def _cotangents(
    ys: Sequence[Node], gs: Sequence[Node], wrt: Sequence[Node]
) -> list[Node | None]:
    order = toposort(ys)
    active = _reached_from(wrt, order)
    cotangents: dict[Node, Any] = {}
    for y, g in zip(ys, gs, strict=True):
        _accumulate(cotangents, y, g)
    for node in reversed(order):
        if node in active and node in cotangents and node.inputs:
            with attributed(node.where):
                _pull_through(node, active, cotangents)
    return [cotangents.get(x) for x in wrt]


def _pull_through(node: Node, active: set[Node], cotangents: dict[Node, Any]) -> None:
    """Hand a node's cotangent on to its inputs."""
    if isinstance(node.op, Part):
        gathered: Gathered = cotangents.setdefault(node.inputs[0], {})
        _accumulate(gathered, node.op.index, cotangents[node])
        return
    g = cotangents[node]
    if isinstance(node.type, tuple):
        g = tuple(g[k] if k in g else zeros(t.shape, t.dtype) for k, t in enumerate(node.type))
    for x, cotangent in zip(node.inputs, node.op.vjp(g, node, *node.inputs), strict=True):
        if cotangent is not None and x in active:
            # A scalar constant that was used for every element collects from all of them.
            _accumulate(cotangents, x, cotangent.sum() if cotangent.ndim > x.ndim else cotangent)


def _accumulate(sums: dict[Any, Any], key: Any, term: Node) -> None:
    sums[key] = sums[key] + term if key in sums else term


def _reached_from(wrt: Sequence[Node], order: Sequence[Node]) -> set[Node]:
    """The nodes of `order` that depend on `wrt` through floats."""
    active = set(wrt)
    for node in order:
        if _is_float(node) and any(x in active for x in node.inputs):
            active.add(node)
    return active


def _is_float(node: Node) -> bool:
    types = node.type if isinstance(node.type, tuple) else (node.type,)
    return any(t.is_float for t in types)


def push_forward(ys: Sequence[Node], wrt: Sequence[Node], ts: Sequence[Node]) -> list[Node]:
    """Tangents of `ys`, given those of `wrt`: zeros where `wrt` does not reach."""
    order = toposort(ys)
    active = _reached_from(wrt, order)
    given: dict[Node, Node] = {}
    for x, t in zip(wrt, ts, strict=True):
        _accumulate(given, x, t)
    tangents: dict[Node, Any] = {}
    for node in order:
        if node not in active:
            continue
        with attributed(node.where):
            tangent = _push_through(node, tangents)
        if node in given:
            tangent = given[node] if tangent is None else tangent + given[node]
        if tangent is not None:
            tangents[node] = tangent
    return [tangents[y] if y in tangents else zeros(y.shape, y.dtype) for y in ys]


def _push_through(node: Node, tangents: Mapping[Node, Any]) -> Any:
    """The tangent of a node, given those of its inputs; None for zero."""
    moved: list[Any] = [tangents.get(x) for x in node.inputs]
    if all(t is None for t in moved):
        return None
    if isinstance(node.op, Part):
        return moved[0][node.op.index]
    if node.op.kind is Kind.MAP:
        # A scalar constant among arrays moves every element alike.
        moved = [None if t is None else broadcast_to(t, node.shape) for t in moved]
    tangent = node.op.jvp(moved, node, *node.inputs)
    return _by_transposition(node, moved) if tangent is NotImplemented else tangent


def _by_transposition(node: Node, moved: Sequence[Any]) -> Any:
    """J @ t as the transpose of g -> g @ J, which is linear in a stand-in for g."""
    several = isinstance(node.type, tuple)
    types: tuple[TensorType, ...] = node.type if several else (node.type,)
    stand_ins = [apply(Input("cotangent", t)) for t in types]
    g = tuple(stand_ins) if several else stand_ins[0]
    backward = node.op.vjp(g, node, *node.inputs)
    pairs = zip(backward, moved, strict=True)
    linked = [(c, t) for c, t in pairs if c is not None and t is not None]
    forward = pull_back([c for c, _ in linked], [t for _, t in linked], stand_ins)
    return tuple(forward) if several else forward[0]


def _jacobian(y: Node, x: Node, tie: str = "forward") -> Node:
    """One pass for each element of the smaller side: written out if few, else as a scan.

    With sides of one size forwards, where products read weights as they lie, unless `tie` says not.
    The scan has no carries, so that the compiler makes it one pass over all elements at once.
    """
    rows, columns = product(y.shape), product(x.shape)
    forward = isinstance(columns, int) and (not isinstance(rows, int) or columns < rows)
    forward = forward or (isinstance(columns, int) and columns == rows and tie == "forward")
    size, side = (columns, x) if forward else (rows, y)
    shape = (*y.shape, *x.shape)
    if size == 0:
        return zeros(shape, y.dtype)
    basis = eye(size, dtype=side.dtype)

    def one_pass(unit: Node) -> Node:
        direction = reshape(unit, side.shape)
        if forward:
            return push_forward([y], [x], [direction])[0]
        return pull_back([y], [direction], [x])[0]

    if isinstance(size, int) and size <= WRITTEN_OUT:
        passes = stack([one_pass(basis[k]) for k in range(size)])
    else:
        from staticflow.scan import scan  # which needs derivatives itself

        _, passes = scan(lambda _, unit: (None, one_pass(unit)), None, basis)
    return reshape(moveaxis(passes, 0, -1) if forward else passes, shape)


def _check_node(what: str, y: Any) -> None:
    if not isinstance(y, Node):
        fail(GraphError, f"{what}: differentiates nodes", repr(y)[:80], "pass what ops returned")
    if not y.type.is_float:
        fail(
            DTypeError,
            f"{what}: only floats have derivatives",
            got=str(y),
            do="convert with .astype('float32') before, or differentiate something else",
        )


def _wrt(what: str, y: Any, wrt: Any) -> list[Node]:
    nodes = list(wrt) if isinstance(wrt, list | tuple) else [wrt]
    for node in (y, *nodes):
        _check_node(what, node)
    return nodes


def _like(wrt: Any, results: list[Node]) -> Any:
    return results if isinstance(wrt, list | tuple) else results[0]


def _direction(what: str, role: str, value: Any, of: Node) -> Node:
    """A cotangent or tangent as a node of the type of what it belongs to."""
    if not isinstance(value, Node):
        value = const(np.asarray(value), of.dtype)
    if value.type != of.type:
        fail(
            DTypeError if value.shape == of.shape else ShapeError,
            f"{what}: the {role}'s type differs from that of {of.name}",
            got=f"{value.type} for {of.type}",
            do=f"give the {role} the shape and dtype of what it belongs to",
        )
    node: Node = value
    return node
