"""Turn a group of fused nodes into a loop nest with affine indices.

Before: a group over [n0, n1] with `add(z, b)`, `maximum(.., 0)` and the accesses of z, b and h.
After:  for i0 in n0: for i1 in n1: v0 = p0[..] + p1[i1]; v1 = max(v0, 0); p2[..] = v1

`nest` says which loops there are. Stores stand at the end of their loop body: a buffer that is
updated in place is one argument, read before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from staticflow.compiler.ir.loops import (
    ADDED,
    Apply,
    Assign,
    Combine,
    Combined,
    Draw,
    Factors,
    For,
    Index,
    Initial,
    Kernel,
    Let,
    Literal,
    Load,
    Position,
    Scalar,
    Size,
    SizeValue,
    Stmt,
    StoreElement,
    WrapIndex,
    axis_loop,
    factors,
    index_name,
)
from staticflow.compiler.ir.size_classes import FIRST_ROW
from staticflow.compiler.lowering.buffers import SUFFIX, BufferAssignment, lives_in_register
from staticflow.compiler.lowering.fusion import Group, is_row_reduction
from staticflow.compiler.lowering.loop_nest import (
    Nest,
    flat_strides,
    gather_strides,
    implicit_access,
    loop_access,
    merge_loops,
    store_strides,
)
from staticflow.graph.dims import AnyDim, product
from staticflow.graph.kinds import FlatMap, Gather, IndexMap, Map, Reduce, Scatter
from staticflow.graph.leaves import Const
from staticflow.graph.node import Kind, Node
from staticflow.graph.strides import StridedView
from staticflow.graph.traversal import is_implicit, through_views


@dataclass(frozen=True)
class LoweredKernel:
    """A kernel, and what this use of it passes for its arguments."""

    kernel: Kernel
    pointers: tuple[tuple[int, AnyDim], ...]  # (buffer, offset in elements)
    sizes: tuple[AnyDim, ...]
    nodes: tuple[Node, ...]


@dataclass
class _Builder:
    """The state of lowering one group."""

    group: Group
    assignment: BufferAssignment
    stored: set[Node]
    split: Mapping[Node, int]
    nest: Nest
    pointer_names: dict[tuple[int, AnyDim], str] = field(default_factory=dict)
    pointer_types: list[str] = field(default_factory=list)
    size_names: dict[AnyDim, str] = field(default_factory=dict)
    names: dict[Node, str] = field(default_factory=dict)
    loads: dict[tuple[str, Index], str] = field(default_factory=dict)
    counter: int = 0

    def fresh(self, letter: str = "v") -> str:
        self.counter += 1
        return f"{letter}{self.counter - 1}"

    def size(self, dim: AnyDim) -> Size:
        """A size in the kernel: a number, or the local name of an argument."""
        if isinstance(dim, int):
            return dim
        if dim not in self.size_names:
            self.size_names[dim] = f"n{len(self.size_names)}"
        return self.size_names[dim]

    def pointer(self, buffer: int, offset: AnyDim) -> str:
        key = (buffer, offset)
        if key not in self.pointer_names:
            self.pointer_names[key] = f"p{len(self.pointer_names)}"
            self.pointer_types.append(self.assignment.buffers[buffer].suffix + "*")
        return self.pointer_names[key]

    def stride(self, dim: AnyDim, level: int) -> Factors:
        """The factors of a stride: the inner extents where it is their product."""
        for start in range(level + 1, len(self.nest.extents)):
            inner = self.nest.extents[start:]
            if dim == product(inner) and all(n != 1 for n in inner):
                return tuple(self.size(n) for n in inner)
        return factors(self.size(dim))

    def index(self, strides: Sequence[AnyDim]) -> Index:
        terms = [
            (index_name(level), self.stride(s, level))
            for level, s in enumerate(self.nest.strides(strides))
            if s != 0
        ]
        return Index(tuple(terms))

    def element(self, access: StridedView) -> Load:
        return Load(self.pointer(access.buffer, access.offset), self.index(access.strides))


def lower_group(
    group: Group, assignment: BufferAssignment, stored: set[Node], split: Mapping[Node, int]
) -> LoweredKernel:
    """Lower a loop group; see the module's docstring."""
    build = _Builder(
        group, assignment, stored, split, merge_loops(group, assignment, stored, split)
    )
    body = _nest(build)
    label = "_".join(dict.fromkeys(n.op.name for n in group.nodes))[:40].strip("_")
    names = [name for name in build.pointer_names.values()]
    kernel = Kernel(
        label=label,
        pointers=tuple(zip(names, build.pointer_types, strict=True)),
        sizes=tuple(build.size_names.values()),
        body=body,
    )
    pointers, sizes = tuple(build.pointer_names), tuple(build.size_names)
    return LoweredKernel(kernel, pointers, sizes, tuple(group.nodes))


