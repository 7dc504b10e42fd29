"""What every part of the C text is made of: types, numbers and names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

C_TYPES = {"f4": "float", "f8": "double", "i4": "int32_t", "i8": "int64_t", "b1": "uint8_t"}
FLOATS, INTEGERS = ("f4", "f8"), ("i4", "i8")
# What a name in C must not be: words of the language, and names that the text itself uses.
_TAKEN = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long main register restrict return short signed sizeof static struct switch "
    "typedef union unsigned void volatile while scratch state weights".split()
)
LONGEST_NAME = 48
_INT32_MIN, _INT64_MIN = -(1 << 31), -(1 << 63)


def number(value: Any, suffix: str) -> str:
    """A typed number as C: the shortest decimal that is read back as the same bits."""
    if suffix in FLOATS:
        return _float(float(value), suffix)
    whole = int(value)
    if suffix == "i4":
        return "INT32_MIN" if whole == _INT32_MIN else str(whole)
    if suffix == "i8" and not _INT32_MIN < whole < -_INT32_MIN:
        return "INT64_MIN" if whole == _INT64_MIN else f"INT64_C({whole})"
    return str(whole)


def _float(value: float, suffix: str) -> str:
    end = "f" if suffix == "f4" else ""
    if value != value:
        return "NAN" if suffix == "f4" else "(double)NAN"
    if value in (np.inf, -np.inf):
        text = "INFINITY" if suffix == "f4" else "(double)INFINITY"
        return text if value > 0 else f"(-{text})"
    text = str(np.float32(value)) if suffix == "f4" else repr(value)
    if "." not in text and "e" not in text:
        text += ".0"
    return f"{text}{end}"


def identifier(text: str, taken: set[str] | None = None) -> str:
    """The text as a name in C, ASCII and of bounded length, and none of those `taken`.

    The name is added to those.
    """
    name = re.sub(r"\W+", "_", text[:LONGEST_NAME], flags=re.ASCII).strip("_")
    if not name or name[0].isdigit():
        name = f"v{name}"
    used = set() if taken is None else taken
    found, count = name, 1
    while found in used or found in _TAKEN:
        count += 1
        found = f"{name}_{count}"
    used.add(found)
    return found


def comment(text: str) -> str:
    """Any text within a comment of C, which it cannot end: printable ASCII."""
    plain = "".join(c if c.isprintable() and c.isascii() else "?" for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").rstrip("\\")
