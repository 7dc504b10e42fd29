"""Print the driver of a program as Numba source. The last pass: before it, no step is text.

The driver takes two tables: T with the addresses of buffers and S with the sizes (`driver_tables`),
reads both once, and calls the kernels (`kernel_text`), the products and the routines in order:

    def step(T, S):
        n0, n1, n2 = S[1], S[2], S[3]
        x, w, z = T[8], T[9], T[10]
        gemm_f4(n0, n2, n1, x, n1, 1, w, n2, 1, z, n2, 0, T[0], T[5])  # model.py:12: z = x @ w
        add_maximum(z, b, h, n0, n2)                                 # model.py:13: h = ...
        return 0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from staticflow.buffers import ITEMSIZE, SUFFIX, Buffer
from staticflow.dims import AnyDim, Dim
from staticflow.driver_tables import (
    CREW,
    FIRST_ROW_ENTRY,
    HEADER,
    LATE,
    PROFILE,
    SIZE_HEADER,
    STOP,
    TAIL_BLOCKS,
    TAIL_GATE,
    TAIL_SELF,
    TAIL_SIZES,
    WORK,
)
from staticflow.kernel_text import Writer, identifier, kernel_name
from staticflow.loops import For, Index, Kernel, Let, Load, Store
from staticflow.native.product_crew import CHAIN_ROWS, SHARED, SHARED_CHAIN, SHARED_THIN
from staticflow.native.products import PIECE
from staticflow.native.tile_text import Tile
from staticflow.schedule import (
    BlockStep,
    BranchStep,
    CallStep,
    CollectiveStep,
    Finished,
    HalvesStep,
    KernelStep,
    LoopStep,
    Operand,
    PackStep,
    Place,
    ProductStep,
    Step,
    where_of,
)

# What the driver calls a thread's first row, and a block's first row and number of rows.
BLOCK_NAMES = ("begin", "at", "rows")
BLOCK_BYTES = 1 << 17
LINE_COST = 4  # of a product with a vector, which waits for its loads, to one of matrices


class Finishing(NamedTuple):
    """A product that does with its result what a kernel would do."""

    tile: Tile
    kernel: str  # the name of that kernel


@dataclass
class DriverText:
    """The driver's source and what it calls, by the name it uses."""

    source: str
    kernels: Mapping[str, Kernel]
    products: frozenset[str]
    calls: frozenset[str]
    blocks: tuple[DriverText, ...] = ()  # functions of their own: the rows of one thread
    finished: Mapping[str, Finishing] = field(default_factory=dict)  # products that do more


@dataclass
class _Driver:
    """The state of writing one driver."""

    buffers: Sequence[Buffer]
    title: str
    crew: bool = False
    clocks: int | None = None  # how many steps have a clock, if they have
    blocks: list[DriverText] = field(default_factory=list)
    write: Writer = field(default_factory=Writer)
    used_sizes: set[str] = field(default_factory=set)
    used_buffers: set[int] = field(default_factory=set)
    kernels: dict[str, Kernel] = field(default_factory=dict)
    products: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    finished: dict[str, Finishing] = field(default_factory=dict)

    def size(self, dim: AnyDim) -> str:
        """A size as source over the names of table S."""
        if isinstance(dim, int):
            return str(dim)
        self.used_sizes |= {name for name in dim.names if not name.startswith(BLOCK_NAMES)}
        return size_text(dim)

    def name(self, buffer: int) -> str:
        if self.buffers[buffer].moving is None:
            self.used_buffers.add(buffer)
        return buffer_name(self.buffers[buffer])

    def move(self, index: int, k: str, t: str, n: str) -> None:
        """Write the line that gives a moving buffer its address."""
        buffer = self.buffers[index]
        moving = buffer.moving
        assert moving is not None
        place = moving.place.format(k=k, t=t, n=n)
        step = f"{place} * ({self.size(moving.stride)})" if moving.stride != 1 else place
        base = self.address(moving.base, moving.offset)
        self.write(f"{buffer_name(buffer)} = {base} + {buffer.itemsize} * ({step})")

    def address(self, buffer: int, offset: AnyDim, extra: str = "") -> str:
        """The address of an element, as source."""
        text = self.name(buffer)
        if offset != 0:
            text += f" + {ITEMSIZE[self.buffers[buffer].dtype]} * ({self.size(offset)})"
        return text + extra


