"""The session: owns parameters, states and optimizer, and runs the compiled programs.

session = sf.Session(loss=loss, outputs={"y": y}, optimizer=sf.optim.Adam(1e-3), seed=0)
session.fit({"x": X, "t": T}, epochs=5, batch_size=32)
session.run("y", {"x": X})
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.checks import (
    IndexLimit,
    check_indices,
    check_integer,
    check_loss,
    check_metrics,
    check_outside_loops,
    index_limits,
)
from staticflow.dims import names_of
from staticflow.errors import GraphError, fail
from staticflow.feeds import (
    as_array,
    bind_sizes,
    input_nodes,
    leading_names,
    match_feeds,
    measured,
    row_dimension,
)
from staticflow.fetching import Fetches, structure_key
from staticflow.fitting import Callbacks, Fit
from staticflow.history import History
from staticflow.leaves import Param
from staticflow.live import FixedDict, LiveAttributes, check_optimizer, named_outputs
from staticflow.nan_labels import label_names, refuse_labels
from staticflow.native import memory
from staticflow.native.forks import ForkAware
from staticflow.native.gate import ReadGate
from staticflow.native.threads import ShardPool
from staticflow.native.toolchain import Toolchain, toolchain
from staticflow.node import Node
from staticflow.numerics import CheckedTrainer
from staticflow.optim import Optimizer
from staticflow.parameters import Store, assign, declared_order
from staticflow.replicas import copy_session, reduce_session
from staticflow.row_means import check_row_means
from staticflow.shard_memory import TrainingMemory
from staticflow.slots import make_slots
from staticflow.states import states_of, updates_of
from staticflow.step_programs import (
    StepPrograms,
    TrainingGraph,
    build_programs,
    shared_programs,
)
from staticflow.structure import flatten
from staticflow.trained import chosen, leave_alone
from staticflow.training import Trainer
from staticflow.traversal import dims_of, leaves, toposort

Array = NDArray[Any]
MAX_TRAINERS = 512  # with more sets of sizes than this, tables are made again


class Session(LiveAttributes, ForkAware):
    """A network with its values.

    `loss` is a scalar node to train on. `outputs` is a node or a dict of nodes to fetch by name,
    `metrics` a dict of scalar nodes averaged by rows. `params` gives initial values by name, or
    another session's `params`. `threads` is the most that a fit may use (default: all cores).
    With `check_numerics`, a step or run in which NaN or Inf appears raises NumericsError, which
    names the node where it first did, and leaves all values as they were; it is for finding faults:
    steps are checked one by one, on one thread.

    `train` and `freeze` say which parameters are trained: lists of parameters, dicts of them, or
    names with `*`. Without `train` it is those declared so. What the loss does not depend on is
    left alone; `explain` names it. Attributes that are assigned count from the next step on.

    `copy.deepcopy(session)` gives one with the same graph and values of its own; a pickled session
    holds the graph as data, as a saved one does, and is fetched from by the names of its outputs.
    """

    def __init__(
        self,
        loss: Node | None = None,
        outputs: Any = None,
        metrics: Mapping[str, Node] | None = None,
        optimizer: Optimizer | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int = 0,
        threads: int | None = None,
        check_numerics: bool = False,
        train: Any = None,
        freeze: Any = None,
    ) -> None:
        super().__init__()
        if loss is not None:
            check_loss(loss)
        self.loss = loss
        self.outputs = named_outputs(outputs)
        self.metrics = FixedDict(check_metrics(metrics))
        self.optimizer = check_optimizer(optimizer)
        self.seed = check_integer("the seed", seed, 0, "pass seed=0, for example")
        threads = (os.cpu_count() or 1) if threads is None else threads
        self.threads = check_integer("threads", threads, 1, "leave it out to use all cores")
        self.check_numerics = check_numerics
        roots = self._roots()
        if not roots:
            fail(GraphError, "a session needs a loss or outputs", do="pass loss= or outputs=")
        check_outside_loops(roots)
        states = states_of(roots, self._scalars())
        roots += updates_of(states)
        self.inputs = input_nodes(roots)
        check_row_means(self.metrics, list(leading_names(self.inputs)))
        nodes = declared_order(leaves(roots, Param))
        self._trained = chosen({node.name: node for node in nodes}, train, freeze)
        self._params = Store(nodes, "parameter", self._trained)
        self._states = Store(declared_order(states), "state")
        self._reset()
        if params is not None:
            self.load_params(params)
        self._made = True

    def _roots(self) -> list[Node]:
        return [*self._scalars(), *flatten(self.outputs)]

    def _scalars(self) -> list[Node]:
        return [n for n in (self.loss, *self.metrics.values()) if n is not None]

    def _reset(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._params.initialise(self._rng)
        self._states.initialise(self._rng)
        self._toolchain: Toolchain = toolchain()
        self._pool = ShardPool()
        self._lock = threading.RLock()
        self._gate = ReadGate()
        self._seed_cell = memory.filled([self.seed], np.int64)
        self._inference_step = memory.zeros((1,), np.int64)
        self._lr = memory.zeros((1,), np.float64)
        self._run_lock = threading.Lock()
        self.run_count = 0  # runs that have drawn numbers
        self.step_count = 0
        self.epoch_count = 0
        self._fetches = Fetches(self)
        self._trainers: dict[Any, Trainer] = {}
        self._programs: dict[str, StepPrograms] = {}
        self._memories: dict[str, TrainingMemory] = {}
        self._slots: dict[str, Array] = {}
        self._extras: dict[str, Array] = {}  # of each element of the parameters
        self._jitted: dict[Any, Any] = {}
        self._copes_with_nan = False  # whether NaN in labels has been seen to do no harm
        self._spare: list[Array] = []  # memory for a copy of what training changes
        self.extra: dict[str, Any] = {}
        if self.optimizer is not None:
            self._slots, self._extras = make_slots(self._params, self._trained, self.optimizer)

    @property
    def params(self) -> Store:
        """The parameters by name, in order of declaration: live arrays, writable in place."""
        return self._params

    @property
    def states(self) -> Store:
        """The states by name, in order of declaration."""
        return self._states

    def load_params(self, values: Any) -> None:
        """Set parameters from a mapping from name to array, or a saved file; all or nothing."""
        if isinstance(values, str | os.PathLike):
            from staticflow.restore import read_params

            values = read_params(values)
        assign(self._params, self._states, values)

    def forget_programs(self) -> None:
        """Compile the training step again when it is next needed."""
        self._programs, self._memories, self._trainers = {}, {}, {}

    def forget_fetches(self) -> None:
        """Compile what is fetched again when it is next asked for."""
        self._fetches = Fetches(self)

    def after_fork_in_child(self) -> None:
        """Nobody holds the lock; what another thread's fit has done so far counts."""
        self._lock, self._run_lock = threading.RLock(), threading.Lock()
        self.step_count += sum(trainer.steps_under_way for trainer in self._trainers.values())
        self._trainers = {}

    # -- running ---------------------------------------------------------------------------------

    def run(
        self, fetches: Any, feeds: Mapping[Any, Any] | None = None, seed: int | None = None
    ) -> Any:
        """Compute a fetch (an output's name, a node, or a list, tuple or dict of them).

        `feeds` maps input names or nodes to arrays. Runs in inference mode; returns new arrays.
        What a run draws is new each time, as `run_count` counts runs that draw; with a `seed` it is
        that seed's, and the run is not counted.
        """
        if seed is not None:
            seed = check_integer("the seed", seed, 0, "pass seed=0, for example")
        return self._fetches.run(fetches, feeds, seed)

    def count_epoch(self) -> None:
        """One more epoch is done; to assign the count would take as long as some small steps."""
        vars(self)["epoch_count"] += 1

    def count_run(self) -> int:
        """The number of a run that draws, counted from 0: each has its own."""
        with self._run_lock:  # and not the session's, which a fit holds
            vars(self)["run_count"] += 1
            return self.run_count - 1

    def __call__(self, *arrays: Any, **feeds: Any) -> Any:
        """Every output, for inputs given by keyword."""
        if arrays:
            wanted = ", ".join(f"{name}=..." for name in input_nodes(flatten(self.outputs)))
            fail(GraphError, "inputs are given by keyword", do=f"write session({wanted})")
        return self.run(self.outputs, feeds)

    def jit(self, fetch: Any) -> Any:
        """A function of the fetch for the user's own Numba code: no Python, any number of threads.

        `f(*arrays)` returns a new array (a tuple of them for a tuple of fetches), `f(*arrays, out)`
        fills `out` and allocates nothing. The arrays are the inputs that the fetch needs, in the
        order in which they were declared. Parameters are those of the session at the time of the
        call. It draws by the session's seed alone: the same at each call. Indices out of range are
        clamped.
        """
        from staticflow.embed import jit_session

        key = structure_key(fetch)
        with self._lock:
            if key not in self._jitted:
                self._jitted[key] = jit_session(self, fetch)
            return self._jitted[key]

    # -- training --------------------------------------------------------------------------------

    def _step_programs(self, batch: str) -> StepPrograms:
        if batch not in self._programs:
            if self.loss is None:
                fail(GraphError, "this session has no loss to train on", do="pass loss=")
            check_outside_loops(self._training_roots())
            check_row_means(self.metrics, [batch] if batch else [])
            make = build_programs if self.check_numerics else shared_programs
            graph = TrainingGraph(
                self.loss, self.metrics, self._trained, list(self._states.nodes.values()),
                self.inputs, batch, self.optimizer,
            )  # fmt: skip
            programs = self._programs[batch] = make(graph, self._toolchain)
            if programs.params:
                flat = self._params.flats[(programs.params[0].dtype, True)]
                leave_alone(flat, self._extras, programs.unreached)
        return self._programs[batch]

    def trainer(self, batch: str, env: Mapping[str, int], threads: int) -> Trainer:
        """The training step for one set of sizes, from the last few used."""
        if batch not in self._memories:
            programs = self._step_programs(batch)
            trainable = programs.params
            flat = self._params.flats[(trainable[0].dtype, True)] if trainable else None
            self._memories[batch] = TrainingMemory(programs, flat, self._gate)
        key = (batch, tuple(sorted(env.items())), threads)
        if key not in self._trainers:
            while len(self._trainers) >= MAX_TRAINERS:
                self._trainers.pop(next(iter(self._trainers)))
            make = CheckedTrainer if self.check_numerics else Trainer
            self._trainers[key] = make(
                self._memories[batch], self._params, self._states, self._slots, self._extras, env,
                1 if self.check_numerics else threads, self._toolchain, self._lr, self._seed_cell,
            )  # fmt: skip
        return self._trainers[key]

    def fit(
        self,
        data: Any,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_data: Any = None,
        callbacks: Callbacks = (),
        progress: bool = True,
        batch_axis: str | None = None,
        on_nan: str = "stop",
    ) -> History:
        """Train for some epochs; returns the logs of all epochs.

        `data` maps input names to arrays, or is a callable that returns an iterator of such dicts
        (one batch each). A last smaller batch counts with its own size. Ctrl-C raises
        KeyboardInterrupt with the parameters as of the last finished step. `callbacks` are
        functions of (session, log), or one of them, called after each epoch: true ends the fit.
        `on_nan` says what a loss that is NaN does: "stop" the fit with a warning, "raise"
        NumericsError, or "ignore" it. The parameters are those before that step, or of a copy up to
        0.1 s old if they had become NaN themselves; step_count says of which step.
        """
        self.require_optimizer("fit")
        with self._lock:
            fit = Fit(
                self, data, epochs, batch_size, shuffle, validation_data, callbacks, progress,
                batch_axis, on_nan,
            )  # fmt: skip
            return fit.run()

    def require_optimizer(self, what: str) -> Optimizer:
        if self.loss is None:
            fail(GraphError, "this session has no loss to train on", do="pass loss=")
        if self.optimizer is None:
            fail(
                GraphError,
                f"{what} needs an optimizer",
                do="pass optimizer=sf.optim.Adam(1e-3) to the session",
            )
        return self.optimizer

    def step(self, feeds: Mapping[Any, Any], batch_axis: str | None = None) -> float:
        """One training step on one batch; returns its loss (before the update)."""
        self.require_optimizer("step")
        with self._lock:
            trainer, (loss, *_) = self._run_batch(feeds, batch_axis, train=True)
            trainer.release()
            return loss

    def gradients(
        self, feeds: Mapping[Any, Any], batch_axis: str | None = None
    ) -> dict[str, Array]:
        """The gradients of the loss by parameter name, on one batch; changes nothing."""
        with self._lock:
            trainer, _ = self._run_batch(feeds, batch_axis, train=False)
            trainer.release()
            return trainer.gradients()

    def _run_batch(
        self, feeds: Mapping[Any, Any], batch_axis: str | None, train: bool, watch: bool = False
    ) -> tuple[Trainer, list[float]]:
        assert self.loss is not None or self._step_programs("") is not None
        inputs = self.training_inputs
        arrays, env = self.checked(inputs, match_feeds(inputs, feeds))
        batch = row_dimension(inputs, batch_axis)
        if batch and not env[batch]:
            fail(GraphError, "the batch has no rows", f"{batch} = 0", "feed at least one row")
        if train:
            refuse_labels(self, arrays, batch_axis)
        trainer = self.trainer(batch, env, threads=1)
        if self.optimizer is not None:
            self._lr[0] = self.optimizer.base_lr
        try:
            return trainer, trainer.single(self._pool, arrays, self.step_count, train, watch)
        except BaseException:
            trainer.release()
            raise
        finally:  # an interrupt may come before or after the update
            self.step_count += trainer.sync.done if train else 0

    @cached_property
    def training_inputs(self) -> dict[str, Node]:
        """The inputs that a training step reads, or takes a size from."""
        roots = self._training_roots()
        inputs = input_nodes(roots)
        names = names_of(dim for node in toposort(roots) for dim in dims_of(node))
        sizes = measured(names, inputs.values(), self.inputs)
        return inputs | {node.name: node for node in sizes}

    @cached_property
    def labels(self) -> list[str]:
        """The float inputs of a training step that no output reads."""
        return label_names(self.outputs, self.training_inputs)

    @cached_property
    def training_limits(self) -> list[IndexLimit]:
        """What indices must keep to in a training step."""
        return index_limits(self._training_roots())

    def _training_roots(self) -> list[Node]:
        return [*self._scalars(), *updates_of(self._states.nodes.values())]

    def checked(
        self, inputs: Mapping[str, Node], named: Mapping[str, Any]
    ) -> tuple[dict[str, Array], dict[str, int]]:
        """Fed values as arrays, and the sizes of the named dimensions."""
        arrays = {name: as_array(inputs[name], named[name]) for name in inputs}
        env = bind_sizes(inputs, arrays)
        check_indices(self.training_limits, arrays, env)
        return arrays, env

    # -- evaluating ------------------------------------------------------------------------------

    def evaluate(
        self, data: Any, batch_size: int = 1024, batch_axis: str | None = None
    ) -> dict[str, float]:
        """Loss and metrics in inference mode, averaged by rows."""
        from staticflow.fitting import evaluate

        return evaluate(self, data, batch_size, batch_axis)

    # -- looking inside --------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """The generated Numba source of the training step, or of the outputs."""
        from staticflow.report import session_source

        return session_source(self)

    def explain(self) -> str:
        """The graph, the kernels, the memory plan and the cost model's choice, as text."""
        from staticflow.report import explain_session

        return explain_session(self)

    def profile(self, feeds: Mapping[Any, Any], repeat: int = 100) -> Any:
        """Time per kernel of a training step on this batch, named by the lines it came from.

        Without a loss, of the computation of all outputs.
        """
        from staticflow.report import profile_session

        return profile_session(self, feeds, repeat)

    def batch_name(self) -> str:
        """The dimension that training slices; "" where no input has a named leading one."""
        return row_dimension(self.training_inputs, None)

    def save(self, path: Any, extra: Mapping[str, Any] | None = None) -> None:
        """Write weights, optimizer state, random state and the graph to a safetensors file."""
        from staticflow.checkpoint import save_session

        save_session(self, path, extra)

    @staticmethod
    def load(path: Any, threads: int | None = None) -> Session:
        """Read a session that `save` wrote; training resumes bit for bit."""
        from staticflow.restore import load_session

        return load_session(path, threads)

    def __copy__(self) -> Session:
        return copy_session(self, {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return copy_session(self, memo)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return reduce_session(self)
