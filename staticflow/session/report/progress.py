"""The progress bar of a fit: a thin layer over tqdm that costs nothing when it is off.

A process need not have a standard error to draw on, and a fit does not fail for a bar.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from staticflow.session.report.streams import Stream

_REDRAW = 0.1  # seconds between two drawings on a terminal
_REDRAW_IN_FILE = 10.0  # and where every drawing stays as a line
_FORMAT = "{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} steps{postfix}, {rate_fmt}"
_FORMAT_OPEN = "{desc} {n_fmt} steps{postfix}, {rate_fmt}"  # the steps of an epoch are not known


class Progress:
    """A bar over all steps of a fit; it names the epoch and shows the latest loss.

    `steps` is the number of steps an epoch, None where the data does not say.
    """

    def __init__(self, total_epochs: int, steps: int | None, enabled: bool = True) -> None:
        self._epochs, self._steps, self._enabled = total_epochs, steps, enabled
        self._epoch = 0
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._enabled and sys.stderr is not None:
            total = self._epochs * self._steps if self._steps is not None else None
            self._bar = _open(total, self._description())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def update(self, steps_done: int, loss: float | None = None) -> None:
        """Move the bar to `steps_done` steps since the fit began; cheap, so call it at will."""
        if self._bar is None:
            return
        if loss is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
        self._bar.update(steps_done - self._bar.n)

    def epoch_end(self, log: Mapping[str, float]) -> None:
        """Show the log of an epoch and begin the next."""
        self._epoch += 1
        if self._bar is None:
            return
        if self._steps is not None:
            self._bar.update(self._epoch * self._steps - self._bar.n)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in log.items() if name != "epoch")
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.set_description_str(self._description(), refresh=False)

    def _description(self) -> str:
        return f"epoch {min(self._epoch + 1, self._epochs)}/{self._epochs}"


def _open(total: int | None, description: str) -> Any:
    if "IPython" in sys.modules:
        from tqdm.auto import tqdm  # a widget in a notebook
    else:
        from tqdm.std import tqdm
    stream = Stream(sys.stderr)
    return tqdm(
        total=total,
        desc=description,
        file=stream,
        ascii=None if (stream.encoding or "").lower().startswith("utf") else True,
        mininterval=_REDRAW if stream.isatty() else _REDRAW_IN_FILE,
        miniters=1,
        bar_format=_FORMAT if total is not None else _FORMAT_OPEN,
        unit=" steps",
        dynamic_ncols=True,
    )
