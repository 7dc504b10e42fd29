"""`staticflow bench`: the repository's benchmarks, which are not part of an installation.

staticflow bench digits | mnist | curves    real results, each against its aim
staticflow bench fnn | rnn | ...            time a step against other frameworks
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from staticflow.cli.errors import CommandError

_REAL = ("digits", "mnist", "curves")


def run(arguments: Sequence[str]) -> int:
    """Hand the arguments to the benchmarks of the checkout that we run from or stand in."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
    package = Path(__file__).resolve().parents[3]
    for folder in (package, Path.cwd()):
        if (folder / "benchmarks" / "cli.py").exists():
            sys.path.insert(0, str(folder))
            return _hand_over(list(arguments))
    raise CommandError("the benchmarks are in the repository: run this in a checkout of it")


def _hand_over(arguments: list[str]) -> int:
    name = "benchmarks.cli"
    if arguments and arguments[0] in _REAL:
        name = f"benchmarks.real_{arguments.pop(0)}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("benchmarks", "staticflow"):
            raise
        raise CommandError(
            f"{name} needs {error.name}: pip install -e '.[bench,torch]' in the checkout"
        ) from error
    code: int = module.main(arguments)
    return code
