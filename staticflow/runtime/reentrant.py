"""Make a compiled program callable from any number of threads at once, without Python.

    entry(context, batch, x, y)         sizes of named dimensions, addresses of inputs and outputs

A call needs tables and an arena of its own. It takes the first free block of memory of a pool (one
atomic exchange), finds the tables there filled by the last call of the same sizes, sets the
addresses of inputs and outputs, and runs the driver. Only a call with other sizes fills the tables
again, and only one that needs more memory than its block has allocates.

    context:  records | template of T | template of S
    record:   busy | block | allocation | bytes | sizes of the named dimensions       one per block
    block:    T | S | arena | work of the matrix products, where these sizes need it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from staticflow.compiler.codegen.driver import size_text
from staticflow.compiler.codegen.driver_abi import HEADER, SHARDS, SIZE_HEADER, STOP, WORK
from staticflow.compiler.ir.size_classes import size_name
from staticflow.compiler.ir.steps import CallStep, ProductStep, Step, walk
from staticflow.graph.dims import AnyDim, Dim, names_of
from staticflow.graph.node import Node
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES, QUAD_COLUMNS, QUAD_ROWS
from staticflow.native.memory import ALLOCATE, FREE, LINE, Words, words
from staticflow.native.toolchain.objects import External, KernelSource, NativeFunction, Signature
from staticflow.runtime.program import Program
from staticflow.runtime.size_guards import MOST_BYTES

BUSY, BLOCK, ALLOCATION, BYTES, SIZES = range(5)  # the words of a record
RECORDS = 64  # more calls at a time than this wait for each other
LINE_WORDS = 16  # records share no cache line
WORK_ROWS, WORK_EXTENT = 32, 1 << 16  # smaller products with B's rows contiguous copy nothing


class Reentrant:
    """A program with an entry of its own; `fixed` are the addresses of all leaves but inputs."""

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Node],
        fixed: Mapping[Node, int],
        sizes: Sequence[str],
    ) -> None:
        self.program = program
        self.sizes = tuple(sizes)
        self.inputs = [program.leaves.get(node) for node in inputs]
        self.width = -(-(SIZES + len(self.sizes)) // LINE_WORDS) * LINE_WORDS
        self._records = words(RECORDS * self.width)
        self._records.reshape(RECORDS, self.width)[:, SIZES:] = -1
        self._running = words(1)  # a stop flag that nobody sets
        self._tables = self._templates(fixed)
        self._context = words(3)
        self._context[:] = [self._records.ctypes.data, *(t.ctypes.data for t in self._tables)]
        self.function = self._compile()

    @property
    def memory(self) -> list[object]:
        """All that the entry reads, but for what is at the `fixed` addresses."""
        constants = self.program.constants.values()
        return [self._records, self._context, self._running, *self._tables, *constants]

    @property
    def context(self) -> int:
        """The first argument of the entry."""
        return int(self._context.ctypes.data)

    def _templates(self, fixed: Mapping[Node, int]) -> tuple[Words, Words]:
        """T and S but for what a call brings."""
        compiled = self.program.compiled
        T = words(HEADER + len(compiled.assignment.buffers))
        S = words(SIZE_HEADER + len(compiled.sized.sizes))
        T[SHARDS], T[STOP] = 1, self._running.ctypes.data
        for node, buffer in self.program.leaves.items():
            value = self.program.constants.get(node)
            T[HEADER + buffer] = fixed.get(node, 0) if value is None else value.ctypes.data
        for i, size in enumerate(compiled.sized.sizes):
            S[SIZE_HEADER + i] = size if isinstance(size, int) else 0
        return T, S

    def _compile(self) -> NativeFunction:
        outputs = self.program.compiled.output_buffers
        prepare = self._kernel(
            "prepare", prepare_source(self.program, self.sizes), 2 + len(self.sizes),
            allocate=External(ALLOCATE, Signature("i8", ("i8",))),
            free=External(FREE, Signature("", ("i8",))),
        )  # fmt: skip
        driver = External(self.program.function.symbol, Signature("i8", ("i8", "i8")))
        text = entry_source(self.sizes, self.inputs, outputs, self.width, len(self._tables[0]))
        count = 1 + len(self.sizes) + len(self.inputs) + len(outputs)
        return self._kernel("entry", text, count, prepare=prepare.external, driver=driver)

    def _kernel(
        self, name: str, source: str, arguments: int, **externals: External
    ) -> NativeFunction:
        return self.program.toolchain.kernel(
            KernelSource(
                name=name,
                source=source,
                signature=Signature("i8", ("i8",) * arguments),
                externals=externals,
                namespace=_namespace,
                noalias=False,
            )
        )


def entry_source(
    sizes: Sequence[str],
    inputs: Sequence[int | None],
    outputs: Sequence[int],
    width: int,
    t_words: int,
) -> str:
    """The entry: find a free block, bind, run, give the block back."""
    names = [f"size_{name}" for name in sizes]
    buffers = [*(f"in_{i}" for i in range(len(inputs))), *(f"out_{i}" for i in range(len(outputs)))]
    stale = " or ".join(
        [f"record[{BLOCK}] == 0", *(f"record[{SIZES + i}] != {n}" for i, n in enumerate(names))]
    )
    binds = [
        f"    T[{HEADER + buffer}] = {name}"
        for name, buffer in zip(buffers, [*inputs, *outputs], strict=True)
        if buffer is not None
    ]
    arguments = ["context", *names]
    lines = [
        f"def entry({', '.join([*arguments, *buffers])}):",
        *_take_block(width),
        "    record = i8ptr(place)",
        "    result = 0",
        f"    if {stale}:",
        f"        result = prepare({', '.join([*arguments, 'place'])})",
        "    if result == 0:",
        f"        block = record[{BLOCK}]",
        "        T = i8ptr(block)",
        *(f"    {line}" for line in binds),
        f"        result = driver(block, block + {8 * t_words})",
        f"    store_release(place + {8 * BUSY}, 0)",
        "    return result",
    ]
    return "\n".join(lines)


def _take_block(width: int) -> list[str]:
    """Look for a record that is not busy, from one on that is mostly this thread's own."""
    return [
        "    records = i8ptr(context)[0]",
        f"    number = thread_hash() & {RECORDS - 1}",
        f"    place = records + {8 * width} * number",
        f"    while swap_if_zero(place + {8 * BUSY}, 1) != 0:",
        "        number += 1",
        f"        place = records + {8 * width} * (number & {RECORDS - 1})",
        f"        if (number & {RECORDS - 1}) == 0:",
        "            yield_processor()",
    ]


