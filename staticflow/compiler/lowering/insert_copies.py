"""Insert the copies that the later passes rely on, so that these need no special cases.

After this pass every output is computed by a kernel into a buffer of its own, every view can be
expressed by strides, every part of an assembly can be computed in place, every table of a gather
lies in memory, and every operand of a native call is contiguous.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from staticflow.compiler.ir.size_classes import SizedGraph, unify_sizes
from staticflow.compiler.lowering.buffers import view_access
from staticflow.compiler.lowering.fusion import fuse
from staticflow.compiler.lowering.recompute import recompute
from staticflow.graph.contiguous import COPY
from staticflow.graph.dims import product
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.strides import StridedView
from staticflow.graph.traversal import (
    is_implicit,
    is_loop_part,
    through_views,
    toposort,
    with_inputs,
)

COMPUTED = (
    Kind.MAP,
    Kind.REDUCE,
    Kind.GATHER,
    Kind.SCATTER,
    Kind.CONTRACT,
    Kind.ASSEMBLE,
    Kind.PART,
    Kind.CALL,
)
Edge = tuple[Node, int]  # an input position of a node


def prepare(outputs: Sequence[Node]) -> tuple[SizedGraph, list[Node]]:
    """Rebuild the graph with copies where needed, and find the classes of its sizes."""
    roots = list(outputs)
    while True:
        sized = unify_sizes(toposort(roots))
        access = _trial_accesses(sized)
        edges = _failing_views(sized, access) | _immovable_parts(sized, roots)
        edges |= _operands_in_memory(sized, access) | _initial_carries(sized)
        final = _shared_outputs(sized, roots, access)
        if not edges and not final:
            return sized, roots
        roots = _insert(roots, edges, final)


def _trial_accesses(sized: SizedGraph) -> dict[Node, StridedView | None]:
    """The access of each node if every value had a contiguous buffer; None where a view fails."""
    access: dict[Node, StridedView | None] = {}
    for node in sized.order:
        base = access[node.inputs[0]] if node.inputs else None
        if isinstance(node.type, tuple):
            access[node] = None
        elif node.op.kind is Kind.ALIAS:
            access[node] = base
        elif node.op.kind is Kind.VIEW and base is not None:
            access[node] = view_access(node, base, sized)
        else:
            access[node] = StridedView.contiguous(-1, sized.axes[node])
    return access


def _failing_views(sized: SizedGraph, access: dict[Node, StridedView | None]) -> set[Edge]:
    return {
        (node, 0)
        for node in sized.order
        if node.op.kind is Kind.VIEW and access[node] is None and access[node.inputs[0]] is not None
    }


def _immovable_parts(sized: SizedGraph, outputs: Sequence[Node]) -> set[Edge]:
    """Parts of assemblies that are used in a way that needs a buffer of their own."""
    users: dict[Node, list[Node]] = {}
    for node in sized.order:
        for x in node.inputs:
            users.setdefault(x, []).append(node)
    finals = {through_views(node)[0] for node in outputs}
    movable = (Kind.MAP, Kind.GATHER, Kind.CONTRACT)
    own = (Kind.VIEW, Kind.ALIAS, Kind.CALL, Kind.LOOP)
    edges: set[Edge] = set()
    for node in sized.order:
        if node.op.kind is not Kind.ASSEMBLE:
            continue
        for position, part in enumerate(node.inputs):
            others = [u for u in users[part] if u is not node]
            shared = any(u.op.kind in (*own, Kind.ASSEMBLE) for u in others)
            fixed = part.op.kind not in movable or is_implicit(part) or part in finals
            if fixed or shared or node.inputs.count(part) > 1:
                edges.add((node, position))
    return edges


def _operands_in_memory(sized: SizedGraph, access: dict[Node, StridedView | None]) -> set[Edge]:
    edges: set[Edge] = set()
    for node in sized.order:
        if node.op.kind in (Kind.CONTRACT, Kind.GATHER):
            addressed = node.inputs[:1] if node.op.kind is Kind.GATHER else node.inputs
            edges |= {(node, i) for i, x in enumerate(addressed) if _has_no_buffer(x)}
        if node.op.kind not in (Kind.CALL, Kind.LOOP):
            continue
        for position, x in enumerate(node.inputs):
            shown = access[x]
            root, _ = through_views(x)
            plain = shown is not None and shown.is_contiguous and shown.offset == 0
            shifted = node.op.kind is Kind.CALL and is_loop_part(root)
            if not plain or is_implicit(root) or shifted:
                edges.add((node, position))
    return edges


def _has_no_buffer(node: Node) -> bool:
    """Whether a value is computed where it is used, and so lies nowhere."""
    return is_implicit(through_views(node)[0])


def _initial_carries(sized: SizedGraph) -> set[Edge]:
    """What a carry starts with is computed right into the carry's memory."""
    uses = Counter(x for node in sized.order for x in node.inputs)
    edges: set[Edge] = set()
    for node in sized.order:
        if isinstance(node.op, Loop):
            init, _, _ = node.op.split(node.inputs)
            edges |= {(node, i) for i, x in enumerate(init) if x.op is not COPY or uses[x] > 1}
    return edges


def prepare_body(body_inputs: Sequence[Node], outputs: Sequence[Node], count: int) -> list[Node]:
    """Prepare the body of a loop: each of its outputs is computed into its own memory.

    Of those behind the first `count`, one that is a carry, before or after the step, needs none.
    `body_inputs` are the carries.
    """
    following = list(outputs[:count])
    kept = [
        y for y in dict.fromkeys(outputs[count:]) if y not in following and y not in body_inputs
    ]
    _, roots = prepare([*following, *kept])
    sized, roots = prepare(roots)
    roots = recompute(fuse(sized), roots)
    _, roots = prepare(roots)
    new = dict(zip(kept, roots[count:], strict=True))
    new.update(zip(reversed(following), reversed(roots[:count]), strict=True))
    new.update({s: s for s in body_inputs})
    return [*roots[:count], *(new[y] for y in outputs[count:])]


def _shared_outputs(
    sized: SizedGraph, outputs: Sequence[Node], access: dict[Node, StridedView | None]
) -> set[int]:
    """Positions of outputs that do not own what computes them."""
    owned: set[Node] = set()
    copied: set[int] = set()
    for position, node in enumerate(outputs):
        root, _ = through_views(node)
        shown = access[node]
        computed = root.op.kind in COMPUTED and not is_implicit(root) and not is_loop_part(root)
        whole = (
            shown is not None
            and shown.is_contiguous
            and shown.offset == 0
            and product(sized.axes[node]) == product(sized.axes[root])
        )
        if not computed or not whole or root in owned:
            copied.add(position)
        owned.add(root)
    return copied


def _insert(roots: Sequence[Node], edges: set[Edge], final: set[int]) -> list[Node]:
    new: dict[Node, Node] = {}
    for node in toposort(roots):
        inputs = tuple(
            apply(COPY, new[x], where=node.where) if (node, position) in edges else new[x]
            for position, x in enumerate(node.inputs)
        )
        new[node] = with_inputs(node, inputs)
    return [
        apply(COPY, new[root], where=root.where) if position in final else new[root]
        for position, root in enumerate(roots)
    ]
