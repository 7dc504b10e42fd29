"""The file and the header that functions and arrays make together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.graph.dims import evaluate
from staticflow.graph.node import Node
from staticflow.native.memory import LINE, Array
from staticflow.native.routines.table import ITEM_BYTES
from staticflow.session.interchange.c_out.arrays import array_text
from staticflow.session.interchange.c_out.helpers import CONTRACTION, HELPERS, MACROS, helper_texts
from staticflow.session.interchange.c_out.words import C_TYPES, comment, identifier
from staticflow.session.interchange.c_out.writer import CWriter

_OPENS = ("#ifdef __cplusplus", 'extern "C" {', "#endif")
_CLOSES = ("#ifdef __cplusplus", "}", "#endif")
_SCRATCH = (
    "/* Bytes of scratch memory that a call needs, aligned as malloc aligns. Calls that run at the",
    "   same time need their own; what it holds between calls does not count. */",
)

_WEIGHTS = (
    "/* Bytes of the file of weights, which functions are given in memory, aligned as malloc",
    "   aligns; numbers are in the order of bytes of the machine that wrote them. */",
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
class Field:
    """A part of what a step hands to the next."""

    name: str
    suffix: str
    shape: tuple[int, ...]
    where: str  # the line that it comes from

    @property
    def bytes(self) -> int:
        return prod(self.shape) * ITEM_BYTES.get(self.suffix, 1)

    @property
    def declared(self) -> str:
        return f"{C_TYPES[self.suffix]} {self.name}[{max(1, prod(self.shape))}];"


@dataclass(frozen=True)
class Entry:
    """A function of the file: what it takes, and its lines.

    A "step" takes the state as well, a "reader" without changing it, a "reset" nothing else.
    """

    name: str
    what: str
    arguments: Sequence[Argument]
    declarations: Sequence[str]
    body: str
    scratch: int
    role: str = "predict"

    def parameters(self, state: str, qualifier: str = "", weights: bool = False) -> str:
        """The parameters, `state` being the type of the state."""
        const = "const " if self.role == "reader" else ""
        first = [] if self.role == "predict" else [f"{const}{state} *state"]
        last = [*(["const void *weights"] if weights else []),
                *([] if self.role == "reset" else ["void *scratch"])]  # fmt: skip
        return ", ".join([*first, *(a.declared(qualifier) for a in self.arguments), *last])

    def names(self, weights: bool) -> list[str]:
        """What the parameters are called."""
        first = [] if self.role == "predict" else ["state"]
        last = [*(["weights"] if weights else []), *([] if self.role == "reset" else ["scratch"])]
        return [*first, *(a.name for a in self.arguments), *last]


@dataclass
class Module:
    """What a file holds; names are unique in all of it."""

    name: str
    notes: Sequence[str] = ()
    entries: list[Entry] = field(default_factory=list)
    blob: bytearray | None = None  # what a file of weights holds, if there is one
    arrays: dict[str, str] = field(default_factory=dict)  # their text by their name
    places: dict[str, int] = field(default_factory=dict)  # where they are in the file of weights
    texts: dict[str, str] = field(default_factory=dict)  # functions: text without the name, name
    routines: dict[str, None] = field(default_factory=dict)  # their texts, in order
    functions: set[str] = field(default_factory=set)  # helpers and formulas in use
    fields: Sequence[Field] = ()  # of the state, if there are steps
    constants: dict[Node, str] = field(default_factory=dict)  # what arrays of leaves are called
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

    def array_name(self, node: Node) -> str:
        """What the array of a parameter, a state or a constant is called."""
        if node not in self.constants:
            self.constants[node] = identifier(f"{self.name}_{node.name}", self.taken)
        return self.constants[node]

    def enter_array(self, name: str, values: Array, suffix: str, what: str) -> list[str]:
        """Enter an array; returns the lines by which a function finds it in the file of weights."""
        if self.blob is None:
            self.arrays[name] = array_text(name, values, suffix, what)
            return []
        if name not in self.places:
            self.blob += bytes(-len(self.blob) % LINE)
            self.places[name] = len(self.blob)
            self.blob += np.ascontiguousarray(values).tobytes()
        kind, at = C_TYPES[suffix], self.places[name]
        place = f"(const void *)((const unsigned char *)weights + {at})"
        return [f"const {kind} *const {name} = {place};  /* {comment(what)} */"]

    @property
    def state(self) -> str:
        """The type of what steps hand on."""
        return f"{self.name}_state"

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
        if self.blob is not None:
            write("")
            for line in _WEIGHTS:
                write(line)
            write(f"#define {self.name.upper()}_WEIGHTS_BYTES {max(1, len(self.blob))}")
        self._write_state(write)
        for entry in self.entries:
            write("")
            if entry.arguments:
                write(f"/* {comment(entry.what)}")
                for argument in entry.arguments:
                    write(f"     {comment(argument.described)}")
                write("   Arrays are row-major, and must not overlap. */")
            else:
                write.comment(entry.what)
            parameters = entry.parameters(self.state, weights=self.blob is not None)
            write(f"void {entry.name}({parameters});")
        for line in ("", *_CLOSES, "", "#endif"):
            write(line)
        return write.text

    def _write_state(self, write: CWriter) -> None:
        if not self.fields:
            return
        write("")
        write.comment("What a step hands to the next.")
        write("typedef struct {")
        for each in self.fields:
            shape = "".join(f"[{n}]" for n in each.shape)
            write(f"    {each.declared} /* {shape} {comment(each.where)} */")
        write(f"}} {self.state};")

    def source(self, header: str) -> str:
        """The text of the file, which includes a header of this name."""
        bodies = [text.replace("{name}", name, 1) for text, name in self.texts.items()]
        called = set(re.findall(r"\w+", "\n".join([*self.routines, *bodies])))
        used = {name for name in self.functions if {name, f"sf_{name}"} & called}
        helpers = helper_texts(used)
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
            *(_definition(entry, self.state, self.blob is not None) for entry in self.entries),
        ]
        return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def _notes(notes: Sequence[str]) -> str:
    write = CWriter()
    for note in notes:
        write.comment(note)
    return write.text


def _definition(entry: Entry, state: str, weights: bool) -> str:
    write = CWriter()
    parameters = entry.parameters(state, "restrict ", weights)
    words = set(re.findall(r"\w+", "\n".join([*entry.declarations, entry.body])))
    with write.block(f"void {entry.name}({parameters})"):
        for name in entry.names(weights):
            if name not in words:
                write(f"(void){name};")
        for line in (*entry.declarations, *entry.body.splitlines()):
            write(line)
    return write.text
