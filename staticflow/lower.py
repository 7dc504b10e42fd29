"""Turn a group of fused nodes into a loop nest with affine indices.

Before: a group over [n0, n1] with `add(z, b)`, `maximum(.., 0)` and the accesses of z, b and h.
After:  for i0 in n0: for i1 in n1: v0 = p0[..] + p1[i1]; v1 = max(v0, 0); p2[..] = v1

Neighbouring loops become one where every access allows it, so that a map over contiguous arrays is
a single loop whatever its rank. Stores stand at the end of their loop body: a buffer that is
updated in place is one argument, read before it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from staticflow.buffers import SUFFIX, Layout, lives_in_register, view_access
from staticflow.dims import AnyDim, product
from staticflow.fuse import Group, is_row_reduction
from staticflow.generalise import FIRST_ROW
from staticflow.graph import Const, Node, is_implicit, through_views
from staticflow.loops import Assign, Expr, For, Index, Kernel, Let, Load, Stmt, Store
from staticflow.op import Access, Kind, Map, Reduce, contiguous_strides


@dataclass(frozen=True)
class Lowered:
    """A kernel, and what this use of it passes for its arguments."""

    kernel: Kernel
    pointers: tuple[tuple[int, AnyDim], ...]  # (buffer, offset in elements)
    sizes: tuple[AnyDim, ...]
    nodes: tuple[Node, ...]


@dataclass
class Nest:
    """The loops of a group after merging, outermost first."""

    members: list[list[int]]  # the axes of the group's space that each loop covers
    extents: list[AnyDim]

    def strides(self, strides: Sequence[AnyDim]) -> list[AnyDim]:
        """The strides of an access along the merged loops."""
        return [strides[m[-1]] if m[-1] < len(strides) else 0 for m in self.members]


@dataclass
class _Builder:
    """The state of lowering one group."""

    group: Group
    layout: Layout
    stored: set[Node]
    split: Mapping[Node, int]
    nest: Nest
    pointer_names: dict[tuple[int, AnyDim], str] = field(default_factory=dict)
    pointer_types: list[str] = field(default_factory=list)
    size_names: dict[AnyDim, str] = field(default_factory=dict)
    names: dict[Node, str] = field(default_factory=dict)
    loads: dict[tuple[str, str], str] = field(default_factory=dict)
    counter: int = 0

    def fresh(self, letter: str = "v") -> str:
        self.counter += 1
        return f"{letter}{self.counter - 1}"

    def size(self, dim: AnyDim) -> str:
        """The text of a size: a literal, or the local name of an argument."""
        if isinstance(dim, int):
            return str(dim)
        if dim not in self.size_names:
            self.size_names[dim] = f"n{len(self.size_names)}"
        return self.size_names[dim]

    def pointer(self, buffer: int, offset: AnyDim) -> str:
        key = (buffer, offset)
        if key not in self.pointer_names:
            self.pointer_names[key] = f"p{len(self.pointer_names)}"
            self.pointer_types.append(self.layout.buffers[buffer].suffix + "*")
        return self.pointer_names[key]

    def stride(self, dim: AnyDim, level: int) -> str:
        """The text of a stride: the product of the inner extents where it is that."""
        for start in range(level + 1, len(self.nest.extents)):
            inner = self.nest.extents[start:]
            if dim == product(inner) and all(n != 1 for n in inner):
                return " * ".join(self.size(n) for n in inner)
        return self.size(dim)

    def index(self, strides: Sequence[AnyDim]) -> Index:
        terms = [
            (f"i{level}", self.stride(s, level))
            for level, s in enumerate(self.nest.strides(strides))
            if s != 0
        ]
        return Index(tuple(terms))

    def element(self, access: Access) -> Load:
        return Load(self.pointer(access.buffer, access.offset), self.index(access.strides))


def lower_group(
    group: Group, layout: Layout, stored: set[Node], split: Mapping[Node, int]
) -> Lowered:
    """Lower a loop group; see the module's docstring."""
    build = _Builder(group, layout, stored, split, merge_loops(group, layout, stored, split))
    body = _nest(build)
    label = "_".join(dict.fromkeys(n.op.name for n in group.nodes))[:40].strip("_")
    names = [name for name in build.pointer_names.values()]
    kernel = Kernel(
        label=label,
        pointers=tuple(zip(names, build.pointer_types, strict=True)),
        sizes=tuple(build.size_names.values()),
        body=body,
    )
    return Lowered(kernel, tuple(build.pointer_names), tuple(build.size_names), tuple(group.nodes))


