"""`staticflow bench`: the repository's benchmarks, which are not part of an installation."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from staticflow.cli.errors import CommandError


def run(arguments: Sequence[str]) -> int:
    """Hand the arguments to the benchmarks of the checkout that we run from or stand in."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package, Path.cwd()):
        if (folder / "benchmarks" / "cli.py").exists():
            sys.path.insert(0, str(folder))
            code: int = importlib.import_module("benchmarks.cli").main(list(arguments))
            return code
    raise CommandError("the benchmarks are in the repository: run this in a checkout of it")
