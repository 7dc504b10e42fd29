"""What stands around every function of `ops`: no call on wrong arguments ends in a raw error.

ops.roll(x, 1.5)       DTypeError: roll: shift must be an integer
ops.huber(y, t, "a")   DTypeError: huber: can't multiply ... at the user's line
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError, fail
from staticflow.graph.types import is_whole

F = TypeVar("F", bound=Callable[..., Any])
_OWN = (GraphError, ShapeError, DTypeError, NumericsError)
_RAW = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_SHOWN = 60  # characters of each argument in a message


def guarded(function: F) -> F:
    """The function, which names itself and the user's line in all errors, and gets Python integers
    where it is annotated with `int`, NumPy's being converted and all else refused.
    """
    name = function.__name__
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
    integers = {p for p, kind in function.__annotations__.items() if kind == "int"}
    places = [k for k, p in enumerate(parameters) if p in integers]

    @functools.wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        if integers:
            whole = {k: _integer(name, parameters[k], args[k]) for k in places if k < len(args)}
            args = tuple(whole.get(k, a) for k, a in enumerate(args))
            options |= {p: _integer(name, p, options[p]) for p in integers & options.keys()}
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


def _integer(name: str, parameter: str, value: Any) -> int:
    if not is_whole(value):
        fail(DTypeError, f"{name}: {parameter} must be an integer", repr(value)[:_SHOWN])
    return operator.index(value)