def merge_loops(group: Group, layout: Layout, stored: set[Node], split: Mapping[Node, int]) -> Nest:
    """Merge neighbouring loops where every access of the group lies evenly along them."""
    space = group.space
    accesses = [strides for _, strides in _accesses(group, layout, stored, split)]
    members: list[list[int]] = []
    for axis in range(len(space)):
        keeps_inner = group.has_rows and axis == len(space) - 1
        if members and not keeps_inner and all(_even(s, axis, space[axis]) for s in accesses):
            members[-1].append(axis)
        else:
            members.append([axis])
    return Nest(members, [product(space[a] for a in m) for m in members])


def _even(strides: Sequence[AnyDim], axis: int, extent: AnyDim) -> bool:
    if axis >= len(strides):
        return True
    return strides[axis - 1] == strides[axis] * extent


def _accesses(
    group: Group, layout: Layout, stored: set[Node], split: Mapping[Node, int]
) -> Iterable[tuple[Node, tuple[AnyDim, ...]]]:
    """Every element access of a group, as strides along the axes of its space."""
    for node in group.nodes:
        for x in loop_inputs(node):
            root, views = through_views(x)
            if isinstance(root.op, Const) and root.op.is_scalar:
                continue
            if is_implicit(root):
                yield node, implicit_access(x, layout).strides
            elif not lives_in_register(root, views, node, group):
                yield node, loop_access(node, x, layout).strides
        if node.op.kind is Kind.GATHER:
            yield node, gather_strides(node, layout)
        if node in stored:
            yield node, store_strides(node, layout)
        if uses_flat_index(node):
            yield node, flat_strides(node, layout, split)


def loop_inputs(node: Node) -> tuple[Node, ...]:
    """The inputs read at the loop's own index."""
    return node.inputs[1:] if node.op.kind is Kind.GATHER else node.inputs


def loop_access(node: Node, x: Node, layout: Layout) -> Access:
    """The access of an input, with a stride for each loop of `node`.

    The indices of a gather or scatter run over some of the loops only.
    """
    access = layout.of(x)
    if node.op.kind not in (Kind.GATHER, Kind.SCATTER) or x is not node.inputs[1]:
        return access
    op: Any = node.op
    rank = len(layout.g.axes[node if node.op.kind is Kind.GATHER else node.inputs[0]])
    return replace(access, strides=op.index_strides(access.strides, rank))


def uses_flat_index(node: Node) -> bool:
    """Whether an element's value depends on its row-major position."""
    return "{flat}" in getattr(node.op, "body", "")


def flat_strides(node: Node, layout: Layout, split: Mapping[Node, int]) -> tuple[AnyDim, ...]:
    """The strides of a value that counts its positions; those of the whole, of which it is part."""
    shape = list(layout.g.axes[node])
    axis = split.get(node, 0)
    if axis:  # the size of the leading axis itself does not matter
        shape[axis] = layout.g.symbols[node][axis]
    return contiguous_strides(tuple(shape))


def implicit_access(node: Node, layout: Layout) -> Access:
    """The access of a value without a buffer: an index counts its own positions."""
    if node.op.kind is Kind.VIEW:
        access = view_access(node, implicit_access(node.inputs[0], layout), layout.g)
        assert access is not None, f"{node} should have been copied"
        return access
    if node.op.kind is Kind.ALIAS:
        return implicit_access(node.inputs[0], layout)
    return Access.contiguous(-1, layout.g.axes[node])


def gather_strides(node: Node, layout: Layout) -> tuple[AnyDim, ...]:
    """The strides of a gather's table along the loops, without the gathered axis."""
    op: Any = node.op
    table = layout.of(node.inputs[0])
    strides: tuple[AnyDim, ...] = op.loop_strides(table.strides, len(layout.g.axes[node.inputs[1]]))
    return strides


def store_strides(node: Node, layout: Layout) -> tuple[AnyDim, ...]:
    """The strides of a node's own buffer along the loops that compute it."""
    own = layout.access[node].strides
    if isinstance(node.op, Reduce):
        kept = iter(own)
        rank = len(own) + len(node.op.axes)
        return tuple(0 if axis in node.op.axes else next(kept) for axis in range(rank))
    if node.op.kind is Kind.SCATTER:
        op: Any = node.op
        strides: tuple[AnyDim, ...] = op.loop_strides(own, len(layout.g.axes[node.inputs[1]]))
        return strides
    return own


