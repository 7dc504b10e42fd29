"""The file and the header that functions and arrays make together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.graph.dims import evaluate
from staticflow.graph.node import Node
from staticflow.interchange.c_out.helpers import CONTRACTION, HELPERS, MACROS, helper_texts
from staticflow.interchange.c_out.words import C_TYPES, comment, identifier
from staticflow.interchange.c_out.writer import CWriter

_OPENS = ("#ifdef __cplusplus", 'extern "C" {', "#endif")
_CLOSES = ("#ifdef __cplusplus", "}", "#endif")
_SCRATCH = (
    "/* Bytes of scratch memory that a call needs, aligned as malloc aligns. Calls that run at the",
    "   same time need their own; what it holds between calls does not count. */",
)


@dataclass(frozen=True)
class Argument:
    """An array that a function takes: what it is called in C and in the graph, and its shape."""

    name: str
    label: str
    suffix: str
    shape: tuple[int, ...]
    reads: bool
    symbols: str  # the shape as it was declared

    @classmethod
    def of(
        cls, node: Node, name: str, label: str, sizes: Mapping[str, int], reads: bool
    ) -> Argument:
        """The argument for an input or output."""
        shape = tuple(evaluate(n, sizes) for n in node.shape)
        return cls(name, label, SUFFIX[node.dtype], shape, reads, ", ".join(map(str, node.shape)))

    @property
    def count(self) -> int:
        return prod(self.shape)

    def declared(self, qualifier: str = "") -> str:
        const = "const " if self.reads else ""
        return f"{const}{C_TYPES[self.suffix]} *{qualifier}{self.name}"

    @property
    def described(self) -> str:
        """The line of the header that tells what it is."""
        shape = "".join(f"[{n}]" for n in self.shape) or "[1]"
        declared = f" ({self.symbols})" if any(c.isalpha() for c in self.symbols) else ""
        role = "in " if self.reads else "out"
        label = "" if self.label == self.name else f", {self.label}"
        return f"{role}  {C_TYPES[self.suffix]} {self.name}{shape}{declared}{label}"


@dataclass(frozen=True)
class Entry:
    """A function of the file: what it takes, and its lines."""

    name: str
    what: str
    arguments: Sequence[Argument]
    declarations: Sequence[str]
    body: str
    scratch: int

    def parameters(self, qualifier: str = "") -> str:
        return ", ".join([*(a.declared(qualifier) for a in self.arguments), "void *scratch"])


@dataclass
class Module:
    """What a file holds; names are unique in all of it."""

    name: str
    notes: Sequence[str] = ()
    entries: list[Entry] = field(default_factory=list)
    arrays: dict[str, str] = field(default_factory=dict)  # their text by their name
    texts: dict[str, str] = field(default_factory=dict)  # functions: text without the name, name
    routines: dict[str, None] = field(default_factory=dict)  # their texts, in order
    functions: set[str] = field(default_factory=set)  # helpers and formulas in use
    arguments: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: set(HELPERS))

    def function(self, text: str, wish: str) -> str:
        """The name of a function, which is written once for all equal ones."""
        if text not in self.texts:
            self.texts[text] = identifier(f"{self.name}_{wish}", self.taken)
        return self.texts[text]

    def argument(self, name: str) -> str:
        """What an input or an output is called, in every function."""
        if name not in self.arguments:
            self.arguments[name] = identifier(name, self.taken)
        return self.arguments[name]

    def array_name(self, name: str) -> str:
        """What a new array is called."""
        return identifier(f"{self.name}_{name}", self.taken)

    @property
    def _macro(self) -> str:
        return f"{self.name.upper()}_SCRATCH_BYTES"

    @property
    def scratch(self) -> int:
        return max(entry.scratch for entry in self.entries)

    def header(self) -> str:
        """The text of the header."""
        guard = f"{self.name.upper()}_H"
        write = CWriter()
        for line in (f"#ifndef {guard}", f"#define {guard}", ""):
            write(line)
        for note in self.notes:
            write.comment(note)
        for line in ("", "#include <stdint.h>", "", *_OPENS, "", *_SCRATCH):
            write(line)
        write(f"#define {self._macro} {max(1, self.scratch)}")
        for entry in self.entries:
            write("")
            write(f"/* {comment(entry.what)}")
            for argument in entry.arguments:
                write(f"     {comment(argument.described)}")
            write("   Arrays are row-major, and must not overlap. */")
            write(f"void {entry.name}({entry.parameters()});")
        for line in ("", *_CLOSES, "", "#endif"):
            write(line)
        return write.text

    def source(self, header: str) -> str:
        """The text of the file, which includes a header of this name."""
        bodies = [text.replace("{name}", name, 1) for text, name in self.texts.items()]
        helpers = helper_texts(self.functions)
        rest = "\n".join([*helpers, *self.routines, *bodies, *(e.body for e in self.entries)])
        includes = [f'#include "{header}"', ""]
        includes += ["#include <math.h>", "#include <stddef.h>", "#include <string.h>"]
        parts = [
            _notes(self.notes),
            "\n".join(includes),
            CONTRACTION,
            *([MACROS] if "SF_FMA_" in rest else []),
            *helpers,
            *self.routines,
            *self.arrays.values(),
            *bodies,
            *map(_definition, self.entries),
        ]
        return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def _notes(notes: Sequence[str]) -> str:
    write = CWriter()
    for note in notes:
        write.comment(note)
    return write.text


def _definition(entry: Entry) -> str:
    write = CWriter()
    words = set(re.findall(r"\w+", "\n".join([*entry.declarations, entry.body])))
    with write.block(f"void {entry.name}({entry.parameters('restrict ')})"):
        for name in (*(a.name for a in entry.arguments), "scratch"):
            if name not in words:
                write(f"(void){name};")
        for line in (*entry.declarations, *entry.body.splitlines()):
            write(line)
    return write.text
