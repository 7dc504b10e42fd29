"""What stands around every function of `ops`: no call on wrong arguments ends in a raw error.

ops.roll(x, 1.5)       DTypeError: roll: shift must be an integer
ops.huber(y, t, "a")   DTypeError: huber: can't multiply ... at the user's line
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError, fail
from staticflow.types import is_whole

F = TypeVar("F", bound=Callable[..., Any])
_OWN = (GraphError, ShapeError, DTypeError, NumericsError)
_RAW = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_SHOWN = 60  # characters of each argument in a message


def guarded(function: F) -> F:
    """The function, which names itself and the user's line in all errors, and takes integers only
    where it is annotated with `int`.
    """
    name = function.__name__
    integers = [p for p, kind in function.__annotations__.items() if kind == "int"]
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]

    @functools.wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        if integers:
            given = {**dict(zip(parameters, args, strict=False)), **options}
            _check_integers(name, {p: given[p] for p in integers if p in given})
        try:
            return function(*args, **options)
        except _OWN:
            raise
        except _RAW as error:
            kind = DTypeError if isinstance(error, TypeError) else GraphError
            shown = [repr(a)[:_SHOWN] for a in args]
            shown += [f"{key}={value!r}"[:_SHOWN] for key, value in options.items()]
            do = f"see help(ops.{name}) for what it takes"
            fail(kind, f"{name}: {error}", ", ".join(shown), do)

    return cast(F, checked)


def _check_integers(name: str, given: Mapping[str, Any]) -> None:
    for parameter, value in given.items():
        if not is_whole(value):
            fail(DTypeError, f"{name}: {parameter} must be an integer", repr(value)[:_SHOWN])
