"""The steps of a program as the body of one C function.

Buffers are the arguments of the function, const arrays, or places in its scratch memory, as the
memory plan says for the sizes of the export. Kernels and products are functions of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, assert_never

from staticflow.compiler.codegen.driver import describe
from staticflow.compiler.compile import Compiled
from staticflow.compiler.ir.size_classes import FIRST_ROW
from staticflow.compiler.ir.steps import (
    BlockStep,
    BranchStep,
    CallStep,
    CollectiveStep,
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
from staticflow.compiler.lowering.buffers import SUFFIX, Buffer, Counter, MovingPlace
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim, evaluate
from staticflow.session.interchange.c_out.expressions import Expressions, NoWords
from staticflow.session.interchange.c_out.kernels import kernel_text
from staticflow.session.interchange.c_out.products import Product, product_text
from staticflow.session.interchange.c_out.routines import routine_name, routine_texts, why_not
from staticflow.session.interchange.c_out.text import Module
from staticflow.session.interchange.c_out.words import C_TYPES, identifier
from staticflow.session.interchange.c_out.writer import CWriter


@dataclass
class CDriver:
    """The state of writing one function; `names` are those of buffers from outside."""

    compiled: Compiled
    sizes: Mapping[str, int]
    names: Mapping[int, str]
    module: Module
    write: CWriter = field(default_factory=CWriter)
    used: set[int] = field(default_factory=set)  # buffers

    def __post_init__(self) -> None:
        self.table = {**self.sizes, str(FIRST_ROW): 0}
        self.expressions = Expressions(self.module.functions)
        self.own: dict[int, str] = {}
        # Within loops no pointer is `restrict`: what one step writes, the next may read, and clang
        # 14 takes what holds within a call for what holds in all steps, once that is inlined.
        self.loops = 0

    def size(self, dim: AnyDim) -> int:
        """A size as a number."""
        return evaluate(dim, self.table)

    # -- buffers -----------------------------------------------------------------------------------

    @property
    def buffers(self) -> Sequence[Buffer]:
        return self.compiled.assignment.buffers

    def buffer(self, index: int) -> str:
        """What a buffer's first element is called."""
        self.used.add(index)
        if index in self.names:
            return self.names[index]
        if index not in self.own:
            name = f"{self.buffers[index].node.name}_{index}"
            self.own[index] = identifier(name, self.module.taken)
        return self.own[index]

    def address(self, place: Place, extra: str = "") -> str:
        buffer, offset = place
        plus = self.size(offset)
        return f"{self.buffer(buffer)}{f' + {plus}' if plus else ''}{extra}"

    def declarations(self) -> list[str]:
        """The lines that give buffers in scratch memory, and those that move, their names."""
        sizes = dict(self.sizes)
        offsets, _ = self.compiled.memory.offsets(sizes)
        lines, whole = [], set(self.used)
        for index in sorted(whole):
            buffer = self.buffers[index]
            kind = C_TYPES[buffer.suffix]
            if buffer.role == "temp":
                at = offsets[self.compiled.memory.chunk_of[index]]
                plus = f" + {at}" if at else ""
                place = f"({kind} *)(void *)((unsigned char *)scratch{plus})"
                lines.append(f"{kind} *const {self.buffer(index)} = {place};")
            elif buffer.moving is not None:
                const = "const " if self._is_const(index) else ""
                name = self.buffer(index)
                lines.append(f"{const}{kind} *{name};")
                sets = re.findall(rf"^ *{name} = ", self.write.text, re.MULTILINE)
                if len(re.findall(rf"\b{name}\b", self.write.text)) == len(sets):
                    self.write(f"(void){name};")  # where there is no element to read
        return lines

    def _is_const(self, index: int) -> bool:
        """Whether a buffer lies in what must not be written."""
        moving = self.buffers[index].moving
        return self.buffers[index].role == "leaf" if moving is None else self._is_const(moving.base)

    # -- steps -------------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        """Write a step, with the user's line above it."""
        self.write.comment(f"{where_of(step)}  ->  {describe(step)}")
        match step:
            case KernelStep():
                self._kernel(step)
            case ProductStep():
                self._product(step)
            case LoopStep():
                self._loop(step)
            case BranchStep():
                self._branch(step)
            case CallStep():
                self._call(step)
            case PackStep() | CollectiveStep() | BlockStep() | HalvesStep():
                raise AssertionError(f"{type(step).__name__} is of passes that C does without")
            case _:
                assert_never(step)

    def _kernel(self, step: KernelStep) -> None:
        sizes = [self.size(n) for n in step.sizes]
        places = [self.address(place) for place in step.pointers]
        apart = len(set(places)) == len(places) and not self.loops
        try:
            text = kernel_text(step.kernel, sizes, self.expressions, apart)
        except NoWords as error:
            refuse(step, str(error))
        name = self.module.function(text, step.kernel.label or "kernel")
        self.write(f"{name}({', '.join(places)});")

    def _product(self, step: ProductStep) -> None:
        m, n, k = (self.size(x) for x in (step.m, step.n, step.k))
        a, b, c = (self._strides(x) for x in (step.a, step.b, step.c))
        adds = self.size(step.adds_after) > 0
        product = Product(SUFFIX[step.dtype], m, n, k, a, b, c, adds)
        if 0 in (product.m, product.n):
            return
        name = self.module.function(product_text(product, apart=not self.loops), "product")
        extras = ["", "", ""]
        depth = self.write.depth
        for level, extent in enumerate(step.batch):
            at = f"b{level}"
            self.write(f"for (ptrdiff_t {at} = 0; {at} < {self.size(extent)}; ++{at}) {{")
            self.write.depth += 1
            for which, operand in enumerate((step.a, step.b, step.c)):
                stride = self.size(operand.batch[level])
                if stride:
                    extras[which] += f" + {at} * {stride}"
        places = (step.a.place, step.b.place, step.c.place)
        left, right, to = (self.address(p, extra) for p, extra in zip(places, extras, strict=True))
        operands = f"{right}, {left}" if product.turns else f"{left}, {right}"
        self.write(f"{name}({operands}, {to});")
        while self.write.depth > depth:
            self.write.depth -= 1
            self.write("}")
        if step.epilogue is not None:
            self._kernel(step.epilogue.kernel)

    def _strides(self, operand: Operand) -> tuple[int, int]:
        return self.size(operand.row), self.size(operand.column)

    def _loop(self, step: LoopStep) -> None:
        k, t, length = f"k{step.number}", f"t{step.number}", self.size(step.length)
        write = self.write
        places = [self._move(buffer, k, t, str(length)) for buffer in step.moving]
        reads_t = any(re.search(rf"\b{t}\b", place) for place in places)
        last = k if step.flag else str(length)
        if step.flag:
            write(f"ptrdiff_t {k} = 0;")
            head = "for (;;)"
        else:
            head = f"for (ptrdiff_t {k} = 0; {k} < {length}; ++{k})"
        with write.block(head):
            if reads_t:
                write(f"const ptrdiff_t {t} = {f'{length - 1} - {k}' if step.reverse else k};")
            for place in places:
                write(place)
            self.loops += 1
            for position, inner in enumerate(step.body):
                if step.flag and position == step.tests:
                    write(f"if (*({self.address(step.flag)}) == 0) break;")
                self.step(inner)
            self.loops -= 1
            if step.flag:
                write(f"++{k};")
        for buffer in step.after:
            write(self._move(buffer, k, t, last))

    def _move(self, index: int, k: str, t: str, n: str) -> str:
        """The line that gives a moving buffer its address."""
        moving = self.buffers[index].moving
        assert moving is not None
        counters = {Counter.STEPS: k, Counter.POSITION: t, Counter.LENGTH: n}
        place, stride = _place_text(moving.place, counters), self.size(moving.stride)
        plus = f" + {place}" if stride == 1 else f" + {place} * {stride}"
        base = self.address((moving.base, moving.offset))
        return f"{self.buffer(index)} = {base}{plus if stride else ''};"

    def _branch(self, step: BranchStep) -> None:
        for head, body in (
            (f"if (*({self.address(step.flag)}) != 0)", step.then),
            ("else", step.otherwise),
        ):
            with self.write.block(head):
                for inner in body:
                    self.step(inner)

    def _call(self, step: CallStep) -> None:
        name, suffix = step.routine
        why = why_not(name)
        if why:
            refuse(step, why)
        for text in routine_texts(name, suffix, len(step.buffers), self.module.functions):
            self.module.routines.setdefault(text)
        arguments = [f"(unsigned char *){self.buffer(b)}" for b in step.buffers]
        arguments += [str(self.size(n)) for n in step.sizes]
        self.write(f"{routine_name(name, suffix)}({', '.join(arguments)});")


def _place_text(place: MovingPlace, counters: Mapping[Counter, str]) -> str:
    """A place as C, given what the counters are called."""
    text = counters[place.counter]
    text = f"({text} + {place.plus})" if place.plus else text
    return f"({text} % 2)" if place.alternate else text


def refuse(step: Step, why: str) -> NoReturn:
    """Raise GraphError for a step that C has no words for, at the user's line."""
    names = ", ".join(dict.fromkeys(node.op.name for node in step.nodes))
    fail(
        GraphError,
        f"export_c: {names} cannot be written in C",
        got=why,
        do="export what comes before it, or write it with other ops",
        where=where_of(step),
    )
