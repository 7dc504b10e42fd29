"""A document and what its code makes: a block of Python, then the value of its last expression.

    ```python
    sf.derive(a @ X @ b, X)
    ```
    <!-- made by the code above -->
    $$ ... $$
    <!-- end -->

Blocks are run in order, with the same names. What stands between the marks is written anew, so that
no formula, number or picture of a document is typed by hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from staticflow.session.derivation.steps import Derivation, Step
from staticflow.session.drawing.draw import Drawing
from tests.documents.chinese import in_chinese
from tests.support.places import ROOT

ENGLISH, CHINESE = (
    ROOT / "docs" / name for name in ("matrix-calculus.md", "zh/matrix-calculus.md")
)
DOCUMENTS = (ENGLISH, CHINESE)
PICTURES = ROOT / "docs" / "pictures"  # the same in both
BEGIN, END = "<!-- made by the code above -->", "<!-- end -->"
MADE = re.compile(rf"\n*{re.escape(BEGIN)}\n.*?{re.escape(END)}\n", re.S)
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.M | re.S)
NAMED = re.compile(r"\\text\{((?:[^{}\\]|\\.)*)\}")


def build(path: Path) -> dict[Path, str]:
    """The document as its code makes it, and its pictures, by their files."""
    text = MADE.sub("\n", path.read_text(encoding="utf-8"))
    maker = _Maker(path)
    done, last = "", 0
    for match in BLOCK.finditer(text):
        done += text[last : match.end()]
        made = maker.run(match[1])
        done += f"\n{BEGIN}\n\n{made}\n\n{END}\n" if made else ""
        last = match.end()
    return {path: done + text[last:], **maker.pictures}


def blocks(path: Path) -> list[str]:
    """The code of a document."""
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def written(path: Path) -> str:
    """What people have written of a document: neither code nor what it made."""
    return BLOCK.sub("", MADE.sub("\n", path.read_text(encoding="utf-8")))


class _Maker:
    """Runs the code of one document."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pictures: dict[Path, str] = {}
        self._names: dict[str, Any] = {}
        self._count = 0

    def run(self, code: str) -> str:
        """What a block makes. Blocks are numbered: pictures name their lines, as `block 3:1`."""
        self._count += 1
        place = f"block {self._count}"
        tree = ast.parse(code, place)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, place, "exec"), self._names)
        if last is None:
            return ""
        assert isinstance(last, ast.Expr)
        value = eval(compile(ast.Expression(last.value), place, "eval"), self._names)
        return "\n\n".join(self._shown(value))

    def _shown(self, value: Any) -> Iterator[str]:
        if isinstance(value, list) and value and all(isinstance(x, Step) for x in value):
            value = Derivation(tuple(value))
        if isinstance(value, Derivation):
            yield f"$$\n{self._spoken(value.latex())}\n$$"
        elif isinstance(value, Drawing):
            name = f"{self.path.stem}-{len(self.pictures) + 1}.svg"
            self.pictures[PICTURES / name] = str(value)
            place = "../pictures" if self.path == CHINESE else "pictures"
            yield f"![{name}]({place}/{name})"
        elif isinstance(value, list | tuple):
            for each in value:
                yield from self._shown(each)
        else:
            with np.printoptions(precision=4, suppress=True):
                yield f"```\n{str(value).strip()}\n```"

    def _spoken(self, latex: str) -> str:
        """The rules by their names in the document's language."""
        if self.path != CHINESE:
            return latex
        return NAMED.sub(lambda match: rf"\text{{{in_chinese(match[1])}}}", latex)
