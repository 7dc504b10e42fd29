"""Lines of C while they are written: indented, and folded where they are too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from staticflow.session.interchange.c_out.words import comment

WIDTH = 100


class CWriter:
    """Lines of C with an indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def __call__(self, line: str) -> None:
        self.lines += folded("    " * self.depth + line if line else "")

    def comment(self, text: str) -> None:
        """Write any text as a comment."""
        self(f"/* {comment(text)} */")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What stands in braces behind a head."""
        self(f"{head} {{")
        self.depth += 1
        yield
        self.depth -= 1
        self("}")

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def folded(line: str) -> list[str]:
    """A line as lines that are not too long, where there are spaces to break it at."""
    indent = " " * (len(line) - len(line.lstrip()) + 8)
    lines = []
    while len(line) > WIDTH:
        at = line.rfind(" ", len(indent) + 1, WIDTH)
        if at < 0:
            break
        lines.append(line[:at])
        line = indent + line[at:].lstrip()
    return [*lines, line]
