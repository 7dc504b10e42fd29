"""What saved data may name: the classes, rows and derivatives of staticflow itself, by name."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar

import staticflow.graph.branch_ops
import staticflow.ops
from staticflow.errors import GraphError, fail
from staticflow.graph.kinds import MapRow, ReduceRow
from staticflow.graph.node import Op
from staticflow.graph.op_table import table
from staticflow.ops.native_call import DerivativeRule
from staticflow.optim.algorithms import Optimizer
from staticflow.optim.schedules import Schedule

Row = MapRow | ReduceRow
T = TypeVar("T")
OTHER_VERSION = "load it with the version that saved it"


# What files call a class by, where that is not its name here: they keep what they once said.
_NAMES_IN_FILES = {"BodyInput": "Slot"}


def name_in_files(cls: type) -> str:
    """What saved data calls a class."""
    return _NAMES_IN_FILES.get(cls.__name__, cls.__name__)


@functools.cache
def classes() -> Mapping[str, type]:
    """The classes that data may name: ops, optimizers and schedules of staticflow."""
    found: dict[str, type] = {}
    waiting: list[type] = [Op, Optimizer, Schedule]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.split(".")[0] == "staticflow" and is_dataclass(cls):
            found[name_in_files(cls)] = cls
    return found


@functools.cache
def rows() -> Mapping[str, Row]:
    """The rows of elementwise ops and reductions by name, public or not."""
    found = {entry.row.name: entry.row for entry in table().values() if entry.row is not None}
    for _, value in _vocabulary():
        members = value.values() if isinstance(value, dict) else [value]
        found.update({r.name: r for r in members if isinstance(r, Row)})
    return found


@functools.cache
def derivatives() -> Mapping[str, DerivativeRule]:
    """The derivatives that are given apart from an op, by where they stand."""
    return {name: value for name, value in _vocabulary() if isinstance(value, DerivativeRule)}


def _vocabulary() -> Iterator[tuple[str, Any]]:
    """What stands in the modules of `staticflow.ops`, by module and name."""
    for module in pkgutil.iter_modules(staticflow.ops.__path__):
        content = vars(importlib.import_module(f"staticflow.ops.{module.name}"))
        yield from ((f"{module.name}.{name}", value) for name, value in content.items())


def known(names: Mapping[str, T], name: str, what: str) -> T:
    """The entry of a name; raises GraphError where there is none."""
    if name not in names:
        fail(GraphError, f"there is no {what} {name!r}", do=OTHER_VERSION)
    return names[name]


__all__ = [
    "OTHER_VERSION",
    "DerivativeRule",
    "Row",
    "classes",
    "derivatives",
    "known",
    "name_in_files",
    "rows",
]
