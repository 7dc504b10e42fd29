"""The session: owns parameters, states and optimizer, and runs the compiled programs.

session = sf.Session(loss=loss, outputs={"y": y}, optimizer=sf.optim.Adam(1e-3), seed=0)
session.fit({"x": X, "t": T}, epochs=5, batch_size=32)
session.run("y", {"x": X})
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node
from staticflow.graph.operators import OPERATORS
from staticflow.graph.pytree import flatten
from staticflow.native.memory import Array
from staticflow.native.threads.granted import granted_threads
from staticflow.optim.algorithms import Optimizer
from staticflow.runtime.feeds import input_nodes
from staticflow.session.exports import Exports
from staticflow.session.files.file_errors import checked
from staticflow.session.files.file_version import check_version
from staticflow.session.live import Live, LiveAttributes
from staticflow.session.report.history import History
from staticflow.session.run.accumulation import accumulate, apply, refuse_accumulated
from staticflow.session.run.evaluate import evaluate
from staticflow.session.run.fetch import Fetches, structure_key
from staticflow.session.run.fit import Fit
from staticflow.session.run.fit_options import FitOptions
from staticflow.session.run.steps import loss_and_gradients, run_batch
from staticflow.session.state.graph import SessionGraph
from staticflow.session.state.session_state import (
    SessionState,
    check_optimizer,
    check_seed,
    check_threads,
)
from staticflow.session.state.trained import chosen

Callback = Callable[["Session", dict[str, float]], Any]


class Session(LiveAttributes, Exports):
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

    With `members=n` everything exists n times, with seeds of `seed` to `seed + n - 1`, and is
    trained by one `fit`: see `docs/ensembles.md`.

    `copy.deepcopy(session)` gives one with the same graph and values of its own; a pickled session
    holds the graph as data, as a saved one does, and is fetched from by the names of its outputs.
    """

    loss = Live(lambda state: state.graph.loss)
    outputs = Live(lambda state: state.graph.outputs)
    metrics = Live(lambda state: state.graph.metrics)
    inputs = Live(lambda state: state.graph.inputs)
    # By name, in order of declaration: live arrays, writable in place.
    params = Live(lambda state: state.params)
    states = Live(lambda state: state.states)
    optimizer = Live(lambda state: state.optimizer)
    seed = Live(lambda state: state.seed)
    threads = Live(lambda state: state.threads)
    check_numerics = Live(lambda state: state.check_numerics)
    step_count = Live(lambda state: state.step_count)
    epoch_count = Live(lambda state: state.epoch_count)
    run_count = Live(lambda state: state.run_count)  # runs that have drawn numbers
    extra = Live(lambda state: state.extra)

    def __new__(cls, *given: Any, members: int | None = None, **settings: Any) -> Session:
        """With `members`, a session of so many (`session.ensemble`)."""
        return super().__new__(cls if members is None or cls is not Session else _of_members())

    def __init__(
        self,
        loss: Node | None = None,
        outputs: Any = None,
        metrics: Mapping[str, Node] | None = None,
        optimizer: Optimizer | None = None,
        params: Mapping[str, Any] | None = None,
        seed: Any = 0,
        threads: int | None = None,
        check_numerics: bool = False,
        train: Any = None,
        freeze: Any = None,
        members: int | None = None,
    ) -> None:
        graph = SessionGraph(loss, outputs, metrics)
        threads = granted_threads() if threads is None else threads
        state = self._begun(
            graph,
            chosen({node.name: node for node in graph.params}, train, freeze),
            seed,
            members,
            optimizer=check_optimizer(optimizer),
            threads=check_threads(threads, "leave it out to use all cores"),
            check_numerics=check_numerics,
        )
        self._hold(state)
        if params is not None:
            self.load_params(params)

    @staticmethod
    def _begun(
        graph: SessionGraph, trained: Any, seed: Any, members: int | None, **settings: Any
    ) -> SessionState:
        """The state that a new session begins with."""
        return SessionState(graph, trained, seed=check_seed(seed), **settings)

    def _hold(self, state: SessionState) -> None:
        self._state = state
        self._fetches = Fetches(state)

    def load_params(self, values: Any) -> None:
        """Set parameters from a mapping from name to array, or a saved file; all or nothing."""
        if isinstance(values, str | os.PathLike):
            from staticflow.session.files.restore import read_params

            values = read_params(values)
        self._state.load_params(values)

    def reset(self, seed: int | None = None) -> None:
        """Begin anew with the initial values of a seed, by default the session's own: parameters,
        states, the optimizer's arrays and all counts are as in a new session. What has been
        compiled stays, so that training goes on at once.
        """
        state = self._state
        with state.lock, state.gate.writing():
            state.reset(state.seed if seed is None else check_seed(seed))

    # -- running ---------------------------------------------------------------------------------

    def run(
        self, fetches: Any, feeds: Mapping[Any, Any] | None = None, seed: int | None = None
    ) -> Any:
        """Compute a fetch (an output's name, a node, or a list, tuple or dict of them).

        `feeds` maps input names or nodes to arrays. Runs in inference mode; returns new arrays.
        What a run draws is new each time, as `run_count` counts runs that draw; with a `seed` it is
        that seed's, and the run is not counted.
        """
        return self._fetches.run(fetches, feeds, None if seed is None else check_seed(seed))

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
        from staticflow.session.jit import jit

        key, state = structure_key(fetch), self._state
        with state.lock:
            if key not in state.jitted:
                state.jitted[key] = jit(self._fetches, fetch)
            return state.jitted[key]

    # -- training --------------------------------------------------------------------------------

    def fit(
        self,
        data: Any,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool | str = True,
        validation_data: Any = None,
        callbacks: Callback | Sequence[Callback] = (),
        progress: bool = True,
        batch_axis: str | None = None,
        on_nan: str = "stop",
        accumulate: int = 1,
    ) -> History:
        """Train for some epochs; returns the logs of all epochs.

        `data` maps input names to arrays, or is a callable that returns an iterator of such dicts
        (one batch each). A last smaller batch counts with its own size. Ctrl-C raises
        KeyboardInterrupt with the parameters as of the last finished step. `callbacks` are
        functions of (session, log), or one of them, called after each epoch: true ends the fit.
        `on_nan` says what a loss that is NaN does: "stop" the fit with a warning, "raise"
        NumericsError, or "ignore" it. The parameters are those before that step, or of a copy if
        they had become NaN themselves: up to 0.1 s old, and 2 s for each 100 MB that steps change.
        The warning says how old, step_count says of which step. With `accumulate=k`, k batches
        have one update, by the mean of their gradients over rows, as one batch of all their rows
        has; the last batches of an epoch may be fewer. `step_count` counts updates.
        """
        self._state.require_optimizer("fit")
        options = FitOptions(
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            validation_data=validation_data,
            callbacks=callbacks,
            progress=progress,
            batch_axis=batch_axis,
            on_nan=on_nan,
            accumulate=accumulate,
        )
        with self._state.lock:
            return Fit(self._fetches, self, data, options).run()

    def step(self, feeds: Mapping[Any, Any], batch_axis: str | None = None) -> float:
        """One training step on one batch; returns its loss (before the update)."""
        state = self._state
        state.require_optimizer("step")
        with state.lock:
            refuse_accumulated(state, "step")
            trainer, (loss, *_) = run_batch(state, feeds, batch_axis, train=True)
            trainer.release()
            return loss

    def accumulate(self, feeds: Mapping[Any, Any], batch_axis: str | None = None) -> float:
        """Add the gradient on one batch to those that `apply` will train by; returns its loss.

        Nothing else changes, but states such as batch norm's take their next values. Gradients
        count with their rows: of a loss that is a mean over rows, the update is that of one batch
        of all rows. What has been accumulated is saved and copied with the session.
        """
        self._state.require_optimizer("accumulate")
        with self._state.lock:
            return accumulate(self._state, feeds, batch_axis)[1][0]

    def apply(self) -> float:
        """One update by what has been accumulated; returns the mean loss over all its rows.

        Clipping, the learning rate's schedule and `step_count` go by updates. Raises GraphError if
        nothing has been accumulated.
        """
        with self._state.lock:
            return apply(self._state)

    def discard(self) -> None:
        """Forget what has been accumulated and not applied."""
        with self._state.lock:
            self._state.accumulated = None

    def gradients(
        self, feeds: Mapping[Any, Any], batch_axis: str | None = None
    ) -> dict[str, Array]:
        """The gradients of the loss by parameter name, on one batch; changes nothing."""
        with self._state.lock:
            return loss_and_gradients(self._state, feeds, batch_axis)[1]

    # -- evaluating ------------------------------------------------------------------------------

    def evaluate(
        self, data: Any, batch_size: int = 1024, batch_axis: str | None = None
    ) -> dict[str, float]:
        """Loss and metrics in inference mode, averaged by rows."""
        return evaluate(self._fetches, data, batch_size, batch_axis)

    # -- looking inside --------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """The generated Numba source of the training step, or of the outputs."""
        from staticflow.session.explain import source

        return source(self._fetches)

    def explain(self, batch_axis: str | None = None) -> str:
        """The graph, the kernels, the memory plan and the cost model's choice, as text.

        `batch_axis` names the dimension that data is sliced along, as in `fit`; by default it is
        that of the last training.
        """
        from staticflow.session.explain import explain

        return explain(self._fetches, batch_axis)

    @property
    def roots(self) -> list[Node]:
        """The loss, the metrics and the outputs."""
        return list(self._state.graph.roots)

    def _repr_html_(self) -> str:
        """A notebook shows a session as the picture of its graph; see `sf.draw`."""
        picture: str = OPERATORS["picture"](self)
        return picture

    def profile(
        self, feeds: Mapping[Any, Any], repeat: int = 100, batch_axis: str | None = None
    ) -> Any:
        """Time per kernel of a training step on this batch, named by the lines it came from.

        Without a loss, of the computation of all outputs. `batch_axis` names the dimension that
        data is sliced along, as in `fit`. Where rows run in blocks, the times are those of a block.
        """
        from staticflow.session.profile import profile

        return profile(self._fetches, feeds, repeat, batch_axis)

    @staticmethod
    def _over(state: SessionState) -> Session:
        """A session with values that exist."""
        return session_over(state, Fetches(state))

    # -- files and copies ------------------------------------------------------------------------

    def save(self, path: Any, extra: Mapping[str, Any] | None = None) -> None:
        """Write weights, optimizer state, random state and the graph to a safetensors file."""
        from staticflow.session.files.checkpoint import save

        save(self._state, path, extra)

    @staticmethod
    def load(path: Any, threads: int | None = None) -> Session:
        """Read a session that `save` wrote; training resumes bit for bit."""
        from staticflow.session.files.restore import read_session

        data, tensors = read_session(path)
        return checked(path, lambda: _restored(data, tensors, threads))

    def __copy__(self) -> Session:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """A session of the same graph, which cannot change, with values of its own."""
        state = self._state
        with state.lock:
            new = state.twin()
            new.take_values(state)
            new.take_programs(state)
            new.extra = copy.deepcopy(state.extra, memo)
            return self._over(new)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The graph as data, as in a saved file, with values and the random state."""
        from staticflow.session.files.checkpoint import snapshot

        return session_from_pickle, snapshot(self._state)


def session_over(state: SessionState, fetches: Fetches) -> Session:
    """A session with values that exist."""
    session = object.__new__(Session)
    session._state, session._fetches = state, fetches
    return session


def _of_members() -> type[Session]:
    cls: type[Session] = OPERATORS["members"]()
    return cls


def session_from_pickle(data: dict[str, Any], tensors: dict[str, Array]) -> Session:
    """What pickle makes a session of again."""
    check_version("a pickled session", data)
    return checked("a pickled session", lambda: _restored(data, tensors, None))


def _restored(
    data: Mapping[str, Any], tensors: Mapping[str, Array], threads: int | None
) -> Session:
    """A session from what `checkpoint` has written of one."""
    from staticflow.session.files.restore import SavedSession

    saved = SavedSession(data, tensors)
    session = Session(
        saved.loss,
        saved.outputs,
        saved.metrics,
        saved.optimizer,
        seed=saved.seed,
        threads=saved.threads if threads is None else threads,
        check_numerics=saved.check_numerics,
        train=saved.trained,
        members=saved.members,
    )
    saved.fill(session._state)
    return session
