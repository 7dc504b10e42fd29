"""Reading the command line, calling the command, and turning errors into one clear message."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from staticflow.cli.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the process's exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["bench"]:
        command, options = "bench", arguments[1:]  # its options are the benchmark's own
        return _run(command, options)
    namespace = build_parser().parse_args(arguments)
    return _run(namespace.command, namespace)


def _run(command: str, options: object) -> int:
    # A command imports what it needs when it runs, so that `--help` answers at once.
    module = importlib.import_module(f"staticflow.cli.{command}")
    try:
        code: int = module.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nstaticflow: interrupted; nothing was saved", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone: that is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _is_users(error):
            raise
        print(f"staticflow: {_without_place(str(error))}", file=sys.stderr)
        return 2
    return code


def _without_place(message: str) -> str:
    """The library's errors name the line that declared the graph, which here is not the user's."""
    return "\n".join(line for line in message.split("\n") if not line.startswith("  at "))


def _is_users(error: Exception) -> bool:
    """Whether the message alone tells the user what to do."""
    from staticflow.cli.errors import CommandError
    from staticflow.data.errors import DataError
    from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError

    known = (CommandError, DataError, GraphError, ShapeError, DTypeError, NumericsError, OSError)
    return isinstance(error, known)