def prepare_source(program: Program, sizes: Sequence[str]) -> str:
    """Fill a block's tables for given sizes, in more memory if it has too little."""
    compiled = program.compiled
    t_words = HEADER + len(compiled.assignment.buffers)
    s_words = SIZE_HEADER + len(compiled.sized.sizes)
    arguments = ["context", *(f"size_{name}" for name in sizes), "place"]
    lines = [f"def prepare({', '.join(arguments)}):", "    template = i8ptr(i8ptr(context)[2])"]
    renamed = {name: Dim.named(f"size_{name}") for name in sizes}
    for i, size in enumerate(compiled.sized.sizes):
        value = f"template[{SIZE_HEADER + i}]"
        if isinstance(size, Dim):
            value = _text(size.substitute(renamed))
        lines.append(f"    n{i} = {value}")
    lines += _room_lines(program, sizes)
    lines.append(f"    end = {-(-8 * (t_words + s_words) // LINE) * LINE}")
    for i, chunk in enumerate(compiled.memory.chunks):
        lines.append(f"    chunk{i} = end")
        lines.append(f"    end += ({_largest(chunk)} + {LINE - 1}) // {LINE} * {LINE}")
    lines += ["    work = end", *_work_lines(compiled.steps), *_ALLOCATE.splitlines()]
    lines.append(f"    copy_bytes(block, i8ptr(context)[1], {8 * t_words})")
    lines.append(f"    copy_bytes(block + {8 * t_words}, i8ptr(context)[2], {8 * s_words})")
    lines += ["    T = i8ptr(block)", f"    S = i8ptr(block + {8 * t_words})"]
    lines += [
        f"    S[{SIZE_HEADER + i}] = n{i}"
        for i, size in enumerate(compiled.sized.sizes)
        if isinstance(size, Dim)
    ]
    lines += [
        f"    T[{HEADER + buffer}] = block + chunk{chunk}"
        for buffer, chunk in compiled.memory.chunk_of.items()
    ]
    lines.append(f"    T[{WORK}] = block + work")
    lines += [f"    record[{SIZES + i}] = size_{name}" for i, name in enumerate(sizes)]
    return "\n".join([*lines, "    return 0"])