@dataclass
class _Sections:
    """The statements of one loop body, and of what surrounds it."""

    kernel: _Ends
    lets: list[Stmt] = field(default_factory=list)
    stores: list[Stmt] = field(default_factory=list)
    prologue: list[Stmt] = field(default_factory=list)  # of the innermost loop, within the row
    epilogue: list[Stmt] = field(default_factory=list)


@dataclass
class _Ends:
    """The statements before and after all loops."""

    before: list[Stmt] = field(default_factory=list)
    after: list[Stmt] = field(default_factory=list)


def _nest(build: _Builder) -> tuple[Stmt, ...]:
    group = build.group
    depth = len(build.nest.extents)
    ends = _Ends()
    last = max(group.stage.values(), default=0)
    row: list[Stmt] = []
    for stage in range(last + 2):
        outer = _level(build, "row", stage, ends)
        row += outer.lets + outer.stores
        inner = _level(build, "inner", stage, ends)
        body = inner.lets + inner.stores
        if body:
            row += inner.prologue
            row += [_loop(build, depth - 1, body)] if depth else body
            row += inner.epilogue
    for level in range(depth - 2, -1, -1):
        row = [_loop(build, level, row)]
    return tuple(ends.before + row + ends.after)


def _loop(build: _Builder, level: int, body: list[Stmt]) -> Stmt:
    return axis_loop(level, build.size(build.nest.extents[level]), tuple(body))


def _level(build: _Builder, level: str, stage: int, ends: _Ends) -> _Sections:
    """The statements of one loop body: values first, stores last."""
    build.loads = {}
    sections = _Sections(ends)
    for node in build.group.nodes:
        if build.group.level[node] != level or build.group.stage[node] != stage:
            continue
        if isinstance(node.op, Reduce):
            _reduce(build, node, sections)
        elif node.op.kind is Kind.SCATTER:
            _scatter(build, node, sections)
        else:
            name = _compute(build, node, sections.lets)
            build.names[node] = name
            if node in build.stored:
                target = build.element(build.assignment.access[node])
                sections.stores.append(StoreElement(target, name))
    return sections


def _compute(build: _Builder, node: Node, lets: list[Stmt]) -> str:
    name = build.fresh()
    if node.op.kind is Kind.GATHER:
        lets.append(Let(name, _gather(build, node, lets), SUFFIX[node.dtype]))
        return name
    args = tuple(_value(build, node, x, lets) for x in node.inputs)
    op = node.op
    result = SUFFIX[node.dtype]
    value: Scalar
    if isinstance(op, Map):
        compute = SUFFIX[node.inputs[0].dtype] if node.inputs else result
        value = Apply(op.row, args, compute, result)
    else:
        assert isinstance(op, FlatMap)
        stream = build.assignment.sized.streams.get(node, 0)
        value = Draw(op.body, op.letters, args, result, _flat(build, node), stream)
    lets.append(Let(name, value, result))
    return name


def _flat(build: _Builder, node: Node) -> Position:
    """The row-major position of an element in the whole, unsharded value."""
    strides = flat_strides(node, build.assignment, build.split)
    index = build.index(strides)
    if node not in build.split:
        return Position(index)
    return Position(index, build.size(FIRST_ROW * strides[build.split[node]]))


def _value(build: _Builder, node: Node, x: Node, lets: list[Stmt]) -> Scalar:
    """The scalar that `node` reads from its input `x`."""
    root, views = through_views(x)
    if isinstance(root.op, Const) and root.op.is_scalar:
        return literal(root)
    if is_implicit(root):
        return _implicit(build, root, x)
    if root in build.names and lives_in_register(root, views, node, build.group):
        return build.names[root]
    return _load(build, loop_access(node, x, build.assignment), x.dtype, lets)


def _load(build: _Builder, access: StridedView, dtype: str, lets: list[Stmt]) -> str:
    load = build.element(access)
    key = (load.pointer, load.index)
    if key not in build.loads:
        build.loads[key] = build.fresh()
        lets.append(Let(build.loads[key], load, SUFFIX[dtype]))
    return build.loads[key]


