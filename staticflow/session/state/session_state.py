"""What a session owns: values, counters, and what has been compiled for it.

`Session` is the face that users see. Whatever works for it (fits, fetches, files, reports) is given
this, and knows no session.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_integer
from staticflow.graph.node import Node
from staticflow.native import memory
from staticflow.native.memory import Array
from staticflow.native.threads.read_gate import ReadGate
from staticflow.native.toolchain.forks import ForkAware
from staticflow.native.toolchain.toolchain import Toolchain, toolchain
from staticflow.native.training.shard_pool import ShardPool
from staticflow.optim.algorithms import Optimizer
from staticflow.optim.schedules import Constant
from staticflow.runtime.parameters import ParameterStore, assign
from staticflow.session.state.graph import SessionGraph
from staticflow.session.state.slots import make_slots
from staticflow.training.epochs import Accumulated
from staticflow.training.shard import TrainingMemory
from staticflow.training.step_programs import StepPrograms
from staticflow.training.trainer import Trainer
from staticflow.training.update import Update
from staticflow.training.update_frame import StepValues


def check_seed(value: Any) -> int:
    """A seed: an integer of at least 0."""
    return check_integer("the seed", value, 0, "pass seed=0, for example")


def check_threads(value: Any, do: str) -> int:
    """A number of threads: an integer of at least 1."""
    return check_integer("threads", value, 1, do)


def check_count(value: Any) -> int:
    """A count of steps, epochs or runs: an integer of at least 0."""
    return check_integer("a number of steps, epochs or runs", value, 0, "set it to 0 or more")


def check_optimizer(value: Any) -> Optimizer | None:
    """An optimizer, or None."""
    if value is not None and not isinstance(value, Optimizer):
        fail(
            GraphError,
            "the optimizer must be one of sf.optim",
            got=repr(value)[:80],
            do="pass optimizer=sf.optim.Adam(1e-3), for example",
        )
    return value


class SessionState(ForkAware):
    """The values of a session, and the programs that work on them.

    What it computes, and how:
        graph           loss, outputs, metrics, inputs
        optimizer, seed, threads, check_numerics    as `Session` says; may change between steps

    Values:
        trained         the parameters that are trained, in order of declaration
        params, states  live arrays by name
        slots           the optimizer's arrays by name, laid out as the trained parameters
        extras          masks and scales of each element of them, by name
        rng             what shuffles rows, and has drawn the initial values
        step_count, epoch_count     that training has done
        run_count       runs that have drawn numbers
        accumulated     gradients that wait for their update
        extra           the user's own, saved with the rest

    What native code reads: `lr`, `seed_cell` and `run_cell`, a number each.

    What has been made:
        toolchain, pool             compile, and run shards
        programs, memories          of a training step, by the dimension that is sliced
        trainers                    the last ones used, by sizes and threads
        updates                     of accumulated gradients, by the dimension that is sliced
        jitted                      the user's functions, by fetch
        copes_with_nan              NaN in labels has been seen to do no harm
        spare                       memory for a copy of what training changes

    `lock` is held while the session trains or its settings change, `gate` lets runs in between two
    steps of a fit.
    """

    def __init__(
        self,
        graph: SessionGraph,
        trained: list[Node],
        *,
        optimizer: Optimizer | None,
        seed: int,
        threads: int,
        check_numerics: bool,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.check_settings(optimizer)
        self.optimizer = optimizer
        self.seed, self.threads, self.check_numerics = seed, threads, check_numerics
        self.trained = trained
        self.accumulated: Accumulated | None = None
        self.extra: dict[str, Any] = {}
        self._make_values()
        self.toolchain: Toolchain = toolchain()
        self.pool = ShardPool()
        self.programs: dict[str, StepPrograms] = {}
        self.memories: dict[str, TrainingMemory] = {}
        self.trainers: dict[Any, Trainer] = {}
        self.updates: dict[str, Update] = {}
        self.jitted: dict[Any, Any] = {}
        self.copes_with_nan = False
        self.spare: list[Array] = []
        self._count_lock = threading.Lock()

    def _make_values(self) -> None:
        """Memory for all values, as they are at the start, and what guards it."""
        graph, trained = self.graph, self.trained
        self.params = ParameterStore(graph.params, "parameter", trained)
        self.states = ParameterStore(graph.states, "state")
        self.rng = np.random.default_rng(self.seed)
        self._draw()
        self.make_slots()
        self.step_count = self.epoch_count = self.run_count = 0
        self.lr = memory.zeros((1,), np.float64)
        self.seed_cell = memory.filled([self.seed], np.int64)
        self.run_cell = memory.zeros((1,), np.int64)
        self.lock = threading.RLock()
        self.gate = ReadGate()

    def make_slots(self) -> None:
        """The arrays of the optimizer, as they are at the start."""
        self.slots: dict[str, Array] = {}
        self.extras: dict[str, Array] = {}
        if self.optimizer is not None:
            self.slots, self.extras = make_slots(self.params, self.trained, self.optimizer)

    def check_settings(self, optimizer: Optimizer | None) -> None:
        """Refuse an optimizer with settings for several members."""
        for name, count in ({} if optimizer is None else optimizer.lengths).items():
            fail(
                GraphError,
                f"the optimizer has settings {name} of {count} members",
                do=f"make the session with members={count}, or pass a number",
            )

    def set_optimizer(self, new: Optimizer | None) -> None:
        """Go on with another optimizer: one of the same kind takes over what has been gathered."""
        self.check_settings(new)
        old, slots, self.optimizer = self.optimizer, self.slots, new
        if new is not None and old is not None and _without_rate(new) == _without_rate(old):
            return  # the rate is read at each step
        self.make_slots()
        if new is not None and (isinstance(new, type(old)) or isinstance(old, type(new))):
            for name in slots.keys() & self.slots.keys():
                self.slots[name][:] = slots[name]
        self.forget_programs()

    def set_seed(self, seed: Any) -> None:
        """Draw and shuffle by another seed from now on."""
        self.seed = seed
        self.seed_cell[0] = seed
        self.rng = np.random.default_rng(seed)

    def reset(self, seed: Any) -> None:
        """Begin anew, as a session with this seed does; what has been compiled stays."""
        self.set_seed(seed)
        self._draw()
        for name, values in self.slots.items():
            assert self.optimizer is not None
            values[...] = self.optimizer.slot_init(name)
        for name in ("step_count", "epoch_count", "run_count"):
            self.set_count(name, 0)
        self.accumulated = None

    def _draw(self) -> None:
        """Initial values of parameters and states."""
        self.params.initialise(self.rng)
        self.states.initialise(self.rng)

    def set_count(self, name: str, value: Any) -> None:
        """Set a count of steps, epochs or runs."""
        setattr(self, name, check_count(value))

    @property
    def generators(self) -> list[np.random.Generator]:
        """What shuffles rows, and has drawn the initial values."""
        return [self.rng]

    def position(self) -> dict[str, Any]:
        """Counters and random state, as plain data."""
        return {
            "step_count": self.step_count,
            "epoch_count": self.epoch_count,
            "run_count": self.run_count,
            "rng": self.rng.bit_generator.state,
        }

    def after_fork_in_child(self) -> None:
        """Nobody holds the locks; what another thread's fit has done so far counts."""
        self.lock, self._count_lock = threading.RLock(), threading.Lock()
        self._count_steps_under_way()
        self.trainers, self.updates = {}, {}

    def _count_steps_under_way(self) -> None:
        """Count the steps of a fit that another thread was at."""
        self.step_count += sum(trainer.steps_under_way for trainer in self.trainers.values())

    def step_values(self) -> StepValues:
        """What a training step reads and changes, as it is now."""
        return StepValues(
            params=self.params,
            states=self.states,
            slots=self.slots,
            extras=self.extras,
            lr=self.lr,
            seed=self.seed_cell,
        )

    def feed_rates(self) -> None:
        """Bring the optimizer's numbers to where native code reads them."""
        if self.optimizer is not None:
            self.lr[0] = self.optimizer.base_lr

    def load_params(self, values: Mapping[str, Any]) -> None:
        """Set parameters and states from a mapping from name to array; all or nothing."""
        assign(self.params, self.states, values)

    def twin(self) -> SessionState:
        """Another one for the same graph and settings, as it is at the start."""
        return SessionState(
            self.graph, self.trained, optimizer=self.optimizer, seed=self.seed,
            threads=self.threads, check_numerics=self.check_numerics,
        )  # fmt: skip

    def take_values(self, other: SessionState) -> None:
        """Be where another session of the same graph is, apart from its `extra`."""
        for mine, theirs in ((self.params, other.params), (self.states, other.states)):
            for key, flat in theirs.flats.items():
                mine.flats[key].data[:] = flat.data
        for name, values in other.slots.items():
            self.slots[name][:] = values
        self.step_count, self.epoch_count = other.step_count, other.epoch_count
        self.run_count = other.run_count
        self.rng.bit_generator.state = other.rng.bit_generator.state
        self.accumulated = copy.deepcopy(other.accumulated)

    def take_programs(self, other: SessionState) -> None:
        """Use what has been compiled for another session of the same graph and settings."""
        self.programs = dict(other.programs)
        for name, values in other.extras.items():
            self.extras[name][...] = values
        self.copes_with_nan = other.copes_with_nan

    def forget_programs(self) -> None:
        """Compile the training step again when it is next needed."""
        self.programs, self.memories, self.trainers, self.updates = {}, {}, {}, {}

    def count_run(self) -> int:
        """The number of a run that draws, counted from 0: each has its own."""
        with self._count_lock:  # and not `lock`, which a fit holds
            self.run_count += 1
            return self.run_count - 1

    def require_loss(self) -> Node:
        """The loss; refuses to train without."""
        if self.graph.loss is None:
            fail(GraphError, "this session has no loss to train on", do="pass loss=")
        return self.graph.loss

    def require_optimizer(self, what: str) -> Optimizer:
        """The optimizer; refuses `what` without, or without a loss."""
        self.require_loss()
        if self.optimizer is None:
            fail(
                GraphError,
                f"{what} needs an optimizer",
                do="pass optimizer=sf.optim.Adam(1e-3) to the session",
            )
        return self.optimizer


def _without_rate(optimizer: Optimizer) -> Optimizer:
    """The optimizer with a base rate of 0, if its rate is a number."""
    constant = isinstance(optimizer.schedule, Constant)
    return replace(optimizer, lr=0.0) if constant else optimizer
