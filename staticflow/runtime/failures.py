"""What the code means that a program ends with when a custom op in it has failed."""

from __future__ import annotations

from staticflow.errors import GraphError, fail
from staticflow.native.routines.table import FAILURES


def check_call(code: int) -> None:
    """Raise if a program ended with the code of a custom op that failed."""
    if code in FAILURES:
        fail(
            GraphError,
            f"{FAILURES[code]} raised an error, or returned other shapes than `infer` gives",
            do="call the jitted function itself on the same arrays to see what is wrong",
        )