def _nest(build: _Builder) -> tuple[Stmt, ...]:
    group = build.group
    depth = len(build.nest.extents)
    before: list[Stmt] = []
    after: list[Stmt] = []
    last = max(group.stage.values(), default=0)
    row: list[Stmt] = []
    for stage in range(last + 2):
        row += _level(build, "row", stage, before, after, [])
        epilogue: list[Stmt] = []
        prologue: list[Stmt] = []
        inner = _level(build, "inner", stage, before, after, epilogue, prologue)
        if inner:
            row += prologue
            row += [_loop(build, depth - 1, inner)] if depth else inner
            row += epilogue
    for level in range(depth - 2, -1, -1):
        row = [_loop(build, level, row)]
    return tuple(before + row + after)


def _loop(build: _Builder, level: int, body: list[Stmt]) -> Stmt:
    return For(f"i{level}", build.size(build.nest.extents[level]), tuple(body))


def _level(
    build: _Builder,
    level: str,
    stage: int,
    before: list[Stmt],
    after: list[Stmt],
    epilogue: list[Stmt],
    prologue: list[Stmt] | None = None,
) -> list[Stmt]:
    """The statements of one loop body: values first, stores last."""
    build.loads = {}
    lets: list[Stmt] = []
    stores: list[Stmt] = []
    for node in build.group.nodes:
        if build.group.level[node] != level or build.group.stage[node] != stage:
            continue
        if isinstance(node.op, Reduce):
            _reduce(build, node, lets, stores, before, after, epilogue, prologue)
        elif node.op.kind is Kind.SCATTER:
            _scatter(build, node, lets, stores, before)
        else:
            name = _compute(build, node, lets)
            build.names[node] = name
            if node in build.stored:
                stores.append(Store(build.element(build.layout.access[node]), name))
    return lets + stores


def _compute(build: _Builder, node: Node, lets: list[Stmt]) -> str:
    name = build.fresh()
    if node.op.kind is Kind.GATHER:
        lets.append(Let(name, _gather(build, node, lets), SUFFIX[node.dtype]))
        return name
    args = [_value(build, node, x, lets) for x in node.inputs]
    op: Any = node.op
    if isinstance(op, Map):
        letters = list(op.row.inputs)
        holes = [*zip(letters, args, strict=True), *((k, str(v)) for k, v in op.params)]
        compute = SUFFIX[node.inputs[0].dtype] if node.inputs else SUFFIX[node.dtype]
        holes += [("t", compute), ("r", SUFFIX[node.dtype])]
        expr = Expr(op.row.body, tuple(holes))
    else:
        holes = [*zip(op.letters, args, strict=True), ("t", SUFFIX[node.dtype])]
        holes.append(("flat", _flat(build, node)))
        holes.append(("stream", str(build.layout.g.streams.get(node, 0))))
        expr = Expr(op.body, tuple(holes))
    lets.append(Let(name, expr, SUFFIX[node.dtype]))
    return name


def _flat(build: _Builder, node: Node) -> str:
    """The row-major position of an element in the whole, unsharded value."""
    strides = flat_strides(node, build.layout, build.split)
    text = str(build.index(strides))
    if node in build.split:
        text += f" + {build.size(FIRST_ROW * strides[build.split[node]])}"
    return f"({text})"


def _value(build: _Builder, node: Node, x: Node, lets: list[Stmt]) -> str:
    """The scalar that `node` reads from its input `x`."""
    root, views = through_views(x)
    if isinstance(root.op, Const) and root.op.is_scalar:
        return literal(root)
    if is_implicit(root):
        return _implicit(build, root, x)
    if root in build.names and lives_in_register(root, views, node, build.group):
        return build.names[root]
    return _load(build, loop_access(node, x, build.layout), x.dtype, lets)


def _load(build: _Builder, access: Access, dtype: str, lets: list[Stmt]) -> str:
    load = build.element(access)
    key = (load.pointer, str(load.index))
    if key not in build.loads:
        build.loads[key] = build.fresh()
        lets.append(Let(build.loads[key], load, SUFFIX[dtype]))
    return build.loads[key]


def _implicit(build: _Builder, root: Node, x: Node) -> str:
    op: Any = root.op
    suffix = SUFFIX[root.dtype]
    if op.counts:
        access = implicit_access(x, build.layout)
        index = str(build.index(access.strides))
        if access.offset != 0:
            index += f" + {build.size(access.offset)}"
        return f"{suffix}({index})"
    return f"{suffix}({build.size(build.layout.g.symbols[root][0])})"


