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
from collections.abc import Iterator
from contextlib import contextmanager

from staticflow.loops import Assign, Call, For, If, Kernel, Let, Load, Stmt, Store

INTEGERS = ("i4", "i8", "b1")
LONGEST_NAME = 64  # of what a name in source is made of, which may be of any length


class Writer:
    """Lines of source with an indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def __call__(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def comment(self, text: str) -> None:
        """Write any text, which must not end the line."""
        self("# " + "".join(c if c.isprintable() else "?" for c in text))

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self(head)
        self.depth += 1
        yield
        self.depth -= 1

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def kernel_source(kernel: Kernel, name: str) -> str:
    """A kernel as a Python function for Numba."""
    write = Writer()
    arguments = [p for p, _ in kernel.pointers] + list(kernel.sizes)
    with write.block(f"def {name}({', '.join(arguments)}):"):
        for statement in kernel.body:
            _statement(write, statement)
        if not kernel.body:
            write("pass")
    return write.text


def _statement(write: Writer, statement: Stmt) -> None:
    if isinstance(statement, For):
        with write.block(f"for {statement.variable} in {statement.over}({statement.extent}):"):
            for inner in statement.body:
                _statement(write, inner)
    elif isinstance(statement, If):
        ways = ((f"if {statement.condition}:", statement.then), ("else:", statement.otherwise))
        for head, body in ways:
            with write.block(head):
                for inner in body:
                    _statement(write, inner)
    elif isinstance(statement, Let):
        text = str(statement.value)
        cast = statement.dtype in INTEGERS and not isinstance(statement.value, Load)
        write(
            f"{statement.name} = {statement.dtype}({text})"
            if cast
            else f"{statement.name} = {text}"
        )
    elif isinstance(statement, Assign):
        write(f"{statement.name} = {statement.value}")
    elif isinstance(statement, Call):
        with write.block(f"if {statement.condition}:"):
            write(statement.text)
    else:
        write(f"{statement.target} = {_stored(statement)}")


def _stored(store: Store) -> str:
    if store.combine is None:
        return store.value
    return store.combine.format(acc=str(store.target), x=store.value)


def kernel_name(kernel: Kernel) -> str:
    """A name for a kernel that tells what is in it; equal kernels have equal names."""
    text = kernel_source(kernel, "kernel") + repr(kernel.pointers)
    return f"{identifier(kernel.label)}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def identifier(text: str) -> str:
    """The text as a name in Python source, whatever it is: ASCII, and of bounded length."""
    name = re.sub(r"\W+", "_", text[:LONGEST_NAME], flags=re.ASCII).strip("_")
    return name if name and not name[0].isdigit() else f"v{name}"
