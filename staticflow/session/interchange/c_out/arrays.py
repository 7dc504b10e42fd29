"""Const arrays as C text."""

from __future__ import annotations

import textwrap

from staticflow.native.memory import Array
from staticflow.session.interchange.c_out.words import C_TYPES, number
from staticflow.session.interchange.c_out.writer import WIDTH


def array_text(name: str, values: Array, suffix: str, what: str) -> str:
    """A definition with all values, row by row; one 0 stands where there are none."""
    flat = values.reshape(-1)
    numbers = [number(value, suffix) for value in flat.tolist()] or ["0"]
    lines = textwrap.wrap(", ".join(numbers), WIDTH - 4, break_long_words=False)
    body = "\n".join(f"    {line}" for line in lines)
    head = f"static const {C_TYPES[suffix]} {name}[{max(1, flat.size)}] = {{ /* {what} */"
    return f"{head}\n{body}\n}};\n"
