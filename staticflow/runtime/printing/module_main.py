"""The `main` of a printed module: it makes the buffers, fills the tables and runs the program."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping, Sequence

from staticflow.compiler.codegen.driver import size_text
from staticflow.compiler.codegen.driver_abi import (
    FIRST_ROW_ENTRY,
    HEADER,
    SHARDS,
    SIZE_HEADER,
    STOP,
    TAIL_BLOCKS,
    WORK,
)
from staticflow.compiler.codegen.kernels import identifier
from staticflow.compiler.codegen.writer import SourceWriter
from staticflow.compiler.ir.size_classes import size_name
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.graph.dims import AnyDim, Derived, Dim
from staticflow.graph.leaves import Const, Hyper
from staticflow.graph.node import Node
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES
from staticflow.native.memory import LINE, Array
from staticflow.runtime.program import Program

LENGTH = 16  # of a named axis of random data
MOST_WRITTEN = 64  # elements of a constant that are written as numbers
DIGITS = 80  # a line, of a longer constant
Place = Callable[[Node], str | None]


def user_size(dim: AnyDim) -> str:
    """A size as Python over the dictionary `size` of the named ones."""
    if isinstance(dim, int):
        return str(dim)
    terms = []
    for monomial, coefficient in dim.terms:
        factors = [_factor(name) for name in monomial]
        if coefficient != 1 or not factors:
            factors.insert(0, str(coefficient))
        terms.append(" * ".join(factors))
    return " + ".join(terms)


def _factor(name: str) -> str:
    if not isinstance(name, Derived):
        return f"size[{name!r}]"
    parts = [user_size(a) for a in name.args]
    return f"isqrt({parts[0]})" if len(parts) == 1 else f"(({parts[0]}) // ({parts[1]}))"


def shape_text(shape: Sequence[AnyDim]) -> str:
    """A shape as a tuple."""
    return _tuple_text([user_size(n) for n in shape])


def in_names(dim: AnyDim, sizes: Mapping[str, AnyDim]) -> AnyDim:
    """A size over size classes as one over the named sizes."""
    return dim.substitute(sizes) if isinstance(dim, Dim) else dim


def _largest(sizes: Sequence[AnyDim]) -> str:
    texts = list(dict.fromkeys(map(user_size, sizes)))
    return texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"


def _tuple_text(parts: Sequence[str]) -> str:
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _declared(nodes: Mapping[str, Node]) -> str:
    """The inputs' shapes, named sizes by their names."""
    parts = []
    for name, node in nodes.items():
        axes = [repr(n.name) if isinstance(n, Dim) else str(n) for n in node.shape]
        parts.append(f"{name!r}: {_tuple_text(axes)}")
    return "{" + ", ".join(parts) + "}"


def _size_names(nodes: Mapping[str, Node]) -> list[str]:
    names = [n.name for node in nodes.values() for n in node.shape if isinstance(n, Dim)]
    return list(dict.fromkeys(name for name in names if name is not None))


class Main:
    """The lines of `main` so far."""

    def __init__(self) -> None:
        self.write = SourceWriter()
        self.write.depth = 1
        self.outputs: dict[int, str] = {}  # buffers of results, and where they are

    def sizes(self, nodes: Mapping[str, Node], assumed: Mapping[str, int]) -> None:
        """The named sizes."""
        self.write("given = Given(sys.argv[1:])")
        known = {name: assumed.get(name, LENGTH) for name in _size_names(nodes)}
        self.write(f"size = given.sizes({_declared(nodes)}, {known!r})")

    def table_of_sizes(self, name: str, program: Program) -> None:
        """The table S of a program, for the named sizes in `size`."""
        write = self.write
        sizes = program.compiled.sized.sizes
        write(f"{name} = given.new('int64', {SIZE_HEADER + len(sizes)})")
        write(f"{name}[{FIRST_ROW_ENTRY}] = 0  # the first row of a thread")
        for i, dim in enumerate(sizes):
            write(f"{name}[{SIZE_HEADER + i}] = n{i} = {user_size(dim)}")

    def sizes_of_blocks(self, program: Program, batch: str) -> None:
        """Functions of a block's rows: the bytes of its intermediate values, and its table S."""
        write, sized = self.write, program.compiled.sized
        own = {size_name(i): dim for i, dim in enumerate(sized.sizes)}
        with write.block("def arena(count):"):
            write('"""The bytes of the intermediate values of so many rows."""')
            write(f"size[{batch!r}] = count")
            with write.block("chunks = ["):
                for chunk in program.compiled.memory.chunks:
                    write(f"{_largest([in_names(n, own) for n in chunk])},")
            write("]")
            write(f"return sum(-(-n // {LINE}) * {LINE} for n in chunks)")
        write("")
        with write.block("def sizes(count, first, whole):"):
            write('"""The table S of `count` rows from `first` on, in a batch of `whole` rows."""')
            write(f"table = given.new('int64', {SIZE_HEADER + len(sized.sizes)})")
            write(f"table[{FIRST_ROW_ENTRY}] = first")
            for rows, wanted in (("count", False), ("whole", True)):
                entries = [i for i in range(len(sized.sizes)) if (i in sized.whole) is wanted]
                if entries:
                    write(f"size[{batch!r}] = {rows}")
                for i in entries:
                    write(f"table[{SIZE_HEADER + i}] = {user_size(sized.sizes[i])}")
            write("return table")
        write("")

    def names_of_sizes(self, name: str, program: Program) -> None:
        """The sizes in a table S, by what drivers call them."""
        names = [size_name(i) for i in range(len(program.compiled.sized.sizes))]
        self.write(f"{_tuple_text(names)} = {name}[{SIZE_HEADER}:].tolist()")

    def table_of_buffers(self, name: str, sizes: str, program: Program, place: Place) -> None:
        """The table T of a program: `place` says where leaves and outputs are, as source."""
        write, compiled = self.write, program.compiled
        buffers, blocks = compiled.assignment.buffers, compiled.driver.blocks
        used = _used(program)
        own = {number: node for node, number in program.leaves.items()}
        tail = TAIL_BLOCKS + len(blocks) if blocks else 0
        write(f"{name} = given.new('int64', {HEADER + len(buffers) + tail})")
        write(f"{name}[{WORK}] = given.place('uint8', {GEMM_WORK_BYTES})  # work of products")
        write(f"{name}[{SHARDS}] = 1  # thread")
        write(f"{name}[{STOP}] = given.place('int64', 1)  # set to stop")
        for buffer in buffers:
            if buffer.index in used:
                leaf = own.get(buffer.index)
                text = self.outputs.get(buffer.index) or _buffer_text(buffer, leaf, place)
                note = program.shown(f"{buffer.node.name}: {buffer.node.type}")
                write.noted(f"{name}[{HEADER + buffer.index}] = {text}", note)
        if blocks:
            parts = [f"{block.name}.address" for block in blocks]
            entries = [f"{name}.ctypes.data", f"{sizes}.ctypes.data", "1", *parts]
            write(f"{name}[{HEADER + len(buffers)}:] = [{', '.join(entries)}]")


