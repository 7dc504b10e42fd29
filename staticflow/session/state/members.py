"""What a session of several members owns, and what each of its members does.

All values lie in arrays with a leading axis of members: rows of one array are what the sessions of
the members have. They share graph, programs and lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_integer
from staticflow.graph.node import Node
from staticflow.native import memory
from staticflow.native.threads.read_gate import Gate, ReadGate
from staticflow.optim.algorithms import Optimizer
from staticflow.runtime.stacked import StackedStore, by_member, check_members, stack
from staticflow.session.state.graph import SessionGraph
from staticflow.session.state.session_state import SessionState, check_count
from staticflow.session.state.slots import make_slots
from staticflow.training.member_place import Region, region_of
from staticflow.training.member_run import MemberRun, updates
from staticflow.training.update_frame import StepValues

Counts = NDArray[np.int64]


class MembersState(SessionState):
    """The values of several members; those that `SessionState` names are the first member's, or
    have a leading axis of members:

        params, states, slots, lr, decay, seed_cell, numbers     (members, ...)
        seeds, rngs, gates                              of each member
        step_counts, epoch_counts, run_counts           (members,)

    `optimizer` may have settings by member.
    """

    def __init__(
        self,
        graph: SessionGraph,
        trained: list[Node],
        *,
        members: int,
        optimizer: Optimizer | None,
        seed: Any,
        threads: int,
        check_numerics: bool,
    ) -> None:
        self.members = check_integer("members", members, 1, "pass members=10, for example")
        super().__init__(
            graph, trained, optimizer=optimizer, seed=seed, threads=threads,
            check_numerics=check_numerics,
        )  # fmt: skip
        self._known: dict[int, MemberState] = {}
        self.runs: dict[Any, MemberRun] = {}

    def _make_values(self) -> None:
        count = self.members
        self.stacked_params = StackedStore(self.graph.params, "parameter", count, self.trained)
        self.stacked_states = StackedStore(self.graph.states, "state", count)
        self.params, self.states = self.stacked_params, self.stacked_states
        self.seeds = self._seeds(self.seed)
        self.rngs = [np.random.default_rng(seed) for seed in self.seeds]
        self._draw()
        self.make_slots()
        self.step_counts, self.epoch_counts, self.run_counts = np.zeros((3, count), np.int64)
        self.lr = memory.zeros((count,), np.float64)
        self.decay = memory.zeros((count,), np.float64)
        self.numbers = memory.filled(np.arange(count), np.int64)
        self.seed_cell = memory.filled(self.seeds, np.int64)
        self.run_cell = memory.zeros((1,), np.int64)
        self.gate_words = memory.zeros((count, Gate.WORDS), np.int64, memory.LINES)
        self.gates = [ReadGate(words) for words in self.gate_words]
        self.lock = threading.RLock()
        self.gate = self.gates[0]
        self.rng = self.rngs[0]

    def make_slots(self) -> None:
        """The arrays of the optimizer, as they are at the start."""
        self.slots, self.extras = {}, {}
        if self.optimizer is None:
            return
        first, self.extras = make_slots(self.params, self.trained, self.optimizer)
        for name, values in first.items():
            flat = self.params.flats[(self.trained[0].dtype, True)]
            self.slots[name] = stack(flat, self.members)
            self.slots[name][...] = values

    def check_settings(self, optimizer: Optimizer | None) -> None:
        for name, length in ({} if optimizer is None else optimizer.lengths).items():
            check_members(f"the optimizer's settings {name}", length, self.members)

    def set_optimizer(self, new: Optimizer | None) -> None:
        super().set_optimizer(new)
        for member in self.known_members():
            member.take_optimizer()

    def _seeds(self, seed: Any) -> list[int]:
        """The seed of each member: as given, or numbers from one on."""
        if not isinstance(seed, list):
            return [seed + k for k in range(self.members)]
        check_members("the seeds", len(seed), self.members)
        return seed

    def set_seed(self, seed: Any) -> None:
        self.seed, self.seeds = seed, self._seeds(seed)
        self.seed_cell[:] = self.seeds
        for k, rng in enumerate(self.rngs):
            rng.bit_generator.state = np.random.default_rng(self.seeds[k]).bit_generator.state
        for member in self.known_members():
            member.seed = self.seeds[member.index]

    def set_count(self, name: str, value: Any) -> None:
        counts: Counts = getattr(self, f"{name}s")
        if np.ndim(value) == 1:
            check_members(f"the values of {name}", len(value), self.members)
        counts[:] = [check_count(n) for n in np.broadcast_to(value, self.members).tolist()]

    def reset(self, seed: Any) -> None:
        super().reset(seed)
        for member in self.known_members():
            member.accumulated = None

    def _draw(self) -> None:
        self.stacked_params.draw(self.rngs)
        self.stacked_states.draw(self.rngs)

    def feed_rates(self) -> None:
        """Bring the optimizer's numbers to where native code reads them."""
        if self.optimizer is not None:
            self.lr[:] = self.optimizer.base_lr
            if isinstance(self.optimizer.weight_decay, tuple):
                self.decay[:] = self.optimizer.weight_decay

    @property
    def generators(self) -> list[np.random.Generator]:
        return self.rngs

    def position(self) -> dict[str, Any]:
        for member in self.known_members():
            if member.accumulated is not None:
                fail(
                    GraphError,
                    f"gradients of member {member.index} have been accumulated, and not applied",
                    do="call session.apply() before, or session.discard() to forget them",
                )
        return {
            "members": self.members,
            "step_count": self.step_counts.tolist(),
            "epoch_count": self.epoch_counts.tolist(),
            "run_count": self.run_counts.tolist(),
            "rng": [rng.bit_generator.state for rng in self.rngs],
        }

    def step_values(self) -> StepValues:
        """Those of the first member."""
        return StepValues(
            params=self.params,
            states=self.states,
            slots=by_member(self.slots, 0),
            extras=self.extras,
            lr=self.lr[:1],
            seed=self.seed_cell[:1],
            decay=self.decay[:1],
            member=self.numbers[:1],
        )

    def regions(self) -> list[Region]:
        """Where the members' values lie."""
        stacked = [*self.stacked_params.stacked.values(), *self.stacked_states.stacked.values()]
        arrays = [*stacked, *self.slots.values(), self.lr, self.decay]
        arrays += [self.seed_cell, self.numbers]
        return [region_of(array) for array in arrays]

    def member(self, index: int) -> MemberState:
        """A member's own state, in the same memory."""
        if not hasattr(index, "__index__") or not -self.members <= index < self.members:
            fail(
                GraphError,
                f"there is no member {index!r}",
                got=f"{self.members} members, counted from 0",
                do=f"pass a number from 0 to {self.members - 1}",
            )
        number = int(index) % self.members
        if number not in self._known:
            self._known[number] = MemberState(self, number)
        return self._known[number]

    def known_members(self) -> list[MemberState]:
        """The states of members that somebody has asked for."""
        return list(self._known.values())

    def each(self) -> Iterator[MemberState]:
        """All members' states, in order."""
        return (self.member(k) for k in range(self.members))

    def forget_programs(self) -> None:
        super().forget_programs()
        self.runs = {}
        for member in self._known.values():
            member.forget_programs()

    def _count_steps_under_way(self) -> None:
        for run in self.runs.values():
            steps = run.under_way
            if steps is not None:
                own = steps.members
                done = run.ended(steps).done
                self.step_counts[own] += updates(steps.first, done, run.batches[own], steps.group)
        self.runs = {}

    def twin(self) -> MembersState:
        return MembersState(
            self.graph, self.trained, members=self.members, optimizer=self.optimizer,
            seed=self.seed, threads=self.threads, check_numerics=self.check_numerics,
        )  # fmt: skip

    def take_values(self, other: SessionState) -> None:
        assert isinstance(other, MembersState)
        for mine, theirs in (
            (self.stacked_params, other.stacked_params),
            (self.stacked_states, other.stacked_states),
        ):
            for key, data in theirs.stacked.items():
                mine.stacked[key][...] = data
        for name, values in other.slots.items():
            self.slots[name][...] = values
        self.step_counts[:], self.epoch_counts[:] = other.step_counts, other.epoch_counts
        self.run_counts[:] = other.run_counts
        for own, rng in zip(self.rngs, other.rngs, strict=True):
            own.bit_generator.state = rng.bit_generator.state


