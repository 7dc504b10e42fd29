"""How long a training step takes: as the cost model says, until it has been measured.

A native call that the main thread makes itself hears no Ctrl-C before it is over, so only what is
known to be short is called so. An estimate alone is no knowledge: a model of costs may be wrong by
any factor, and a call of the user's code, or a loop until something is so, has none.
"""

from __future__ import annotations

from dataclasses import dataclass

SHORT_NS = 20e6  # a native call this short is made by the calling thread itself
LONG_STEP_NS = 2e6  # a step of so much by estimate, which may be a tenth of the truth, gives up
LONG_MEASURED_NS = 5e7  # between its kernels; so does one that has taken so much


@dataclass
class StepTime:
    """The time of a step of one shard, all of which run at the same time."""

    estimated_ns: float
    varies: bool  # with the data, so that no measurement tells of the next
    measured_ns: float | None = None  # in the last call

    def measure(self, nanoseconds: float, steps: int) -> None:
        """Enter a call that made so many steps."""
        if steps:
            self.measured_ns = nanoseconds / steps

    def is_short(self, steps: int) -> bool:
        """Whether so many steps may run without a look at signals."""
        if self.varies or self.measured_ns is None:
            return False
        return max(self.estimated_ns, self.measured_ns) * steps < SHORT_NS

    @property
    def is_long(self) -> bool:
        """Whether a single step has to look at the stop flag while it runs."""
        measured = self.measured_ns or 0.0
        return self.varies or self.estimated_ns > LONG_STEP_NS or measured > LONG_MEASURED_NS
