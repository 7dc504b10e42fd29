"""The errors of staticflow: each says what is wrong, where, what it got and what to do.

A message has up to four lines, in this order:

    matmul: inner sizes differ
      at model.py:12: h = x @ w
      got: float32[batch, 784] @ float32[10, 784]
      do: transpose the second operand with .T

`where` is the user's line: the innermost frame outside staticflow itself.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NoReturn

_PACKAGE = Path(__file__).resolve().parent
# The packages `ops` and `models` lie beside `staticflow` in a checkout and below it when installed.
_OWN_FOLDERS = tuple(str((_PACKAGE / part).resolve()) + os.sep for part in (".", "ops", "models"))

# Context managers of ours are entered from there.
_CONTEXTS = str(Path(contextlib.__file__).resolve())

# The command line declares graphs as a user does: its lines are worth naming.
_COMMANDS = str(_PACKAGE / "cli") + os.sep


class GraphError(ValueError):
    """The graph, or a call on it, is not well formed."""


class ShapeError(ValueError):
    """Shapes do not fit."""


class DTypeError(TypeError):
    """Element types do not fit."""


class NumericsError(FloatingPointError):
    """A NaN or Inf appeared; the message names the node where it first did."""


@dataclass(frozen=True)
class Where:
    """A line of the user's source; of one that a saved file names, `here` is false: it is not read,
    as it may be another file here, or none.
    """

    file: str
    line: int
    here: bool = True

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip() if self.here else ""
        place = f"{Path(self.file).name}:{self.line}"
        return f"{place}: {text}" if text else place


_attributed: ContextVar[Where | None] = ContextVar("attributed", default=None)


@contextlib.contextmanager
def attributed(where: Where) -> Iterator[None]:
    """Let nodes made inside be of the line `where`: what a pass derives belongs to its origin."""
    token = _attributed.set(where)
    try:
        yield
    finally:
        _attributed.reset(token)


def user_line() -> Where:
    """Return the innermost source line that is not staticflow's own."""
    given = _attributed.get()
    if given is not None:
        return given
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_own(_file_of(frame)):
        frame = frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno)


def _file_of(frame: FrameType) -> str:
    """The file of a frame's code; of what a dataclass generates, that of its module."""
    name = frame.f_code.co_filename
    return frame.f_globals.get("__file__") or name if name == "<string>" else name


@cache
def _is_own(filename: str) -> bool:
    path = str(Path(filename).resolve())
    ours = path.startswith(_OWN_FOLDERS) and not path.startswith(_COMMANDS)
    return ours or path == _CONTEXTS


def message(what: str, got: str = "", do: str = "", where: Where | None = None) -> str:
    """Lay out the parts of an error message; `where` defaults to the user's current line."""
    lines = [what, f"  at {where or user_line()}"]
    if got:
        lines.append(f"  got: {got}")
    if do:
        lines.append(f"  do: {do}")
    return "\n".join(lines)


def fail(
    kind: type[Exception], what: str, got: str = "", do: str = "", where: Where | None = None
) -> NoReturn:
    """Raise `kind` with a laid-out message."""
    raise kind(message(what, got, do, where))
