"""Print kernels as Numba source: functions of raw pointers and sizes.

    def kernel(p0, p1, n0):
        for i0 in range(n0):
            v0 = (p0[i0] + f4(1.0))
            p1[i0] = v0

A kernel's name comes from what is in it, so that equal kernels are compiled once.
"""

from __future__ import annotations

import hashlib
import re
from typing import assert_never

from staticflow.compiler.codegen.writer import SourceWriter
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
)

INTEGERS = ("i4", "i8", "b1")
LONGEST_NAME = 64  # of what a name in source is made of, which may be of any length


def kernel_source(kernel: Kernel, name: str) -> str:
    """A kernel as a Python function for Numba."""
    write = SourceWriter()
    arguments = [p for p, _ in kernel.pointers] + list(kernel.sizes)
    with write.block(f"def {name}({', '.join(arguments)}):"):
        for statement in kernel.body:
            _statement(write, statement)
        if not kernel.body:
            write("pass")
    return write.text


def _statement(write: SourceWriter, statement: Stmt) -> None:
    match statement:
        case For():
            head = f"for {statement.variable} in {statement.over}({_range(statement)}):"
            _block(write, head, statement.body)
        case If():
            _block(write, f"if {scalar_text(statement.condition)}:", statement.then)
            if statement.otherwise:
                _block(write, "else:", statement.otherwise)
        case Let():
            text = scalar_text(statement.value)
            cast = statement.dtype in INTEGERS and not isinstance(statement.value, Load)
            write(f"{statement.name} = {f'{statement.dtype}({text})' if cast else text}")
        case Assign():
            write(f"{statement.name} = {scalar_text(statement.value)}")
        case Call():
            with write.block(f"if {scalar_text(statement.condition)}:"):
                write(f"{statement.routine}({', '.join(map(str, statement.args))})")
        case StoreElement():
            write(f"{scalar_text(statement.target)} = {_stored(statement)}")
        case _:
            assert_never(statement)


def _block(write: SourceWriter, head: str, body: tuple[Stmt, ...]) -> None:
    with write.block(head):
        for inner in body:
            _statement(write, inner)


def _range(loop: For) -> str:
    extent = scalar_text(loop.extent) if isinstance(loop.extent, Code) else str(loop.extent)
    if loop.step != 1:
        return f"{loop.start}, {extent}, {loop.step}"
    return extent if loop.start == 0 else f"{loop.start}, {extent}"


def _stored(store: StoreElement) -> str:
    if store.combine is None:
        return scalar_text(store.value)
    acc, x = scalar_text(store.target), scalar_text(store.value)
    return store.combine.body.format(acc=acc, x=x)


def scalar_text(value: Scalar | Load) -> str:
    """An expression of one element, as Python."""
    match value:
        case str():
            return value
        case Literal():
            return f"{value.dtype}({value.value!r})"
        case SizeValue():
            return f"{value.dtype}({value.size})"
        case Position():
            beside = "" if value.offset is None else f" + {value.offset}"
            return f"{value.dtype}({_index_text(value.index)}{beside})"
        case Apply():
            holes = dict(zip(value.row.inputs, map(scalar_text, value.args), strict=True))
            return value.row.body.format(**holes, t=value.dtype, r=value.result)
        case Draw():
            holes = dict(zip(value.letters, map(scalar_text, value.args), strict=True))
            flat = scalar_text(value.position)
            return value.body.format(**holes, t=value.dtype, flat=flat, stream=value.stream)
        case WrapIndex():
            return f"wrap_index(i8({scalar_text(value.position)}), {value.extent})"
        case Initial():
            return value.body.replace("{t}", value.dtype)
        case Combined():
            return value.combine.body.format(acc=value.accumulator, x=scalar_text(value.value))
        case Code():
            return value.template.format(**dict(value.args))
        case Local():
            return f"local_{value.dtype}()"
        case Room():
            return f"{value.function}({value.pointer}, {value.rows})"
        case Load():
            terms = (*value.index.terms, *value.dynamic.terms)
            return f"{value.pointer}[{_index_text(Index(terms))}]"
    assert_never(value)


def _index_text(index: Index) -> str:
    return " + ".join(" * ".join(map(str, (v, *s))) for v, s in index.terms) or "0"


def kernel_name(kernel: Kernel) -> str:
    """A name for a kernel that tells what is in it; equal kernels have equal names."""
    text = kernel_source(kernel, "kernel") + repr(kernel.pointers)
    return f"{identifier(kernel.label)}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def identifier(text: str) -> str:
    """The text as a name in Python source, whatever it is: ASCII, and of bounded length."""
    name = re.sub(r"\W+", "_", text[:LONGEST_NAME], flags=re.ASCII).strip("_")
    return name if name and not name[0].isdigit() else f"v{name}"
