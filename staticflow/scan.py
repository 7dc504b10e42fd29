"""`scan`: the one loop construct, and its derivative, a scan in reverse.

    carry, ys = sf.scan(step, init, xs)      # step(carry, x) -> (carry, y)

computes what this Python computes, in compiled code and for a length known when data arrives:

    ys = []
    for x in xs:                             # over the leading axis; from the end with reverse=True
        carry, y = step(carry, x)
        ys.append(y)
    return carry, stack(ys)

The op holds the body as a graph over SLOTS: leaves that stand for the carries, the current element
of each xs, and the constants, which are whatever else of the outer graph the body uses.

The derivative (back-propagation through time) runs over the same elements in the opposite order.
Its carries are the cotangents of the carries, and a sum for each constant's cotangent. Of the
forward body it reads RESIDUALS; the forward scan that returns them is the same scan with more ys,
and `merge_scans` makes one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from staticflow.differentiate import pull_back, push_forward
from staticflow.dims import AnyDim, as_dim
from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph import (
    Const,
    Leaf,
    Node,
    Part,
    apply,
    as_node,
    is_implicit,
    parts,
    rebuild,
    through_views,
    toposort,
    with_inputs,
)
from staticflow.op import Classes, Kind, Op, OutType
from staticflow.ops.creation import zeros
from staticflow.structure import flatten, map_structure, rebuild_like
from staticflow.types import TensorType


@dataclass(frozen=True, eq=False)
class Slot(Leaf):
    """A value that a loop hands to its body."""


def slot(label: str, type_: TensorType) -> Node:
    """A new slot of a body."""
    return apply(Slot(label, type_))


@dataclass(frozen=True, eq=False)
class Scan(Op):
    """Inputs are the initial carries, the xs, the constants; outputs the last carries and the ys."""

    carries: tuple[Node, ...]
    xs: tuple[Node, ...]
    consts: tuple[Node, ...]
    next: tuple[Node, ...]
    ys: tuple[Node, ...]
    length: AnyDim
    reverse: bool
    origin: Any  # shared by scans of one body that differ in how many ys they return
    kind = Kind.LOOP

    @property
    def body(self) -> tuple[Node, ...]:
        """What the body computes: the next carries, then the ys."""
        return (*self.next, *self.ys)

    @property
    def slots(self) -> tuple[Node, ...]:
        """The body's leaves, in the order of the op's inputs."""
        return (*self.carries, *self.xs, *self.consts)

    def split(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The inputs as initial carries, xs and constants."""
        first, second = len(self.carries), len(self.carries) + len(self.xs)
        return list(inputs[:first]), list(inputs[first:second]), list(inputs[second:])

    def infer(self, *xs: TensorType) -> OutType:
        stacked = [y.type.with_shape((self.length, *y.shape)) for y in self.ys]
        return (*(c.type for c in self.carries), *stacked)

    def unroll(self, evaluate: Callable[..., list[Any]], *inputs: Any) -> Any:
        """The values by plain Python; `evaluate(outputs, values of slots)` computes one step."""
        carries, xs, consts = self.split(inputs)
        length = len(xs[0]) if xs else int(np.asarray(self.length))
        stacks: list[list[Any]] = [[] for _ in self.ys]
        order = range(length - 1, -1, -1) if self.reverse else range(length)
        for t in order:
            values = [*carries, *(x[t] for x in xs), *consts]
            results = evaluate(self.body, dict(zip(self.slots, values, strict=True)))
            carries = results[: len(carries)]
            for stack, y in zip(stacks, results[len(carries) :], strict=True):
                stack.append(y)
        if self.reverse:
            stacks = [stack[::-1] for stack in stacks]
        empty = [np.zeros((0, *(int(str(n)) for n in y.shape)), y.dtype) if length == 0 else None
                 for y in self.ys]  # fmt: skip
        ys = [np.stack(s) if e is None else e for s, e in zip(stacks, empty, strict=True)]
        return (*carries, *ys)

    def relate(self, classes: Classes, out: OutType, *xs: Any) -> Any:
        raise AssertionError("generalise walks into the bodies of loops")

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.reverse, len(self.carries), len(self.xs), len(self.ys))

    def attributes(self) -> str:
        return f"length={self.length}" + (", reverse" if self.reverse else "")

    def vjp(self, g: Any, y: Node, *inputs: Node) -> Sequence[Node | None]:
        return _backward(self, g, inputs)

    def jvp(self, tangents: Sequence[Any], y: Node, *inputs: Node) -> Any:
        return _forward_tangents(self, tangents, inputs)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Loop `step(carry, x) -> (carry, y)` over the leading axis of `xs`; returns (carry, ys).

    carry, x and y are nodes, or tuples, lists or dicts of nodes; `xs` may be None with a `length`.
    The carry's types must not change; what else the step uses of the graph is a constant to it.
    Raises ShapeError or DTypeError naming the carry whose type would change.
    """
    init = map_structure(lambda value: as_node(value), init)
    xs = map_structure(lambda value: as_node(value), xs)
    size = _length(flatten(xs), length)
    carries = [slot(f"carry {i}", n.type) for i, n in enumerate(flatten(init))]
    elements = [slot(f"x {i}", n.type.with_shape(n.shape[1:])) for i, n in enumerate(flatten(xs))]
    carry_in = rebuild_like(init, iter(carries))
    x_in = rebuild_like(xs, iter(elements))
    result = step(carry_in, x_in)
    if not isinstance(result, tuple) or len(result) != 2:
        fail(GraphError, "scan: the step must return (carry, y)", got=repr(type(result).__name__))
    carry_out = map_structure(lambda value: as_node(value), result[0])
    y_out = map_structure(lambda value: as_node(value), result[1])
    following = _check_carries(flatten(init), flatten(carry_out))
    body, consts, outer = capture([*following, *flatten(y_out)], [*carries, *elements])
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
    results = iter(parts(apply(op, *flatten(init), *flatten(xs), *outer)))
    return rebuild_like(init, results), rebuild_like(y_out, results)


def _length(xs: Sequence[Node], length: Any) -> AnyDim:
    sizes: list[AnyDim] = [] if length is None else [as_dim(length)]
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


def _check_carries(init: Sequence[Node], following: Sequence[Node]) -> list[Node]:
    if len(init) != len(following):
        fail(
            GraphError,
            "scan: the step must return a carry of the structure of init",
            got=f"{len(following)} values for {len(init)}",
        )
    for position, (old, new) in enumerate(zip(init, following, strict=True)):
        if old.type != new.type:
            kind = DTypeError if old.shape == new.shape else ShapeError
            fail(
                kind,
                f"scan: carry {position} changes its type",
                got=f"{old.type} in init, {new.type} from the step",
                do="make the step return what it takes: reshape or cast the one or the other",
            )
    return list(following)


def _stays_inside(node: Node) -> bool:
    """Whether a body computes a node itself: it is implicit, or repeats an outer node's elements."""
    repeats = node.op.kind is Kind.VIEW and getattr(node.op, "repeats", False)
    return repeats or is_implicit(through_views(node)[0])