def literal(node: Node) -> str:
    """A scalar constant as typed source."""
    assert isinstance(node.op, Const)
    return f"{SUFFIX[node.dtype]}({node.op.value[()].item()!r})"


def _gather(build: _Builder, node: Node, lets: list[Stmt]) -> Load:
    op: Any = node.op
    table, index = node.inputs
    access = build.layout.of(table)
    position = _value(build, node, index, lets)
    extent = build.size(build.layout.g.axes[table][op.axis])
    clamped = build.fresh()
    lets.append(Let(clamped, clamp(position, extent), "i8"))
    stride = build.size(access.strides[op.axis])
    base = Index(build.index(gather_strides(node, build.layout)).terms)
    return Load(build.pointer(access.buffer, access.offset), base, f"{clamped} * {stride}")


def clamp(position: str, extent: str) -> Expr:
    """An index that never leaves the axis; a negative one counts from the end, as in NumPy."""
    text = "wrap_index(i8({i}), {n})"
    return Expr(text, (("i", position), ("n", extent)))


def _scatter(
    build: _Builder, node: Node, lets: list[Stmt], stores: list[Stmt], before: list[Stmt]
) -> None:
    op: Any = node.op
    value = _value(build, node, node.inputs[0], lets)
    position = _value(build, node, node.inputs[1], lets)
    access = build.layout.access[node]
    extent = build.size(build.layout.g.axes[node][op.axis])
    clamped = build.fresh()
    lets.append(Let(clamped, clamp(position, extent), "i8"))
    stride = build.size(access.strides[op.axis])
    index = build.index(store_strides(node, build.layout))
    pointer = build.pointer(access.buffer, access.offset)
    before.append(_clear(build, node, pointer))
    target = Load(pointer, index, f"{clamped} * {stride}")
    stores.append(Store(target, value, "{acc} + {x}"))


def _clear(build: _Builder, node: Node, pointer: str) -> Stmt:
    """Set a whole contiguous buffer to zero."""
    count = build.size(build.layout.buffers[build.layout.access[node].buffer].count)
    zero = f"{SUFFIX[node.dtype]}(0)"
    store = Store(Load(pointer, Index((("z", "1"),))), zero)
    return For("z", count, (store,))


def _reduce(
    build: _Builder,
    node: Node,
    lets: list[Stmt],
    stores: list[Stmt],
    before: list[Stmt],
    after: list[Stmt],
    epilogue: list[Stmt],
    prologue: list[Stmt] | None,
) -> None:
    assert isinstance(node.op, Reduce)
    suffix = SUFFIX[node.dtype]
    value = _value(build, node, node.inputs[0], lets)
    init = node.op.row.init.replace("{t}", suffix)
    combine = node.op.row.combine
    whole = len(node.op.axes) == len(build.group.space)
    if is_row_reduction(node, build.group.space):
        name = build.fresh("a")
        assert prologue is not None
        prologue.append(Let(name, init, suffix))
        stores.append(_accumulate(name, combine, value))
        build.names[node] = name
        if node in build.stored:
            epilogue.append(Store(build.element(build.layout.access[node]), name))
    elif whole:
        name, partial = build.fresh("a"), build.fresh("a")
        assert prologue is not None
        before.append(Let(name, init, suffix))
        prologue.append(Let(partial, init, suffix))
        stores.append(_accumulate(partial, combine, value))
        epilogue.append(_accumulate(name, combine, partial))
        after.append(Store(build.element(build.layout.access[node]), name))
    else:
        access = build.layout.access[node]
        index = build.index(store_strides(node, build.layout))
        target = Load(build.pointer(access.buffer, access.offset), index)
        before.append(_initialise(build, node, target, init))
        stores.append(Store(target, value, combine))


def _accumulate(name: str, combine: str, value: str) -> Assign:
    return Assign(name, Expr(combine, (("acc", name), ("x", value))))


def _initialise(build: _Builder, node: Node, target: Load, init: str) -> Stmt:
    """Set the elements that a reduction accumulates into, over the loops that index them."""
    statement: Stmt = Store(target, init)
    used = {variable for variable, _ in target.index.terms}
    for level in range(len(build.nest.extents) - 1, -1, -1):
        if f"i{level}" in used:
            statement = _loop(build, level, [statement])
    return statement
