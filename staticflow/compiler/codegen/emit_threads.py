"""Write the steps that two threads may share: functions of their own for parts of the rows."""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.codegen.driver import Driver, DriverText, buffer_name
from staticflow.compiler.codegen.driver_abi import (
    HEADER,
    POOL,
    TAIL_BLOCKS,
    TAIL_GATE,
    TAIL_SELF,
    TAIL_SIZES,
)
from staticflow.compiler.codegen.emit_calls import emit_kernel
from staticflow.compiler.codegen.writer import SourceWriter
from staticflow.compiler.ir.loops import ADDED, Index, Kernel, Let, Load, StoreElement, axis_loop
from staticflow.compiler.ir.steps import BlockStep, HalvesStep, KernelStep, ProductStep, block_names
from staticflow.compiler.lowering.buffers import ITEMSIZE
from staticflow.graph.dims import AnyDim
from staticflow.native.threads.product_pool import CHAIN_ROWS, SHARED, SHARED_CHAIN, SHARED_THIN

BLOCK_BYTES = 1 << 17
LINE_COST = 4  # of a product with a vector, which waits for its loads, to one of matrices


def emit_block(driver: Driver, step: BlockStep) -> None:
    """Call a function of its own for the rows, or for both halves of them in two threads."""
    number = len(driver.blocks)
    driver.blocks.append(_block_source(f"{driver.name}_block{number}", step, driver))
    tail = HEADER + len(driver.buffers)
    entry = f"T[{tail + TAIL_BLOCKS + number}]"
    write, parts = driver.write, f"parts{step.number}"
    write(f"{parts} = {_parts(driver, step)}")
    arguments = [f"T[{tail + TAIL_SELF}]", entry, parts]
    _begin(driver, arguments)
    _end(driver, arguments)
    with write.block(f"if {parts} > 1:"):
        for whole, partial in step.sums:
            count = driver.buffers[whole].count
            pointers = ((whole, 0), (partial, 0))
            kernel = _addition(driver.buffers[whole].suffix)
            both = frozenset((whole, partial))
            add = KernelStep(kernel, pointers, (count,), both, both, step.nodes, count)
            emit_kernel(driver, add)


def _begin(driver: Driver, arguments: Sequence[str]) -> None:
    """Let a helper take parts of a function's work: of its table, its address, how many parts."""
    driver.write(f"begun = {driver.call('begin_parts', [*arguments, f'T[{POOL}]'])}")


def _end(driver: Driver, arguments: Sequence[str]) -> None:
    """Make the parts that are left, and wait for the others."""
    last = [driver.work, f"T[{POOL}]"]
    driver.write(driver.call("end_parts", ["begun", *arguments, *last]))


def _parts(driver: Driver, step: BlockStep) -> str:
    size = f"{driver.size(step.rows)} * ({driver.size(step.row_count)})"
    return f"2 if {size} >= {SHARED_THIN} else 1"


def _addition(suffix: str) -> Kernel:
    """The kernel that adds what the second half has summed up."""
    target, part = (Load(name, Index.along("i0")) for name in ("p0", "p1"))
    body = (Let("v0", part, suffix), StoreElement(target, "v0", ADDED))
    pointers = (("p0", f"{suffix}*"), ("p1", f"{suffix}*"))
    return Kernel("add_part", pointers, ("n0",), (axis_loop(0, "n0", body),))


def _block_source(name: str, step: BlockStep, caller: Driver) -> DriverText:
    """The function that goes over one part of the rows, block by block."""
    driver, write = _part_driver(name, caller)
    begin, at, rows = step.names
    whole = driver.size(step.rows)
    row = f"max({driver.size(step.row_count)}, 1)"
    write(f"share = ({whole} + 1) // 2 if ({_parts(driver, step)}) > 1 else {whole}")
    write(f"{begin} = part * share")
    write(f"end = min({begin} + share, {whole})")
    write(f"size = max({BLOCK_BYTES // ITEMSIZE[step.dtype]} // {row}, 4)")
    with write.block(f"for {at} in range({begin}, max(end, {begin} + 1), size):"):
        write(f"{rows} = min(size, end - {at})")
        for inner in step.body:
            driver.step(inner)
    write("return 0")
    start = []
    for total, partial in step.sums:
        driver.by_entry.add(partial)
        start += [
            "if part > 0:",
            f"    {buffer_name(driver.buffers[total])} = T[{HEADER + partial}]",
        ]
    _hand_over(caller, driver)
    return _block_text(driver, name, start)