def capture(
    outputs: Sequence[Node], slots: Sequence[Node]
) -> tuple[list[Node], list[Node], list[Node]]:
    """Cut a body out of the graph around it.

    Returns the outputs over slots only, the new slots for constants, and the outer nodes that these
    stand for. What does not depend on the slots is computed outside, once.
    """
    inside = set(slots)
    for node in toposort(outputs):
        if any(x in inside for x in node.inputs):
            inside.add(node)
    consts: dict[Node, Node] = {}

    def stand_in(node: Node) -> Node:
        if node not in consts:
            consts[node] = slot(f"const {node.name}", node.type)
        return consts[node]

    new: dict[Node, Node] = {s: s for s in slots}
    for node in _needed(outputs, inside):
        if node in new:
            continue
        if node not in inside and not _stays_inside(node):
            new[node] = stand_in(node)
        else:
            new[node] = with_inputs(node, tuple(new[x] for x in node.inputs))
    return [new[node] for node in outputs], list(consts.values()), list(consts)


def _needed(outputs: Sequence[Node], inside: set[Node]) -> Iterator[Node]:
    """The nodes that a body computes, and the outer ones that it uses, inputs before users."""
    order: list[Node] = []
    done: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(node, False) for node in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        opened = node in inside or _stays_inside(node)
        if ready or not opened:
            done.add(node)
            order.append(node)
        else:
            stack.append((node, True))
            stack += [(x, False) for x in node.inputs if x not in done]
    return iter(order)


