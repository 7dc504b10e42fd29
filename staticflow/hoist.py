"""Move work out of loops."""
from __future__ import annotations

from collections.abc import Sequence

from staticflow.graph import Node


def rearrange(roots: Sequence[Node]) -> list[Node]:
    """Placeholder until the lifting rules stand."""
    return list(roots)
