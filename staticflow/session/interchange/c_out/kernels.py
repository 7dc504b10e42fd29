"""Print a kernel of the loop IR as a C function of its pointers; its sizes are numbers.

    static void add_maximum(const float *restrict p0, float *restrict p1) {
        for (ptrdiff_t i0 = 0; i0 < 64; ++i0) {
            const float v0 = p0[i0] + 1.0f;

A condition of sizes alone is decided here, so that loops in blocks stand only where they are long.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import assert_never

from staticflow.compiler.ir.loops import (
    Apply,
    Assign,
    Call,
    Code,
    Combined,
    Draw,
    For,
    If,
    Index,
    Initial,
    Kernel,
    Let,
    Literal,
    Load,
    Local,
    Position,
    Room,
    Scalar,
    SizeValue,
    Stmt,
    StoreElement,
    WrapIndex,
    accesses,
    bodies,
    names_in,
    names_in_index,
    walk,
)
from staticflow.session.interchange.c_out.expressions import Expressions, NoWords, Typed
from staticflow.session.interchange.c_out.words import C_TYPES, number
from staticflow.session.interchange.c_out.writer import CWriter

_VALUE = re.compile(r"^ *const \w+ (\w+) = [^;]*;\n", re.MULTILINE)


@dataclass
class _Printer:
    """The state of printing one kernel."""

    kernel: Kernel
    sizes: Mapping[str, int]
    expressions: Expressions
    write: CWriter = field(default_factory=CWriter)
    names: dict[str, Typed] = field(default_factory=dict)

    def size(self, size: int | str) -> Typed:
        """A size as a number, or a count of the kernel's own."""
        if isinstance(size, int):
            return Typed(number(size, "i8"), "int")
        if size in self.sizes:
            return Typed(number(self.sizes[size], "i8"), "int")
        return self.names[size]

    # -- values ------------------------------------------------------------------------------------

    def value(self, value: Scalar | Load) -> Typed:
        """A value as C, with its type."""
        match value:
            case str():
                return self.names[value]
            case Literal():
                return Typed(number(value.value, value.dtype), value.dtype)
            case SizeValue():
                return self.expressions.cast(value.dtype, self.size(value.size))
            case Position():
                return self._position(value)
            case Apply():
                letters = value.row.inputs
                holes = {letter: letter for letter in letters}
                source = value.row.body.format(**holes, t=value.dtype, r=value.result)
                return self.formula(source, letters, value.args)
            case Draw():
                raise NoWords("a random number")
            case WrapIndex():
                at = self.expressions.cast("i8", self.value(value.position))
                return self.expressions.call("wrap_index", [at, self.size(value.extent)])
            case Initial():
                return self.expressions.of(value.body.replace("{t}", value.dtype), {})
            case Combined():
                return self.combined(value.combine.body, self.names[value.accumulator], value.value)
            case Code():
                source = value.template.format(**{name: name for name, _ in value.args})
                names = {name: self.size(size) for name, size in value.args}
                return self.expressions.of(source, {**self.names, **names})
            case Load():
                suffix = dict(self.kernel.pointers)[value.pointer].rstrip("*")
                return Typed(self.element(value), suffix)
            case Room() | Local():
                raise NoWords("memory of the stack")
        assert_never(value)

    def formula(self, source: str, letters: str, args: Sequence[Scalar]) -> Typed:
        names = dict(zip(letters, map(self.value, args), strict=True))
        return self.expressions.of(source, names)

    def combined(self, body: str, accumulator: Typed, value: Scalar) -> Typed:
        """An element that has taken in a value."""
        names = {"acc": accumulator, "x": self.value(value)}
        return self.expressions.of(body.format(acc="acc", x="x"), names)

    def _position(self, value: Position) -> Typed:
        text = self.index(value.index)
        if value.offset is not None:
            text = f"{text} + {self.size(value.offset).text}"
        return self.expressions.cast(value.dtype or "i8", Typed(f"(int64_t)({text})", "i8"))

    def index(self, index: Index) -> str:
        """The sum of variables times strides, whose factors are known here."""
        terms = []
        for variable, factors in index.terms:
            stride, unknown = 1, []
            for factor in factors:
                if isinstance(factor, str) and factor not in self.sizes:
                    unknown.append(self.names[factor].text)
                else:
                    stride *= factor if isinstance(factor, int) else self.sizes[factor]
            parts = [self.size(variable).text, *unknown, *([str(stride)] if stride != 1 else [])]
            if stride:
                terms.append(" * ".join(parts))
        return " + ".join(terms) or "0"

    def element(self, load: Load) -> str:
        return f"{load.pointer}[{self.index(Index((*load.index.terms, *load.dynamic.terms)))}]"

    # -- statements --------------------------------------------------------------------------------

    def body(self, body: Sequence[Stmt]) -> None:
        """Statements in a scope of their own, without what nobody reads."""
        outer = dict(self.names)
        for statement in _needed(body):
            self.statement(statement)
        self.names = outer

    def statement(self, statement: Stmt) -> None:
        match statement:
            case For():
                self._for(statement)
            case If():
                self._if(statement)
            case Let():
                self._let(statement)
            case Assign():
                name = self.names[statement.name]
                found = self.expressions.cast(name.type, self.value(statement.value))
                self.write(f"{name.text} = {plain(found.text)};")
            case StoreElement():
                self._store(statement)
            case Call():
                if self.decided(statement.condition) is not False:
                    raise NoWords(str(statement.routine))
            case _:
                assert_never(statement)

    def _let(self, statement: Let) -> None:
        name, found = statement.name, self.value(statement.value)
        suffix = statement.dtype or ("i8" if found.type == "int" else found.type)
        text = plain(self.expressions.cast(suffix, found).text)
        if name in self.names:  # it is set again
            self.write(f"{name} = {text};")
            return
        self.names[name] = Typed(name, suffix)
        const = "" if name in self.changing else "const "
        self.write(f"{const}{C_TYPES[suffix]} {name} = {text};")

    @cached_property
    def changing(self) -> set[str]:
        """The names that are set more than once."""
        counts = Counter(s.name for s in walk(self.kernel.body) if isinstance(s, Let))
        again = {name for name, count in counts.items() if count > 1}
        return again | {s.name for s in walk(self.kernel.body) if isinstance(s, Assign)}

    def _store(self, statement: StoreElement) -> None:
        suffix = dict(self.kernel.pointers)[statement.target.pointer].rstrip("*")
        target = self.element(statement.target)
        if statement.combine is None:
            found = self.value(statement.value)
        else:
            old = Typed(target, suffix)
            found = self.combined(statement.combine.body, old, statement.value)
        self.write(f"{target} = {plain(self.expressions.cast(suffix, found).text)};")

    def _for(self, loop: For) -> None:
        name, extent = loop.variable, self._extent(loop)
        if loop.start == 0 and loop.step > 1 and extent.text.isdigit():
            if int(extent.text) <= loop.step:  # one block, or none
                self._once(loop, int(extent.text))
                return
        end = extent.text
        if extent.type == "i8" and isinstance(loop.extent, Code):
            end = f"{name}_end"
            self.write(f"const ptrdiff_t {end} = (ptrdiff_t){extent.text};")
        step = f"++{name}" if loop.step == 1 else f"{name} += {loop.step}"
        head = f"for (ptrdiff_t {name} = {self.size(loop.start).text}; {name} < {end}; {step})"
        with self.write.block(head):
            self.names[name] = Typed(name, "i8")
            self.body(loop.body)
            del self.names[name]

    def _extent(self, loop: For) -> Typed:
        if not isinstance(loop.extent, Code):
            return self.size(loop.extent)
        known = self.known(loop.extent)
        if known is None:
            return self.value(loop.extent)
        return Typed(number(known, "i8"), "int")

    def _once(self, loop: For, extent: int) -> None:
        """The body of a loop that has one step, if it has any."""
        if extent:
            outer, self.sizes = self.sizes, {**self.sizes, loop.variable: 0}
            with self.write.block(""):
                self.body(loop.body)
            self.sizes = outer

    def known(self, code: Code) -> int | None:
        """What an expression of sizes alone comes to; None for any other."""
        values = {
            name: self.sizes.get(size, size) if isinstance(size, str) else size
            for name, size in code.args
        }
        if not values or not all(isinstance(v, int) for v in values.values()):
            return None
        return int(eval(code.template.format(**values), {"__builtins__": {"min": min}}))

    def decided(self, condition: Code) -> bool | None:
        """What a condition of sizes alone comes to; None for any other."""
        known = self.known(condition)
        return None if known is None else bool(known)

    def _if(self, statement: If) -> None:
        decided = self.decided(statement.condition)
        if decided is not None:
            chosen = statement.then if decided else statement.otherwise
            if not any(isinstance(inner, Let) for inner in chosen):
                self.body(chosen)
                return
            with self.write.block(""):
                self.body(chosen)
            return
        with self.write.block(f"if ({plain(self.value(statement.condition).text)})"):
            self.body(statement.then)
        if statement.otherwise:
            with self.write.block("else"):
                self.body(statement.otherwise)


