"""Errors of what is read from a file or a pickle: they name it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from staticflow.errors import DTypeError, GraphError, ShapeError, fail

T = TypeVar("T")
_WRONG = (
    KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError, ArithmeticError,
    SyntaxError,
)  # fmt: skip


def checked(path: Any, read: Callable[[], T]) -> T:
    """What `read` gives; its errors name the file."""
    name = os.fspath(path)
    try:
        return read()
    except (GraphError, ShapeError, DTypeError) as error:
        raise GraphError(f"{name}: {error}") from error
    except _WRONG:  # whose words are of our code, not of the file
        damaged(name, "data that describe no session")
    except RecursionError:
        damaged(name, "nested too deeply")


def damaged(name: str, why: str) -> NoReturn:
    """Refuse a file whose content is not what was saved."""
    fail(
        GraphError,
        f"{name}: the file is damaged, or not one of staticflow's",
        got=why,
        do="save it again, or take a copy",
    )