class MemberState(SessionState):
    """One member, on one thread, as a session of its own has it."""

    def __init__(self, whole: MembersState, index: int) -> None:
        self.whole, self.index = whole, index
        optimizer = whole.optimizer
        super().__init__(
            whole.graph, whole.trained,
            optimizer=None if optimizer is None else optimizer.of_member(index),
            seed=whole.seeds[index], threads=1, check_numerics=whole.check_numerics,
        )  # fmt: skip
        self.copes_with_nan = whole.copes_with_nan

    def _make_values(self) -> None:
        whole, k = self.whole, self.index
        self.params = whole.stacked_params.member(k)
        self.states = whole.stacked_states.member(k)
        self.slots, self.extras = by_member(whole.slots, k), whole.extras
        self.rng = whole.rngs[k]
        self.lr, self.seed_cell = whole.lr[k : k + 1], whole.seed_cell[k : k + 1]
        self.run_cell = memory.zeros((1,), np.int64)
        self.gate = whole.gates[k]

    def take_optimizer(self) -> None:
        """Go on with what all members have been given."""
        whole = self.whole
        self.optimizer = None
        if whole.optimizer is not None:
            self.optimizer = whole.optimizer.of_member(self.index)
        self.slots, self.extras = by_member(whole.slots, self.index), whole.extras
        self.forget_programs()

    def set_optimizer(self, new: Optimizer | None) -> None:
        self._refuse("optimizer")

    def set_seed(self, seed: int) -> None:
        self._refuse("seed")

    def _refuse(self, what: str) -> NoReturn:
        fail(
            GraphError,
            f"session.{what} cannot be assigned for one member of several",
            do=f"assign the {what} of the session of all members",
        )

    @property
    def lock(self) -> Any:
        """The lock of all members."""
        return self.whole.lock

    @lock.setter
    def lock(self, value: Any) -> None:
        """It is the whole session's to make a new one, in the child of a fork."""

    @property
    def step_count(self) -> int:
        return int(self.whole.step_counts[self.index])

    @step_count.setter
    def step_count(self, value: int) -> None:
        self.whole.step_counts[self.index] = value

    @property
    def epoch_count(self) -> int:
        return int(self.whole.epoch_counts[self.index])

    @epoch_count.setter
    def epoch_count(self, value: int) -> None:
        self.whole.epoch_counts[self.index] = value

    @property
    def run_count(self) -> int:
        return int(self.whole.run_counts[self.index])

    @run_count.setter
    def run_count(self, value: int) -> None:
        self.whole.run_counts[self.index] = value
