"""The README's examples run as they stand, one after the other as a reader would type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


# What it quotes of `session.source`: a block with a product and its epilogue.
QUOTE = re.compile(r"^```\n((?:(?!```).)*= epilogue\(.*?)^```", re.MULTILINE | re.DOTALL)


def run(script: Path) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=script.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_hashes(text: str) -> str:
    return re.sub(r"_[0-9a-f]{8}\b", "", text)


def test_the_python_examples_run(tmp_path: Path) -> None:
    """And the session's source is as quoted, and runs from its file."""
    script, printed = tmp_path / "readme.py", tmp_path / "step.py"
    script.write_text("\n".join([*PYTHON, "print(session.source)"]), encoding="utf-8")
    source = run(script)
    (quoted,) = QUOTE.findall(README)
    for piece in without_hashes(quoted).split("...\n"):
        assert piece in without_hashes(source)
    printed.write_text(source, encoding="utf-8")
    assert "loss" in run(printed)


def test_the_links_lead_somewhere() -> None:
    for path in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / path.split("#")[0]).exists(), path