def _room_lines(program: Program, sizes: Sequence[str]) -> list[str]:
    """Refuse what takes more memory than there can be: in floats, which do not overflow."""
    names = {name: Dim.named(f"float_{name}") for name in sizes}
    lines = [f"    float_{name} = size_{name} * 1.0" for name in sizes]
    known = program.compiled.sized.sizes
    for i, size in enumerate(known):
        value = size.substitute(names) if isinstance(size, Dim) and not size.is_derived else None
        lines.append(f"    f{i} = {f'n{i} * 1.0' if value is None else _text(value)}")
    counts = {size_name(i): Dim.named(f"f{i}") for i in range(len(known))}
    room = [
        n.substitute(counts)
        for chunk in program.compiled.memory.chunks
        for n in chunk
        if isinstance(n, Dim)
    ]
    lines += ["    room = 0.0", *(f"    room = room + {_text(n)}" for n in room)]
    return [*lines, f"    if room > {float(MOST_BYTES)}:", "        return 1"]


_ALLOCATE = f"""\
    record = i8ptr(place)
    if record[{BYTES}] < end:
        if record[{ALLOCATION}] != 0:
            free(record[{ALLOCATION}])
        record[{BLOCK}] = 0
        record[{BYTES}] = 0
        record[{ALLOCATION}] = allocate(end + {LINE})
        if record[{ALLOCATION}] == 0:
            return 1
        record[{BYTES}] = end
        record[{BLOCK}] = (record[{ALLOCATION}] + {LINE - 1}) // {LINE} * {LINE}
    block = record[{BLOCK}]"""


def _work_lines(steps: Sequence[Step]) -> list[str]:
    """Room for the copies that some matrix products make of their operands."""
    texts = dict.fromkeys(text for step in walk(steps) for text in scratch_conditions(step))
    return [f"    if {text}:\n        end = work + {GEMM_WORK_BYTES}" for text in texts]


def scratch_conditions(step: Step) -> Iterator[str]:
    """When a step needs that room, as source; see `native/gemm.py` for when products copy."""
    if isinstance(step, CallStep) and step.multiplies:
        yield "True"
    elif isinstance(step, ProductStep):
        m, n, k = (_text(size) for size in (step.m, step.n, step.k))
        large = f"({m} >= {WORK_ROWS} and {k} * {n} > {WORK_EXTENT // 8})"
        if step.b.column == 1 and step.a.row != 1:
            yield f"({m} >= {QUAD_ROWS} and {n} <= {QUAD_COLUMNS} or {large})"
        elif step.b.column == 1 or (step.a.column == 1 and step.b.row == 1):
            yield f"({m} > 1 and {n} > 1 or {large})"
        else:
            yield f"({n} > 1 or {large})"


def _largest(dims: Sequence[AnyDim]) -> str:
    first, *others = [_text(dim) for dim in dims]
    for other in others:
        first = f"max({first}, {other})"
    return first


def _text(dim: AnyDim) -> str:
    return f"({size_text(dim)})" if isinstance(dim, Dim) else str(dim)


def named_sizes(nodes: Iterable[Node]) -> list[str]:
    """The names in the shapes of nodes, in order of first use."""
    return list(dict.fromkeys(name for node in nodes for n in node.shape for name in _names(n)))


def _names(dim: AnyDim) -> list[str]:
    return sorted(names_of([dim]))


def _namespace() -> Mapping[str, object]:
    from llvmlite import ir

    from staticflow.native.toolchain.intrinsics import declare

    def emit(builder: Any) -> Any:
        """A number from the address of the stack, of which every thread has its own."""
        word = ir.IntType(64)
        with builder.goto_entry_block():
            place = builder.alloca(word)
        megabyte = builder.lshr(builder.ptrtoint(place, word), ir.Constant(word, 20))
        mixed = builder.mul(megabyte, ir.Constant(word, 0x9E3779B97F4A7C15))
        return builder.lshr(mixed, ir.Constant(word, 32))

    return {"thread_hash": declare("thread_hash", "i8", (), emit)}
