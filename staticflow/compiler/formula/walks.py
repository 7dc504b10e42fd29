"""Walks over terms, which share their parts: each part is seen once, and none of it recursively.

x = x * x + x, thirty times over, has sixty terms; as a tree it has a thousand million.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from staticflow.compiler.formula.terms import Term

T = TypeVar("T")
Into = Callable[[Term], Iterable[Term]]


class Walks:
    """Remembers what walks found; a walk's name is all that its values depend on beside terms."""

    def __init__(self) -> None:
        self._known: dict[Hashable, dict[Term, Any]] = {}

    def folded(
        self, walk: Hashable, x: Term, into: Into, value: Callable[[Term, dict[Term, T]], T]
    ) -> T:
        """The value of a term, of those of the terms that a walk goes into; each is found once."""
        known: dict[Term, T] = self._known.setdefault(walk, {})
        waiting = [x]
        while waiting:
            last = waiting[-1]
            missing = [] if last in known else [a for a in into(last) if a not in known]
            if missing:
                waiting += reversed(missing)
                continue
            waiting.pop()
            if last not in known:
                known[last] = value(last, known)
        return known[x]


def arguments(x: Term) -> tuple[Term, ...]:
    """Where a walk over all of a term goes."""
    return x.args