def emit_halves(driver: Driver, step: HalvesStep) -> None:
    """Call a function of its own for both halves of the rows, if that pays, or run the steps.

    A profile shows the steps. The function has its number there too, for tables serve both drivers.
    """
    number = len(driver.blocks)
    driver.blocks.append(_half_source(f"{driver.name}_half{number}", step, driver))
    if driver.clocks is not None:
        for inner in step.steps:
            driver.step(inner)
        return
    tail = HEADER + len(driver.buffers)
    arguments = [f"T[{tail + TAIL_SELF}]", f"T[{tail + TAIL_BLOCKS + number}]", "2"]
    write = driver.write
    with write.block(f"if {_worth_halving(driver, step)}:"):
        write(f"T[{tail + TAIL_GATE}] = 0")
        _begin(driver, arguments)
        for done, inner in enumerate(step.before, 1):
            driver.step(inner)
            if done in step.needs:
                write(f"store_release(T[{tail + TAIL_SELF}] + {8 * (tail + TAIL_GATE)}, {done})")
        _end(driver, arguments)
    with write.block("else:"):
        for inner in step.steps:
            driver.step(inner)


def _worth_halving(driver: Driver, step: HalvesStep) -> str:
    """As `sharing.is_halved`."""
    sizes = [" * ".join(f"({driver.size(n)})" for n in (p.m, p.n, p.k)) for p in step.products]
    costs = [
        f"{ITEMSIZE[p.dtype] // 4} * {size}" for p, size in zip(step.products, sizes, strict=True)
    ]
    rows = f"{driver.size(step.rows)} >= {CHAIN_ROWS}"
    small = " and ".join(f"{size} < {SHARED}" for size in dict.fromkeys(sizes))
    return f"{rows} and {' + '.join(costs)} >= {SHARED_CHAIN} and {small}"


def _half_source(name: str, step: HalvesStep, caller: Driver) -> DriverText:
    """The function that makes one half of the rows."""
    driver, write = _part_driver(name, caller)
    _, at, rows = block_names(step.number)
    whole = driver.size(step.rows)
    # Even numbers, as rows in pairs are faster.
    write(f"half = min(({whole} + 3) // 4 * 2{_lead(driver, step)}, {whole})")
    write(f"{at} = part * half")
    write(f"{rows} = {whole} - half if part > 0 else half")
    gate, passed = 8 * (HEADER + len(driver.buffers) + TAIL_GATE), 0
    for needed, inner in zip(step.needs, step.body, strict=True):
        if needed > passed:
            passed = needed
            with write.block(f"while load_acquire(table + {gate}) < {passed}:"):
                write("pause()")
        driver.step(inner)
    write("return 0")
    _hand_over(caller, driver)
    return _block_text(driver, name)


def _lead(driver: Driver, step: HalvesStep) -> str:
    """The rows that the first half has more, in the time of what the caller does before its own."""
    row: AnyDim = sum(p.n * p.k for p in step.products)
    before: AnyDim = 0
    for other in step.before[step.needs[0] :]:
        if isinstance(other, ProductStep) and not other.batch:
            slower = LINE_COST if 1 in (other.m, other.n) else 1
            before = before + other.m * other.n * other.k * slower
    return "" if before == 0 else f" + ({driver.size(before)}) // (4 * ({driver.size(row)})) * 2"


def _part_driver(name: str, caller: Driver) -> tuple[Driver, SourceWriter]:
    """What writes the body of a function of its own."""
    driver = Driver(
        caller.buffers, caller.size_count, name, caller.emitters, polls=caller.polls, work="work"
    )
    driver.write.depth = 1
    return driver, driver.write


def _hand_over(caller: Driver, driver: Driver) -> None:
    """Write what the function needs of its caller: where loops have left values that move."""
    for index in sorted(driver.handed):
        caller.write(f"T[{HEADER + index}] = {caller.buffer(index)}")


def _block_text(driver: Driver, name: str, start: Sequence[str] = ()) -> DriverText:
    """A function of the table T, a part's number and scratch, with `start` behind the tables."""
    head = SourceWriter()
    with head.block(f"def {name}(table, part, work):"):
        head("T = i8ptr(table)")
        head(f"S = i8ptr(T[{HEADER + len(driver.buffers) + TAIL_SIZES}])")
        driver.read_tables(head)
        for line in start:
            head(line)
    return driver.text(head)
