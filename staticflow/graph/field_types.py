"""Whether values are of the types that a dataclass annotates its fields with."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from staticflow.graph.dims import Dim

LARGEST = 1 << 62


@functools.cache
def annotations_of(cls: type) -> Mapping[str, Any]:
    """The types of the fields by name; an AnyDim is a Dim or an int wherever it stands."""
    return get_type_hints(cls, localns={"Dim": Dim})


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; an int is a float, and no int is beyond 2^62."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and _members_fit(value, args)
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint in (int, float) and isinstance(value, int):
        return -LARGEST <= value <= LARGEST
    return isinstance(value, origin or hint)


def _members_fit(value: tuple[Any, ...], args: tuple[Any, ...]) -> bool:
    if args[1:] == (Ellipsis,):
        return all(fits(entry, args[0]) for entry in value)
    return len(value) == len(args) and all(map(fits, value, args))
