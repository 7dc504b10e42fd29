"""Plain data from a file as the fields of a dataclass, each of which must have its type."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


C = TypeVar("C", bound=Dataclass)


def read_fields(kind: type[C], data: Any) -> C:
    """An instance of `kind`; ValueError names the field that is not as it must be."""
    if not isinstance(data, dict):
        raise ValueError("there are no fields")
    hints = get_type_hints(kind)
    for field in fields(kind):
        if field.name not in data:
            if field.default is MISSING and field.default_factory is MISSING:
                raise ValueError(f"{field.name!r} is missing")
        elif not _fits(data[field.name], hints[field.name]):
            raise ValueError(f"{field.name!r} is {str(data[field.name])[:40]}")
    unknown = sorted(data.keys() - hints.keys())
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not known")
    return kind(**data)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a type: str, int, float, list[...], ... | None."""
    origin = get_origin(hint)
    if origin is UnionType:
        return any(_fits(value, part) for part in get_args(hint))
    if origin is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint is dict or origin is dict:
        return isinstance(value, dict)
    if hint is NoneType:
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
