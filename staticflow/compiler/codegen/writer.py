"""Lines of Python source while they are written: indented, and folded where they are too long."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 120  # columns of a line of source


class SourceWriter:
    """Lines of source with an indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self._comments: set[int] = set()  # which lines are one

    def __call__(self, line: str) -> None:
        self.lines += folded("    " * self.depth + line if line else "")

    def comment(self, text: str) -> None:
        """Write any text, which must not end the line; `wrapped` makes lines of it."""
        self._comments.add(len(self.lines))
        self.lines.append(f"{'    ' * self.depth}# {_plain(text)}")

    def noted(self, line: str, note: str) -> None:
        """Write a line with a comment behind it, or above it where both are too long."""
        plain = f"{line}  # {_plain(note)}"
        if 4 * self.depth + len(plain) <= WIDTH:
            self.lines.append("    " * self.depth + plain)
        else:
            self.comment(note)
            self(line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self(head)
        self.depth += 1
        yield
        self.depth -= 1

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def code(self) -> str:
        """The text without its comments: the same wherever the user's lines stand."""
        lines = enumerate(self.lines)
        return "".join(f"{line}\n" for number, line in lines if number not in self._comments)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def wrapped(source: str) -> str:
    """The source with its comments in lines that are not too long.

    It comes last, when the comments show the sizes that they are read with.
    """
    return re.sub(r"^( *)# (.*)\n", _wrapped_comment, source, flags=re.MULTILINE)


def _wrapped_comment(found: re.Match[str]) -> str:
    indent, text = found.groups()
    lines = textwrap.wrap(text, WIDTH - len(indent) - 2, subsequent_indent="    ")
    return "".join(f"{indent}# {line}\n" for line in lines)


def folded(line: str) -> list[str]:
    """A line of source without a comment, as lines that are not too long if brackets allow that."""
    indent = " " * (len(line) - len(line.lstrip()) + 8)
    lines: list[str] = []
    while len(line) > WIDTH:
        at = _break(line, within=bool(lines))
        if at is None:
            break
        lines.append(line[:at].rstrip())
        line = indent + line[at:].lstrip()
    return [*lines, line]


def _break(line: str, within: bool) -> int | None:
    """The last place for a break in a line: behind a space within brackets, not within a string.

    A line that goes on is `within` brackets from its start.
    """
    depth, quote, escaped, found = int(within), "", False, None
    for at, character in enumerate(line[:WIDTH]):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        elif character == " ":
            found = at + 1 if depth > 0 and line[:at].strip() else found
        else:
            depth += (character in "([{") - (character in ")]}")
    return found