def buffer_name(buffer: Buffer) -> str:
    """A readable and unique name for a buffer in the driver."""
    return f"{identifier(buffer.node.name)}_{buffer.index}"


def size_text(dim: Dim) -> str:
    """A polynomial of sizes as source."""
    terms = []
    for monomial, coefficient in dim.terms:
        factors = list(monomial)
        if coefficient != 1 or not factors:
            factors.insert(0, str(coefficient))
        terms.append(" * ".join(factors))
    return " + ".join(terms)


def driver_source(
    name: str,
    steps: Sequence[Step],
    buffers: Sequence[Buffer],
    *,
    timed: bool = False,
    crew: bool = False,
) -> DriverText:
    """The driver that runs the steps of a program in order.

    With `timed`, it adds the cycles of step i to the i-th entry of the table at T[PROFILE]; a loop
    or a branch comes before its own steps. With `crew`, helpers may take part in large products.
    """
    driver = _Driver(buffers, name, crew, 0 if timed else None)
    driver.write.depth = 1
    for step in steps:
        _emit_step(driver, step)
    head = Writer()
    with head.block(f"def {name}(T, S):"):
        _read_tables(driver, head)
    stopped = f"1 if load_acquire(T[{STOP}]) != 0 else 0"  # a product may be unfinished
    driver.write(f"return {stopped if driver.products or driver.blocks else 0}")
    return DriverText(
        head.text + driver.write.text,
        driver.kernels,
        frozenset(driver.products),
        frozenset(driver.calls),
        tuple(driver.blocks),
        driver.finished,
    )


def _read_tables(driver: _Driver, head: Writer) -> None:
    """Name the sizes and the addresses of buffers that the driver uses."""
    for size in sorted(driver.used_sizes, key=_size_entry):
        head(f"{size} = S[{_size_entry(size)}]")
    for index in sorted(driver.used_buffers):
        head(f"{buffer_name(driver.buffers[index])} = T[{HEADER + index}]")


def _size_entry(name: str) -> int:
    return FIRST_ROW_ENTRY if name == "row0" else SIZE_HEADER + int(name[1:])


def _emit_step(driver: _Driver, step: Step) -> None:
    driver.write(f"# {where_of(step)}  ->  {describe(step)}")
    if driver.clocks is None:
        _EMITTERS[type(step)](driver, step)
        return
    number, driver.clocks = driver.clocks, driver.clocks + 1
    driver.write(f"begin{number} = cycles()")
    _EMITTERS[type(step)](driver, step)
    driver.write(f"i8ptr(T[{PROFILE}])[{number}] += cycles() - begin{number}")


def describe(step: Step) -> str:
    """What a step computes, with types."""
    if isinstance(step, PackStep):
        matrix = step.product.node.inputs[1]
        return f"panels of {matrix.name}: {matrix.type}"
    names = ", ".join(dict.fromkeys(node.op.name for node in step.nodes))
    type_ = step.nodes[-1].type
    return f"{names}: {', '.join(map(str, type_)) if isinstance(type_, tuple) else type_}"


def _emit_kernel(driver: _Driver, step: KernelStep) -> None:
    name = kernel_name(step.kernel)
    driver.kernels[name] = step.kernel
    arguments = [driver.address(b, o) for b, o in step.pointers]
    arguments += [driver.size(n) for n in step.sizes]
    driver.write(f"{name}({', '.join(arguments)})")