def _implicit(build: _Builder, root: Node, x: Node) -> Scalar:
    assert isinstance(root.op, IndexMap)
    suffix = SUFFIX[root.dtype]
    if not root.op.counts:
        return SizeValue(suffix, build.size(build.assignment.sized.symbols[root][0]))
    access = implicit_access(x, build.assignment)
    index = build.index(access.strides)
    return Position(index, None if access.offset == 0 else build.size(access.offset), suffix)


def literal(node: Node) -> Literal:
    """A scalar constant."""
    assert isinstance(node.op, Const)
    return Literal(SUFFIX[node.dtype], node.op.value[()].item())


def _gather(build: _Builder, node: Node, lets: list[Stmt]) -> Load:
    assert isinstance(node.op, Gather)
    axis = node.op.axis
    table, index = node.inputs
    access = build.assignment.of(table)
    position = _value(build, node, index, lets)
    extent = build.size(build.assignment.sized.axes[table][axis])
    dynamic = _wrapped(build, position, extent, access.strides[axis], lets)
    base = build.index(gather_strides(node, build.assignment))
    return Load(build.pointer(access.buffer, access.offset), base, dynamic)


def _wrapped(
    build: _Builder, position: Scalar, extent: Size, stride: AnyDim, lets: list[Stmt]
) -> Index:
    """The index by a position that is known at run time, which never leaves its axis."""
    name = build.fresh()
    lets.append(Let(name, WrapIndex(position, extent), "i8"))
    return Index(((name, (build.size(stride),)),))


def _scatter(build: _Builder, node: Node, sections: _Sections) -> None:
    assert isinstance(node.op, Scatter)
    axis = node.op.axis
    value, position = (_value(build, node, x, sections.lets) for x in node.inputs)
    access = build.assignment.access[node]
    extent = build.size(build.assignment.sized.axes[node][axis])
    dynamic = _wrapped(build, position, extent, access.strides[axis], sections.lets)
    index = build.index(store_strides(node, build.assignment))
    pointer = build.pointer(access.buffer, access.offset)
    sections.kernel.before.append(_clear(build, node, pointer))
    sections.stores.append(StoreElement(Load(pointer, index, dynamic), value, ADDED))


def _clear(build: _Builder, node: Node, pointer: str) -> Stmt:
    """Set a whole contiguous buffer to zero."""
    count = build.size(build.assignment.buffers[build.assignment.access[node].buffer].count)
    zero = Literal(SUFFIX[node.dtype], 0)
    return For("z", count, (StoreElement(Load(pointer, Index.along("z")), zero),))


def _reduce(build: _Builder, node: Node, sections: _Sections) -> None:
    assert isinstance(node.op, Reduce)
    row, suffix = node.op.row, SUFFIX[node.dtype]
    value = _value(build, node, node.inputs[0], sections.lets)
    init = Initial(row.init, suffix)
    combine = Combine(row.combine, adds=row.linear)
    ends = sections.kernel
    whole = len(node.op.axes) == len(build.group.space)
    if is_row_reduction(node, build.group.space):
        name = build.fresh("a")
        sections.prologue.append(Let(name, init, suffix))
        sections.stores.append(_accumulate(name, combine, value))
        build.names[node] = name
        if node in build.stored:
            target = build.element(build.assignment.access[node])
            sections.epilogue.append(StoreElement(target, name))
    elif whole:
        name, partial = build.fresh("a"), build.fresh("a")
        ends.before.append(Let(name, init, suffix))
        sections.prologue.append(Let(partial, init, suffix))
        sections.stores.append(_accumulate(partial, combine, value))
        sections.epilogue.append(_accumulate(name, combine, partial))
        ends.after.append(StoreElement(build.element(build.assignment.access[node]), name))
    else:
        access = build.assignment.access[node]
        index = build.index(store_strides(node, build.assignment))
        target = Load(build.pointer(access.buffer, access.offset), index)
        ends.before.append(_initialise(build, target, init))
        sections.stores.append(StoreElement(target, value, combine))


def _accumulate(name: str, combine: Combine, value: Scalar) -> Assign:
    return Assign(name, Combined(combine, name, value))


def _initialise(build: _Builder, target: Load, init: Initial) -> Stmt:
    """Set the elements that a reduction accumulates into, over the loops that index them."""
    statement: Stmt = StoreElement(target, init)
    used = {variable for variable, _ in target.index.terms}
    for level in range(len(build.nest.extents) - 1, -1, -1):
        if index_name(level) in used:
            statement = _loop(build, level, [statement])
    return statement