def _is_float(node: Node) -> bool:
    return bool(node.type.is_float)


def _is_zero(node: Node) -> bool:
    root, _ = through_views(node)
    return isinstance(root.op, Const) and not np.any(root.op.value)


def _backward(op: Scan, gs: Sequence[Node], inputs: Sequence[Node]) -> list[Node | None]:
    """Back-propagation through time: cotangents of the inputs."""
    count = len(op.carries)
    outs = [node for node in op.body if _is_float(node)]
    cotangents = [slot(f"cotangent of {node.name}", node.type) for node in outs]
    wrt = [s for s in op.slots if _is_float(s)]
    grads = dict(zip(wrt, pull_back(outs, cotangents, wrt), strict=True))
    carried = [i for i, c in enumerate(op.carries) if _is_float(c)]
    dcs = cotangents[: len(carried)]
    summed = [s for s in op.consts if s in grads and not _is_zero(grads[s])]
    sums = [slot(f"sum for {s.name}", s.type) for s in summed]
    spread = [s for s in op.xs if s in grads and not _is_zero(grads[s])]
    following = [grads[op.carries[i]] for i in carried]
    following += [total + grads[s] for total, s in zip(sums, summed, strict=True)]
    body = [*following, *(grads[s] for s in spread)]

    saved = residuals(body, op)
    extended = replace(op, ys=(*op.ys, *saved))
    results = parts(apply(extended, *inputs))
    stacks = results[count + len(op.ys) :]
    places = {node: slot(f"saved {node.name}", node.type) for node in saved}
    elements = [slot(x.name, x.type) for x in op.xs]
    places.update(zip(op.xs, elements, strict=True))
    consts = [slot(c.name, c.type) for c in op.consts]
    places.update(zip(op.consts, consts, strict=True))
    body = substitute(body, places)

    _, xs, outer = op.split(inputs)
    float_ys = [i for i, node in enumerate(op.ys) if _is_float(node)]
    dys = cotangents[len(carried) :]
    backward = Scan(
        carries=(*dcs, *sums),
        xs=(*dys, *places_of(saved, places), *elements),
        consts=tuple(consts),
        next=tuple(body[: len(following)]),
        ys=tuple(body[len(following) :]),
        length=op.length,
        reverse=not op.reverse,
        origin=object(),
    )
    init = [gs[i] for i in carried] + [zeros(s.shape, s.dtype) for s in summed]
    found = parts(apply(backward, *init, *(gs[count + i] for i in float_ys), *stacks, *xs, *outer))
    by_slot: dict[Node, Node] = {}
    by_slot.update(zip((op.carries[i] for i in carried), found, strict=False))
    by_slot.update(zip(summed, found[len(carried) :], strict=False))
    by_slot.update(zip(spread, found[len(following) :], strict=True))
    return [by_slot.get(s) for s in op.slots]


def places_of(nodes: Sequence[Node], places: dict[Node, Node]) -> list[Node]:
    """The slots that stand for nodes."""
    return [places[node] for node in nodes]


def residuals(body: Sequence[Node], op: Scan) -> list[Node]:
    """What of the forward body a backward body reads, apart from xs and constants.

    What a loop within the body saves for its own derivative is part of the forward body.
    """
    forward = set(toposort(op.body)) | set(op.slots) | _saved_by_loops(body, op.slots)
    given = set(op.xs) | set(op.consts)
    found: dict[Node, None] = {}
    stack = list(body)
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        root, _ = through_views(node)
        if node in forward and root is node and not is_implicit(node) and node not in given:
            found[node] = None
        elif node not in given:
            stack += node.inputs
    return list(found)


def _saved_by_loops(body: Sequence[Node], slots: Sequence[Node]) -> set[Node]:
    """The outputs of loops that depend on the given slots only."""
    known = set(slots)
    found: set[Node] = set()
    for node in toposort(body):
        if node in known or isinstance(node.op, Slot) or not all(x in known for x in node.inputs):
            continue
        known.add(node)
        if isinstance(node.op, Part) and node.inputs[0].op.kind is Kind.LOOP:
            found.add(node)
    return found


