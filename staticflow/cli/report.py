"""The table at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two aligned columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def seconds(value: float) -> str:
    """A duration, to three digits."""
    return f"{value:.3g} s" if value < 100 else f"{value / 60:.1f} min"
