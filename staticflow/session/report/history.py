"""What a fit leaves behind: the log of every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class History:
    """The epochs of one fit, in order; each log maps `loss`, metrics and `val_...` to a float, or
    to an array with one for each member of the session.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)

    def append(self, log: Mapping[str, Any]) -> None:
        """Add the log of the epoch that has just ended."""
        self.epochs.append(dict(log))

    def curve(self, name: str) -> list[Any]:
        """One quantity over the epochs, NaN where an epoch did not log it."""
        if not any(name in log for log in self.epochs):
            known = ", ".join(self.names()) or "nothing yet"
            raise KeyError(f"the history has no {name!r}; it logged {known}")
        return [log.get(name, float("nan")) for log in self.epochs]

    def names(self) -> list[str]:
        """The quantities logged, in order of appearance."""
        return list(dict.fromkeys(name for log in self.epochs for name in log))

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the curves: to a file (`.svg` needs no other package), else as a figure. Of several
        members, their mean.
        """
        from staticflow.session.report.plot import figure, save

        curves = {name: [mean_of(x) for x in self.curve(name)] for name in self.names()}
        if path is None:
            return figure(curves)
        save(curves, Path(path))
        return None

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.epochs)


def mean_of(value: Any) -> float:
    """A value, or the mean over the members that have one."""
    values = np.atleast_1d(np.asarray(value, np.float64))
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