def substitute(roots: Sequence[Node], places: dict[Node, Node]) -> list[Node]:
    """The graph with some nodes replaced; what only these needed falls away."""
    new: dict[Node, Node] = dict(places)
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if node in new:
            continue
        if ready:
            new[node] = with_inputs(node, tuple(new[x] for x in node.inputs))
        else:
            stack.append((node, True))
            stack += [(x, False) for x in node.inputs if x not in new]
    return [new[root] for root in roots]


def _forward_tangents(op: Scan, tangents: Sequence[Any], inputs: Sequence[Node]) -> Any:
    """A scan over values and tangents together; returns the tangents of all outputs."""
    moving = [s for s in op.slots if _is_float(s)]
    ts = {s: slot(f"tangent of {s.name}", s.type) for s in moving}
    outs = [node for node in op.body if _is_float(node)]
    pushed = dict(zip(outs, push_forward(outs, moving, list(ts.values())), strict=True))
    given = {
        s: zeros(x.shape, x.dtype) if t is None else t
        for s, x, t in zip(op.slots, inputs, tangents, strict=True)
        if s in ts
    }

    def both(slots: Sequence[Node]) -> list[Node]:
        return [ts[s] for s in slots if s in ts]

    def values(slots: Sequence[Node]) -> list[Node]:
        return [given[s] for s in slots if s in ts]

    init, xs, consts = op.split(inputs)
    next_t = [pushed[n] for n in op.next if _is_float(n)]
    ys_t = [pushed[n] for n in op.ys if _is_float(n)]
    joint = Scan(
        carries=(*op.carries, *both(op.carries)),
        xs=(*op.xs, *both(op.xs)),
        consts=(*op.consts, *both(op.consts)),
        next=(*op.next, *next_t),
        ys=tuple(ys_t),
        length=op.length,
        reverse=op.reverse,
        origin=object(),
    )
    found = parts(
        apply(
            joint, *init, *values(op.carries), *xs, *values(op.xs), *consts, *values(op.consts)
        )
    )
    made = iter(found[len(op.carries) :])
    by_output = {i: next(made) for i, n in enumerate(op.body) if _is_float(n)}
    types = op.infer()
    assert isinstance(types, tuple)
    return tuple(
        by_output[i] if i in by_output else zeros(t.shape, t.dtype) for i, t in enumerate(types)
    )


def map_bodies(
    roots: Sequence[Node], change: Callable[[Scan, Sequence[Node]], Sequence[Node]]
) -> list[Node]:
    """Rebuild every loop with a changed body, inner loops first."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        body = list(change(node.op, map_bodies(node.op.body, change)))
        count = len(node.op.next)
        op = replace(node.op, next=tuple(body[:count]), ys=tuple(body[count:]))
        return Node(op, inputs, node.type, node.where, node.label)

    return rebuild(roots, visit)


def merge_scans(roots: Sequence[Node]) -> list[Node]:
    """Make one scan of those that have one body and equal inputs, with all their ys."""
    order = toposort(roots)
    number = _numbered(order)
    unions: dict[int, dict[Node, None]] = {}
    for node in order:
        if isinstance(node.op, Scan):
            unions.setdefault(number[node], {}).update(dict.fromkeys(node.op.ys))
    merged: dict[int, Node] = {}

    def unite(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan):
            source = node.inputs[0]
            position = _index_in_union(node.op.index, node.inputs[0].op, unions[number[source]])
            return apply(Part(position), inputs[0], where=node.where)
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        if number[node] not in merged:
            union = replace(node.op, ys=tuple(unions[number[node]]))
            merged[number[node]] = apply(_merged_inside(union), *inputs, where=node.where)
        return merged[number[node]]

    return rebuild(roots, unite)


def _merged_inside(op: Scan) -> Scan:
    """The scan with the scans in its body merged."""
    body = merge_scans(op.body)
    count = len(op.next)
    return replace(op, next=tuple(body[:count]), ys=tuple(body[count:]))


def _index_in_union(index: int, op: Scan, ys: Iterable[Node]) -> int:
    count = len(op.carries)
    return index if index < count else count + list(ys).index(op.ys[index - count])


def _numbered(order: Sequence[Node]) -> dict[Node, int]:
    """A number for each node, equal for equal values; scans of one body and equal inputs count as
    one, however many ys they return.
    """
    numbers: dict[Node, int] = {}
    found: dict[Any, int] = {}
    for node in order:
        numbers[node] = found.setdefault(_identity(node, numbers), len(found))
    return numbers


def _identity(node: Node, numbers: dict[Node, int]) -> Any:
    inputs = tuple(numbers[x] for x in node.inputs)
    if isinstance(node.op, Scan):
        return (id(node.op.origin), node.op.reverse, inputs)
    if isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan):
        op, index = node.inputs[0].op, node.op.index - len(node.inputs[0].op.carries)
        return (Part, inputs, node.op.index if index < 0 else op.ys[index])
    if isinstance(node.op, Const) and node.op.is_scalar:
        return (Const, node.dtype, node.op.value.tobytes())
    return (node.op, inputs)


def separate_bodies(roots: Sequence[Node]) -> list[Node]:
    """Give every scan nodes of its own, so that each body can be placed in memory by itself."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        op = node.op
        fresh = {s: slot(s.name, s.type) for s in op.slots}
        body = _copied(separate_bodies(op.body), fresh)
        count = len(op.next)
        new = replace(
            op,
            carries=tuple(fresh[s] for s in op.carries),
            xs=tuple(fresh[s] for s in op.xs),
            consts=tuple(fresh[s] for s in op.consts),
            next=tuple(body[:count]),
            ys=tuple(body[count:]),
        )
        return Node(new, inputs, node.type, node.where, node.label)

    return rebuild(roots, visit)