def _emit_product(driver: _Driver, step: ProductStep) -> None:
    suffix = SUFFIX[step.dtype]
    name = f"shared_gemm_{suffix}" if driver.crew else f"gemm_{suffix}"
    driver.products.add(name)
    depth = driver.write.depth
    if step.late:
        driver.write(f"if T[{LATE}] & {step.late} == 0:")
        driver.write.depth += 1
    extras = ["", "", ""]
    for level, extent in enumerate(step.batch):
        driver.write(f"for b{level} in range({driver.size(extent)}):")
        driver.write.depth += 1
        for which, operand in enumerate((step.a, step.b, step.c)):
            if operand.batch[level] != 0:
                stride = driver.size(operand.batch[level])
                extras[which] += f" + b{level} * ({stride}) * {ITEMSIZE[step.dtype]}"
    sizes = [driver.size(n) for n in (step.m, step.n, step.k)]

    def operand_text(operand: Operand, extra: str) -> list[str]:
        address = driver.address(*operand.place, extra)
        return [address, driver.size(operand.row), driver.size(operand.column)]

    a, b = operand_text(step.a, extras[0]), operand_text(step.b, extras[1])
    c = operand_text(step.c, extras[2])[:2]
    if step.finished is not None:
        _emit_finished(driver, step.finished, [*sizes, *a, *b, *c])
        driver.write.depth = depth
        if step.early:
            with driver.write.block("else:"):
                _emit_kernel(driver, step.finished.kernel)
        return
    adds = "0" if step.adds_after == 0 else f"1 if {driver.size(step.adds_after)} > 0 else 0"
    last = [adds, f"T[{WORK}]", f"T[{STOP}]", *([f"T[{CREW}]"] if driver.crew else [])]
    if step.panels is not None:
        packed = f"packed_gemm_{suffix}"
        driver.products.add(packed)
        with driver.write.block(f"if {_has_panels(step.panels)}:"):
            panels = driver.name(step.panels)
            driver.write(f"{packed}({', '.join([*sizes, *a, panels, *c, adds])})")
        driver.write("else:")
        driver.write.depth += 1
    driver.write(f"{name}({', '.join([*sizes, *a, *b, *c, *last])})")
    driver.write.depth = depth


def _emit_finished(driver: _Driver, finished: Finished, operands: list[str]) -> None:
    """Call the product that does what the kernel would, with what the kernel reads beside C."""
    kernel, tile = finished.kernel, finished.tile
    name = kernel_name(kernel.kernel)
    driver.kernels[name] = kernel.kernel
    driver.products.add(f"gemm_{tile.suffix}")
    driver.finished[f"gemm_{name}"] = Finishing(tile, name)
    places = dict(zip((p for p, _ in kernel.kernel.pointers), kernel.pointers, strict=True))
    beside = [driver.address(*places[p]) for p in tile.others]
    arguments = [*operands, f"T[{WORK}]", f"T[{STOP}]", *beside]
    driver.write(f"gemm_{name}({', '.join(arguments)})")


def _has_panels(buffer: int) -> str:
    return f"packed{buffer}"


def _emit_pack(driver: _Driver, step: PackStep) -> None:
    product, suffix = step.product, SUFFIX[step.product.dtype]
    driver.products.add(f"pack_{suffix}")
    sizes = [driver.size(n) for n in (product.m, product.n, product.k)]
    b = [driver.address(*product.b.place), *map(driver.size, (product.b.row, product.b.column))]
    most = SHARED - 1 if driver.crew else PIECE[suffix]
    last = [driver.name(step.panels), driver.size(step.count), str(most)]
    driver.write(f"{_has_panels(step.panels)} = pack_{suffix}({', '.join([*sizes, *b, *last])})")


def _emit_collective(driver: _Driver, step: CollectiveStep) -> None:
    name = f"all_{step.combine}_{driver.buffers[step.target].suffix}"
    driver.calls.add(name)
    source, target = HEADER + step.source, HEADER + step.target
    driver.write(f"if {name}(T, {source}, {target}, {driver.size(step.count)}) != 0:")
    driver.write("    return 1")


def _emit_call(driver: _Driver, step: CallStep) -> None:
    driver.calls.add(step.routine)
    arguments = [driver.name(b) for b in step.buffers] + [driver.size(n) for n in step.sizes]
    arguments += [f"T[{WORK}]"] if step.multiplies else []
    call = f"{step.routine}({', '.join(arguments)})"
    if not step.fails:
        driver.write(call)
        return
    driver.write(f"code = {call}")
    driver.write("if code != 0:")
    driver.write("    return code")


def _emit_loop(driver: _Driver, step: LoopStep) -> None:
    write = driver.write
    k, t = f"k{step.number}", f"t{step.number}"
    length = driver.size(step.length)
    if step.flag:
        write(f"{k} = 0")
    with write.block("while True:" if step.flag else f"for {k} in range({length}):"):
        write(f"if load_acquire(T[{STOP}]) != 0:")
        write("    return 1")
        write(f"{t} = {length} - 1 - {k}" if step.reverse else f"{t} = {k}")
        for buffer in step.moving:
            driver.move(buffer, k, t, length)
        for position, inner in enumerate(step.body):
            if step.flag and position == step.tests:
                _emit_test(driver, step.flag, "== 0", "break")
            _emit_step(driver, inner)
        if step.flag:
            write(f"{k} += 1")
    for buffer in step.after:
        driver.move(buffer, k, t, k if step.flag else length)