def plain(text: str) -> str:
    """The text without brackets around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and at < len(text) - 1:
            return text
    return text[1:-1]


def _needed(body: Sequence[Stmt]) -> list[Stmt]:
    """The statements without names that nobody reads, of which C compilers warn."""
    return _kept(body)[0]


def _kept(body: Sequence[Stmt]) -> tuple[list[Stmt], set[str]]:
    """Those statements, and the names that they read of what surrounds them."""
    kept: list[Stmt] = []
    read: set[str] = set()
    for statement in reversed(body):
        if isinstance(statement, Let):
            if statement.name not in read:
                continue
            read.discard(statement.name)
        kept.append(statement)
        read.update(_read(statement))
    return kept[::-1], read


def _read(statement: Stmt) -> Iterator[str]:
    """The names that a statement reads of what surrounds it."""
    for body in bodies(statement):
        yield from _kept(body)[1]
    match statement:
        case Let() | Assign():
            yield from _read_by(statement.value)
        case StoreElement():
            yield from _read_by(statement.value)
            yield from _read_by(statement.target)
        case For():
            yield from (s for s in (statement.extent, statement.start) if isinstance(s, str))
            if isinstance(statement.extent, Code):
                yield from _template_names(statement.extent)
        case If() | Call():
            yield from _template_names(statement.condition)
        case _:
            assert_never(statement)


def _read_by(value: Scalar | Load) -> Iterator[str]:
    yield from names_in(value)
    if isinstance(value, Load):
        yield from names_in_index(value.index)
    if isinstance(value, Code):
        yield from _template_names(value)


def _template_names(code: Code) -> Iterator[str]:
    """The names in an expression, those of its text as well."""
    yield from re.findall(r"[A-Za-z_]\w*", code.template)
    yield from (str(size) for _, size in code.args)


def kernel_text(
    kernel: Kernel, sizes: Sequence[int], expressions: Expressions, apart: bool = True
) -> str:
    """A kernel as a C function called {name}; raises NoWords.

    Its pointers are `restrict` if they are to places `apart` in all calls.
    """
    known = dict(zip(kernel.sizes, sizes, strict=True))
    printer = _Printer(kernel, known, expressions)
    written = {load.pointer for load, stores in accesses(kernel.body) if stores}
    restrict = "restrict " if apart else ""
    parameters = ", ".join(
        f"{'' if name in written else 'const '}{C_TYPES[code.rstrip('*')]} *{restrict}{name}"
        for name, code in kernel.pointers
    )
    with printer.write.block(f"static void {{name}}({parameters})"):
        printer.body(kernel.body)
    text = _without_unread(printer.write.text)
    unread = [name for name, _ in kernel.pointers if len(re.findall(rf"\b{name}\b", text)) == 1]
    head, _, rest = text.partition("{\n")
    return "".join([head, "{\n", *(f"    (void){name};\n" for name in unread), rest])


def _without_unread(text: str) -> str:
    """The text without values that nothing reads, as no integer is asked whether it is NaN."""
    while True:
        counts = Counter(re.findall(r"[A-Za-z_]\w*", text))
        found = [m for m in re.finditer(_VALUE, text) if counts[m[1]] == 1]
        if not found:
            return text
        for match in reversed(found):
            text = text[: match.start()] + text[match.end() :]