def _copied(roots: Sequence[Node], fresh: dict[Node, Node]) -> list[Node]:
    new = dict(fresh)
    for node in toposort(roots):
        if node not in new:
            inputs = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.op, inputs, node.type, node.where, node.label)
    return [new[root] for root in roots]


def drop_unused(roots: Sequence[Node]) -> list[Node]:
    """Remove ys that nobody reads, and constants and xs that no body uses."""
    used: dict[Node, set[int]] = {}
    for node in toposort(roots):
        if isinstance(node.op, Part):
            used.setdefault(node.inputs[0], set()).add(node.op.index)
    kept: dict[Node, tuple[Node, list[int]]] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Part) and node.inputs[0] in kept:
            scan_node, indices = kept[node.inputs[0]]
            return apply(Part(indices.index(node.op.index)), scan_node, where=node.where)
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        new, indices = _trimmed(node, inputs, used.get(node, set()))
        kept[node] = (new, indices)
        return new

    return rebuild(roots, visit)


def _trimmed(node: Node, inputs: tuple[Node, ...], used: set[int]) -> tuple[Node, list[int]]:
    op: Any = node.op
    count = len(op.carries)
    carries = _live_carries(op, used)
    ys = [i for i in range(len(op.ys)) if count + i in used]
    body = [*(op.next[i] for i in carries), *(op.ys[i] for i in ys)]
    reached = set(toposort(body))
    init, xs, consts = op.split(inputs)
    keep_x = [i for i, s in enumerate(op.xs) if s in reached]
    if not keep_x and op.xs and not isinstance(op.length, int):
        keep_x = [0]  # a run-time length must come from some array
    keep_c = [i for i, s in enumerate(op.consts) if s in reached]
    new = replace(
        op,
        carries=tuple(op.carries[i] for i in carries),
        next=tuple(op.next[i] for i in carries),
        ys=tuple(op.ys[i] for i in ys),
        xs=tuple(op.xs[i] for i in keep_x),
        consts=tuple(op.consts[i] for i in keep_c),
    )
    operands = [init[i] for i in carries] + [xs[i] for i in keep_x] + [consts[i] for i in keep_c]
    return apply(new, *operands, where=node.where), [*carries, *(count + i for i in ys)]


def _live_carries(op: Any, used: set[int]) -> list[int]:
    """The carries that are read from outside, or that what is read depends on."""
    count = len(op.carries)
    live = {i for i in range(count) if i in used}
    roots = [op.ys[i - count] for i in used if i >= count]
    while True:
        reached = set(toposort([*roots, *(op.next[i] for i in live)]))
        more = {i for i, s in enumerate(op.carries) if s in reached} | live
        if more == live:
            return sorted(live)
        live = more
