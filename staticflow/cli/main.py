"""Reading the command line, calling the command, and turning errors into one clear message."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from staticflow.cli.console import usable_streams
from staticflow.cli.errors import CommandError, Interrupted
from staticflow.cli.parser import build_parser
from staticflow.data.opening import shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the process's exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with usable_streams():
        try:
            return _run(arguments)
        except BrokenPipeError:  # the reader of our output has gone: that is no error of ours
            return 0
        except KeyboardInterrupt as interrupt:
            kept = str(interrupt) if isinstance(interrupt, Interrupted) else "nothing was saved"
            print(f"\nstaticflow: interrupted; {kept}", file=sys.stderr)
            return 130
        except MemoryError:
            _complain("there is not enough memory for this; take less data or a smaller network")
        except Exception as error:
            if not _is_users(error):
                raise
            _complain(_words(error))
        return 2


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["bench"]:  # its options are the benchmark's own
        command, options = "bench", arguments[1:]
        return _call(command, options)
    namespace = build_parser().parse_args(arguments)
    return _call(namespace.command, namespace)


def _call(command: str, options: object) -> int:
    command = "import_model" if command == "import" else command  # a word of Python's
    # A command imports what it needs when it runs, so that `--help` answers at once.
    module = importlib.import_module(f"staticflow.cli.commands.{command}")
    code: int = module.run(options)
    sys.stdout.flush()
    return code


def _complain(message: str) -> None:
    print(f"staticflow: {message}", file=sys.stderr)


def _words(error: Exception) -> str:
    """An error's message for who reads no Python.

    The library's errors name the line that declared the graph, which here is not the user's.
    """
    if isinstance(error, OSError) and error.strerror:
        name = f"{shown(error.filename)}: " if error.filename else ""
        return f"{name}{error.strerror}"
    return "\n".join(line for line in str(error).split("\n") if not line.startswith("  at "))


def _is_users(error: Exception) -> bool:
    """Whether the message alone tells the user what to do."""
    from staticflow.data.errors import DataError
    from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError

    known = (CommandError, DataError, GraphError, ShapeError, DTypeError, NumericsError, OSError)
    return isinstance(error, known)
