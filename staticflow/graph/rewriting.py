"""The table of rewrite rules: what a simplification may put in place of a node; ops fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from staticflow.graph.node import Kind, Node


@dataclass(frozen=True)
class RewriteRule:
    """`rewrite` gives an equal and simpler node for one with an op of `head`, or None."""

    head: str | Kind  # the op's name, or its kind
    reason: str
    rewrite: Callable[[Node], Node | None]


REWRITES: dict[str | Kind, list[RewriteRule]] = {}  # by head, in the order in which they are tried


def enter(rules: Iterable[RewriteRule]) -> None:
    """Enter rules into the table."""
    for rule in rules:
        REWRITES.setdefault(rule.head, []).append(rule)