def _emit_block(driver: _Driver, step: BlockStep) -> None:
    """Call a function of its own for the rows, or for both halves of them in two threads."""
    number = len(driver.blocks)
    driver.blocks.append(_block_source(f"{driver.title}_block{number}", step, driver.buffers))
    tail = HEADER + len(driver.buffers)
    entry = f"T[{tail + TAIL_BLOCKS + number}]"
    write, parts = driver.write, f"parts{step.number}"
    write(f"{parts} = {_parts(driver, step)}")
    arguments = f"T[{tail + TAIL_SELF}], {entry}, {parts}"
    write(f"begun = begin_parts({arguments}, T[{CREW}])")
    write(f"end_parts(begun, {arguments}, T[{WORK}], T[{CREW}])")
    with write.block(f"if {parts} > 1:"):
        for whole, partial in step.sums:
            count = driver.buffers[whole].count
            pointers = ((whole, 0), (partial, 0))
            kernel = _addition(driver.buffers[whole].suffix)
            both = frozenset((whole, partial))
            add = KernelStep(kernel, pointers, (count,), both, both, step.nodes, count)
            _emit_kernel(driver, add)


def _parts(driver: _Driver, step: BlockStep) -> str:
    size = f"{driver.size(step.rows)} * ({driver.size(step.row_count)})"
    return f"2 if {size} >= {SHARED_THIN} else 1"


def _addition(suffix: str) -> Kernel:
    """The kernel that adds what the second half has summed up."""
    target, part = (Load(name, Index((("i0", "1"),))) for name in ("p0", "p1"))
    body = (Let("v0", part, suffix), Store(target, "v0", "{acc} + {x}"))
    pointers = (("p0", f"{suffix}*"), ("p1", f"{suffix}*"))
    return Kernel("add_part", pointers, ("n0",), (For("i0", "n0", body),))


def _block_source(name: str, step: BlockStep, buffers: Sequence[Buffer]) -> DriverText:
    """The function that goes over one part of the rows, block by block."""
    driver, write = _part_driver(name, buffers)
    begin, at, rows = (f"{word}{step.number}" for word in BLOCK_NAMES)
    whole = driver.size(step.rows)
    row = f"max({driver.size(step.row_count)}, 1)"
    write(f"share = ({whole} + 1) // 2 if ({_parts(driver, step)}) > 1 else {whole}")
    write(f"{begin} = part * share")
    write(f"end = min({begin} + share, {whole})")
    write(f"size = max({BLOCK_BYTES // ITEMSIZE[step.dtype]} // {row}, 4)")
    with write.block(f"for {at} in range({begin}, max(end, {begin} + 1), size):"):
        write(f"{rows} = min(size, end - {at})")
        for inner in step.body:
            _emit_step(driver, inner)
    write("return 0")
    start = []
    for total, partial in step.sums:
        start += ["if part > 0:", f"    {buffer_name(buffers[total])} = T[{HEADER + partial}]"]
    return _block_text(driver, name, start)


def _emit_halves(driver: _Driver, step: HalvesStep) -> None:
    """Call a function of its own for both halves of the rows, if that pays, or run the steps.

    A profile shows the steps.
    """
    if driver.clocks is not None:
        for inner in step.steps:
            _emit_step(driver, inner)
        return
    number = len(driver.blocks)
    driver.blocks.append(_half_source(f"{driver.title}_half{number}", step, driver.buffers))
    tail = HEADER + len(driver.buffers)
    arguments = f"T[{tail + TAIL_SELF}], T[{tail + TAIL_BLOCKS + number}], 2"
    write = driver.write
    with write.block(f"if {_worth_halving(driver, step)}:"):
        write(f"T[{tail + TAIL_GATE}] = 0")
        write(f"begun = begin_parts({arguments}, T[{CREW}])")
        for done, inner in enumerate(step.before, 1):
            _emit_step(driver, inner)
            if done in step.needs:
                write(f"store_release(T[{tail + TAIL_SELF}] + {8 * (tail + TAIL_GATE)}, {done})")
        write(f"end_parts(begun, {arguments}, T[{WORK}], T[{CREW}])")
    with write.block("else:"):
        for inner in step.steps:
            _emit_step(driver, inner)


