"""What a fit does when NaN appears: it stops, raises, or goes on.

The worker looks at the loss of each step before the update (`native/worker.py`), so that a NaN that
the forward pass makes changes nothing. But a gradient may be NaN, or the parameters too large, of a
loss that is a number; then the update has happened by the time the next loss tells, and the values
are put back from a copy. Copies are made between native calls, which are kept short for that.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from staticflow.errors import GraphError, NumericsError, fail, message, user_line
from staticflow.native.memory import Array
from staticflow.session.state.session_state import SessionState

MODES = ("stop", "raise", "ignore")
COPY_SECONDS = 0.05  # the age at which a copy is replaced
CALL_NS = 0.05e9  # what a native call may add to it
BYTES_PER_SECOND = 5e7  # of copies: a hundredth of what memory can do; a large net's are older
REMEDY = (
    "lower the learning rate, clip the gradient (clip_norm=), or see where it comes from with "
    "Session(check_numerics=True); fit(on_nan='ignore') goes on"
)


def check_mode(mode: Any) -> None:
    """Refuse what does not say what is to be done."""
    if mode not in MODES:
        fail(
            GraphError,
            "fit: on_nan says what to do when the loss is NaN",
            got=repr(mode),
            do=f"pass one of {', '.join(map(repr, MODES))}",
        )


class NanGuard:
    """One fit's copy of what its steps change, and what is to be done when NaN appears."""

    def __init__(self, state: SessionState, mode: Any) -> None:
        check_mode(mode)
        self._state, self._mode = state, mode
        self.active = mode != "ignore" and not state.check_numerics
        self._slots = state.slots
        self._live = list(_changing(state))
        self._copies: list[Array] = []  # memory that the session keeps: new memory is slow
        self._step = 0
        self._time = 0.0
        bytes_ = sum(array.nbytes for array in self._live)
        self._interval = max(COPY_SECONDS, bytes_ / BYTES_PER_SECOND)

    def calls(self, steps: int, estimate_ns: float) -> Iterator[tuple[int, int]]:
        """The first and the end of the steps of each native call; copies are made before them."""
        if not self.active:
            yield 0, steps
            return
        first, step_ns = 0, 2 * estimate_ns  # the cost model may be off
        while first < steps:
            self.keep()
            end = min(steps, first + max(1, int(CALL_NS / max(step_ns, 1.0))))
            began = time.perf_counter_ns()
            yield first, end
            step_ns = (time.perf_counter_ns() - began) / (end - first)
            first = end

    def keep(self) -> None:
        """Copy all values, unless the last copy is recent enough, or values have become bad."""
        now = time.monotonic()
        if not self.active:
            return
        if self._slots is not self._state.slots:  # of another optimizer
            self._slots, self._copies = self._state.slots, []
            self._live = list(_changing(self._state))
        if self._copies and now - self._time < self._interval:
            return
        if not self._copies:
            spare, self._state.spare = self._state.spare, []
            fits = len(spare) == len(self._live)
            self._copies = spare if fits else [np.empty_like(array) for array in self._live]
        elif self._has_worsened():
            return
        for copy, array in zip(self._copies, self._live, strict=True):
            copy[...] = array
        self._step, self._time = self._state.step_count, now

    def _has_worsened(self) -> bool:
        """Whether more values are NaN or infinite than in the copy; a finite sum has none."""
        with np.errstate(all="ignore"):
            suspects = [k for k, a in enumerate(self._live) if not math.isfinite(np.add.reduce(a))]
        return any(
            np.isfinite(self._live[k]).sum() < np.isfinite(self._copies[k]).sum() for k in suspects
        )

    def found(self, epoch: int, step: int, data: Mapping[str, Array]) -> None:
        """Deal with a loss that is NaN, of a step that has not been done; both counted from 1."""
        number = self._state.step_count + 1
        what = f"fit: the loss is NaN in step {step} of epoch {epoch}, training step {number}"
        outcome = self._put_back() or (
            f"the update was not made: the parameters are those of step {number - 1}"
        )
        self._tell(what, f"{outcome}{first_nan(data)}")

    def finish(self, epoch: int) -> None:
        """At the end of a fit: see that the last steps, whose loss was a number, did no harm."""
        if self.active and self._copies:
            number = self._state.step_count
            outcome = self._put_back()
            self._state.spare = self._copies
            if outcome:
                what = "fit: parameters or states are NaN or infinite at the end of "
                self._tell(f"{what}epoch {epoch}, after training step {number}", outcome)

    def _put_back(self) -> str:
        """Take the copy if values have become bad since; says so."""
        if not self._has_worsened():
            return ""
        with self._state.gate.writing():  # a run in another thread sees all or nothing of it
            for copy, array in zip(self._copies, self._live, strict=True):
                array[...] = copy
        self._state.step_count = self._step
        age = time.monotonic() - self._time
        return (
            "the parameters had become NaN or infinite by then, and are again those of step "
            f"{self._step}, {age:.2f} s before"
        )

    def _tell(self, what: str, outcome: str) -> None:
        text = message(what, outcome, REMEDY)
        if self._mode == "raise":
            raise NumericsError(text)
        where = user_line()
        warnings.warn_explicit(text, RuntimeWarning, where.file, where.line)


def _changing(state: SessionState) -> Iterator[Array]:
    """What training steps change."""
    for (_, trainable), flat in state.params.flats.items():
        if trainable:
            yield flat.data
    yield from state.slots.values()
    yield from (flat.data for flat in state.states.flats.values())


def first_nan(data: Mapping[str, Array]) -> str:
    """The first input that holds NaN."""
    for name, array in data.items():
        if has_nan(array):
            return f"; {_described(name, array)}"
    return ""


def has_nan(array: Array) -> bool:
    """Whether an array holds NaN."""
    return array.dtype.kind == "f" and array.size > 0 and bool(np.isnan(array.min()))


def _described(name: str, array: Array) -> str:
    position = tuple(int(i) for i in np.argwhere(np.isnan(array))[0])
    return f"input {name!r} holds NaN, the first at {position}, {int(np.isnan(array).sum())} in all"
