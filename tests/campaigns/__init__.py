"""Campaigns: long randomised runs, each a module of this folder, and what they have in common.

`python -m tests.campaigns NAME [--count N] [--seed S]` runs one; tests/project/test_campaigns.py
runs a sample of each. A module has

- a docstring, whose first line says what the campaign proves;
- `COUNT`, how many cases the whole campaign has, and `SAMPLE`, how many the tests run;
- `run(count, seed, tick)`, which tries that many cases, calls `tick()` after each, and returns what
  it counted, for the table in docs/reliability.md. At the first case that fails it raises an
  AssertionError that names what makes this case again.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Protocol, cast

Tick = Callable[[], None]


class Campaign(Protocol):
    """What a module of this folder has."""

    __doc__: str | None
    COUNT: int
    SAMPLE: int

    def run(self, count: int, seed: int, tick: Tick) -> Mapping[str, int | str]:
        """Try so many cases and count what was done."""


def names() -> list[str]:
    """The campaigns there are."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name[0] != "_")


def load(name: str) -> Campaign:
    """The campaign of a name."""
    return cast(Campaign, importlib.import_module(f"{__name__}.{name}"))


def claim(campaign: Campaign) -> str:
    """What a campaign proves: the first line of its docstring."""
    return (campaign.__doc__ or "").partition("\n")[0]