def _worth_halving(driver: _Driver, step: HalvesStep) -> str:
    """As `sharing.is_halved`."""
    sizes = [" * ".join(f"({driver.size(n)})" for n in (p.m, p.n, p.k)) for p in step.products]
    costs = [
        f"{ITEMSIZE[p.dtype] // 4} * {size}" for p, size in zip(step.products, sizes, strict=True)
    ]
    rows = f"{driver.size(step.rows)} >= {CHAIN_ROWS}"
    small = " and ".join(f"{size} < {SHARED}" for size in dict.fromkeys(sizes))
    return f"{rows} and {' + '.join(costs)} >= {SHARED_CHAIN} and {small}"


def _half_source(name: str, step: HalvesStep, buffers: Sequence[Buffer]) -> DriverText:
    """The function that makes one half of the rows."""
    driver, write = _part_driver(name, buffers)
    _, at, rows = (f"{word}{step.number}" for word in BLOCK_NAMES)
    whole = driver.size(step.rows)
    # Even numbers, as rows in pairs are faster.
    write(f"half = min(({whole} + 3) // 4 * 2{_lead(driver, step)}, {whole})")
    write(f"{at} = part * half")
    write(f"{rows} = {whole} - half if part > 0 else half")
    gate, passed = 8 * (HEADER + len(buffers) + TAIL_GATE), 0
    for needed, inner in zip(step.needs, step.body, strict=True):
        if needed > passed:
            passed = needed
            with write.block(f"while load_acquire(table + {gate}) < {passed}:"):
                write("pause()")
        _emit_step(driver, inner)
    write("return 0")
    return _block_text(driver, name)


def _lead(driver: _Driver, step: HalvesStep) -> str:
    """The rows that the first half has more, in the time of what the caller does before its own."""
    row: AnyDim = sum(p.n * p.k for p in step.products)
    before: AnyDim = 0
    for other in step.before[step.needs[0] :]:
        if isinstance(other, ProductStep) and not other.batch:
            slower = LINE_COST if 1 in (other.m, other.n) else 1
            before = before + other.m * other.n * other.k * slower
    return "" if before == 0 else f" + ({driver.size(before)}) // (4 * ({driver.size(row)})) * 2"


def _part_driver(name: str, buffers: Sequence[Buffer]) -> tuple[_Driver, Writer]:
    """What writes the body of a function of its own."""
    driver = _Driver(buffers, name)
    driver.write.depth = 1
    return driver, driver.write


def _block_text(driver: _Driver, name: str, start: Sequence[str] = ()) -> DriverText:
    """A function of the table T, a part's number and scratch, with `start` behind the tables."""
    head = Writer()
    with head.block(f"def {name}(table, part, work):"):
        head("T = i8ptr(table)")
        head(f"S = i8ptr(T[{HEADER + len(driver.buffers) + TAIL_SIZES}])")
        _read_tables(driver, head)
        for line in start:
            head(line)
    text = (head.text + driver.write.text).replace(f"T[{WORK}]", "work")
    products, calls = frozenset(driver.products), frozenset(driver.calls)
    return DriverText(text, driver.kernels, products, calls, finished=driver.finished)


def _emit_test(driver: _Driver, flag: Place, test: str, then: str) -> None:
    driver.write(f"if load_acquire({driver.address(*flag)}) {test}:")
    driver.write(f"    {then}")


def _emit_branch(driver: _Driver, step: BranchStep) -> None:
    heads = (f"if load_acquire({driver.address(*step.flag)}) != 0:", "else:")
    for head, body in zip(heads, (step.then, step.otherwise), strict=True):
        with driver.write.block(head):
            for inner in body:
                _emit_step(driver, inner)
            driver.write("pass")


_EMITTERS: Mapping[type, Callable[..., None]] = {
    KernelStep: _emit_kernel,
    ProductStep: _emit_product,
    PackStep: _emit_pack,
    CollectiveStep: _emit_collective,
    CallStep: _emit_call,
    LoopStep: _emit_loop,
    BranchStep: _emit_branch,
    BlockStep: _emit_block,
    HalvesStep: _emit_halves,
}
