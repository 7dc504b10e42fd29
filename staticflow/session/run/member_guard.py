"""What a fit of several members does when NaN appears in one: that one stops, with a warning that
names it, or the fit raises, or goes on. As `nan_guard` does for one session, by member.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import NumericsError, message, user_line
from staticflow.native.memory import Array
from staticflow.session.run.nan_guard import (
    BYTES_PER_SECOND,
    COPY_SECONDS,
    REMEDY,
    check_mode,
    first_nan,
)
from staticflow.session.state.members import MembersState


class MemberGuard:
    """One fit's copy of what its steps change, and what is to be done when NaN appears."""

    def __init__(self, state: MembersState, mode: Any) -> None:
        check_mode(mode)
        self._state, self._mode = state, mode
        self.active = mode != "ignore" and not state.check_numerics
        self._copies: list[Array] = []
        self._steps = state.step_counts.copy()
        self._times = np.zeros(state.members)
        self._slots = state.slots
        self._live = self._changing()
        bytes_ = sum(array.nbytes for array in self._live)
        self._interval = max(COPY_SECONDS, bytes_ / BYTES_PER_SECOND)

    def _changing(self) -> list[Array]:
        """What training steps change, (members, ...) each."""
        state = self._state
        params = [a for (_, own), a in state.stacked_params.stacked.items() if own]
        return [*params, *state.slots.values(), *state.stacked_states.stacked.values()]

    def keep(self) -> None:
        """Copy all values, unless the last copy is recent; those of members that have become bad
        stay as they were.
        """
        now = time.monotonic()
        if not self.active:
            return
        if self._slots is not self._state.slots:  # of another optimizer
            self._slots, self._copies = self._state.slots, []
            self._live = self._changing()
        if self._copies and now - self._times.max() < self._interval:
            return
        good = np.ones(self._state.members, bool)
        if self._copies:
            good = ~self._worsened()
        else:
            spare, self._state.spare = self._state.spare, []
            fits = [copy.shape for copy in spare] == [array.shape for array in self._live]
            self._copies = spare if fits else [np.empty_like(array) for array in self._live]
        for copy, array in zip(self._copies, self._live, strict=True):
            if good.all():
                copy[...] = array
            else:
                copy[good] = array[good]
        self._steps[good], self._times[good] = self._state.step_counts[good], now

    def _worsened(self) -> NDArray[np.bool_]:
        """The members of which more values are NaN or infinite than in the copy."""
        found = np.zeros(self._state.members, bool)
        for copy, array in zip(self._copies, self._live, strict=True):
            with np.errstate(all="ignore"):
                suspects = np.flatnonzero(~np.isfinite(np.add.reduce(array, axis=1)))
            for k in suspects:
                found[k] |= np.isfinite(array[k]).sum() < np.isfinite(copy[k]).sum()
        return found

    def found(self, member: int, epoch: int, step: int, data: dict[str, Array]) -> None:
        """Deal with a loss that is NaN, of a step that has not been done; both counted from 1."""
        number = int(self._state.step_counts[member]) + 1
        what = (
            f"fit: the loss of member {member} is NaN in step {step} of epoch {epoch}, "
            f"training step {number}"
        )
        outcome = self._put_back(member) or (
            f"the update was not made: the parameters are those of step {number - 1}"
        )
        self._tell(what, f"{outcome}{first_nan(data)}; this member is not trained further")

    def finish(self, epoch: int) -> None:
        """At the end of a fit: see that the last steps, whose losses were numbers, did no harm."""
        if not self.active or not self._copies:
            return
        for member in np.flatnonzero(self._worsened()):
            number = self._state.step_counts[member]
            outcome = self._put_back(int(member))
            what = f"fit: parameters or states of member {member} are NaN or infinite at the end of"
            self._tell(f"{what} epoch {epoch}, after training step {number}", outcome)
        self._state.spare = self._copies

    def _put_back(self, member: int) -> str:
        """Take the copy if values have become bad since; says so."""
        if not self._copies or not self._worsened()[member]:
            return ""
        state = self._state
        with state.gates[member].writing():
            for copy, array in zip(self._copies, self._live, strict=True):
                array[member] = copy[member]
        state.step_counts[member] = self._steps[member]
        age = time.monotonic() - self._times[member]
        return (
            "its parameters had become NaN or infinite by then, and are again those of step "
            f"{self._steps[member]}, {age:.2f} s before"
        )

    def _tell(self, what: str, outcome: str) -> None:
        text = message(what, outcome, REMEDY)
        if self._mode == "raise":
            raise NumericsError(text)
        where = user_line()
        warnings.warn_explicit(text, RuntimeWarning, where.file, where.line)
