"""Turn a group of fused nodes into a loop nest with affine indices.

Before: a group over [n0, n1] with `add(z, b)`, `maximum(.., 0)` and the accesses of z, b and h.
After:  for i0 in n0: for i1 in n1: v0 = p0[..] + p1[i1]; v1 = max(v0, 0); p2[..] = v1

`nest` says which loops there are. Stores stand at the end of their loop body: a buffer that is
updated in place is one argument, read before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from staticflow.access import Access
from staticflow.buffers import SUFFIX, Layout, lives_in_register
from staticflow.dims import AnyDim, product
from staticflow.fuse import Group, is_row_reduction
from staticflow.generalise import FIRST_ROW
from staticflow.kinds import Map, Reduce
from staticflow.leaves import Const
from staticflow.loops import Assign, Expr, For, Index, Kernel, Let, Load, Stmt, Store, index_name
from staticflow.nest import (
    Nest,
    flat_strides,
    gather_strides,
    implicit_access,
    loop_access,
    merge_loops,
    store_strides,
)
from staticflow.node import Kind, Node
from staticflow.traversal import is_implicit, through_views


@dataclass(frozen=True)
class Lowered:
    """A kernel, and what this use of it passes for its arguments."""

    kernel: Kernel
    pointers: tuple[tuple[int, AnyDim], ...]  # (buffer, offset in elements)
    sizes: tuple[AnyDim, ...]
    nodes: tuple[Node, ...]


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
            (index_name(level), self.stride(s, level))
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
    return For(index_name(level), build.size(build.nest.extents[level]), tuple(body))


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
        holes = list(zip(letters, args, strict=True))
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
        if index_name(level) in used:
            statement = _loop(build, level, [statement])
    return statement