def _used(program: Program) -> frozenset[int]:
    """The buffers that a program reads or writes."""
    driver = program.compiled.driver
    return frozenset().union(*(each.buffers for each in (*driver.blocks, driver)))


def _buffer_text(buffer: Buffer, leaf: Node | None, place: Place) -> str:
    """Where a buffer lies, as source. The leaf is this graph's: others may share the program."""
    if leaf is not None and isinstance(leaf.op, Const):
        return f"given.keep({_constant_text(leaf.op.value)}).ctypes.data"
    found = None if leaf is None else place(leaf)
    if found is not None:
        return found
    count = buffer.count if isinstance(buffer.count, int) else size_text(buffer.count)
    return f"given.place({buffer.dtype!r}, {count})"


def _constant_text(value: Array) -> str:
    if value.size <= MOST_WRITTEN:
        numbers = str(value.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
        return f"np.array({numbers}, {value.dtype.name!r}).reshape({value.shape})"
    text = value.tobytes().hex()
    parts = [repr(text[i : i + DIGITS]) for i in range(0, len(text), DIGITS)]
    return f"decoded({value.dtype.name!r}, {', '.join(parts)}).reshape({value.shape})"


def variable_of(name: str, names: Sequence[str]) -> str:
    """What `main` calls an input."""
    plain = identifier(name) == name and not keyword.iskeyword(name)
    return f"{name}_rows" if plain else f"input{names.index(name)}"


def outputs_main(program: Program, inputs: Mapping[str, Node], numbers: Mapping[str, int]) -> str:
    """`main` of a function: it computes the outputs once."""
    main = Main()
    write = main.write
    main.sizes(inputs, {})
    for name, node in inputs.items():
        array = f"given.array({name!r}, {shape_text(node.shape)}, {node.dtype!r})"
        write(f"{variable_of(name, list(inputs))} = {array}")

    def place(node: Node) -> str | None:
        for name, own in inputs.items():
            if own is node:
                return f"{variable_of(name, list(inputs))}.ctypes.data"
        if isinstance(node.op, Hyper):
            return f"given.keep(np.array([{numbers.get(node.op.label, 0)}])).ctypes.data"
        shape = [n for n in node.shape if isinstance(n, int)]
        value = f"given.array({node.name!r}, {shape_text(shape)}, {node.dtype!r})"
        return f"{value}.ctypes.data"

    write("")
    for k, node in enumerate(program.compiled.outputs):
        write(f"out{k} = given.new({node.dtype!r}, *{shape_text(node.shape)})")
    write("")
    main.table_of_sizes("S", program)
    buffers = enumerate(program.compiled.output_buffers)
    main.outputs = {buffer: f"out{k}.ctypes.data" for k, buffer in buffers}
    main.table_of_buffers("T", "S", program, place)
    write("")
    write(f"failed = {program.compiled.driver.name}(T, S)")
    write("if failed != 0:")
    write("    raise SystemExit(f'the program gave up with code {failed}')")
    for k, node in enumerate(program.compiled.outputs):
        write(f"print({f'{node.name}:'!r}, out{k}, sep='\\n')")
        write(f"given.write('out{k}', out{k})")
    write("given.close()")
    return f"def main():\n{write.text}\n\nif __name__ == '__main__':\n    main()\n"
