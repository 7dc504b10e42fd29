"""The training step of a session: compiled, bound to memory, and run on one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_outside_loops
from staticflow.native.memory import Array
from staticflow.runtime.feeds import match_feeds, row_dimension
from staticflow.session.run.nan_labels import refuse_labels
from staticflow.session.state.row_means import check_row_means
from staticflow.session.state.session_state import SessionState
from staticflow.session.state.trained import leave_alone
from staticflow.training.check_numerics import CheckedTrainer
from staticflow.training.epochs import Accumulated
from staticflow.training.shard import TrainingMemory
from staticflow.training.step_programs import (
    StepPrograms,
    TrainingGraph,
    shared_programs,
    whole_programs,
)
from staticflow.training.trainer import Trainer

MAX_TRAINERS = 512  # with more sets of sizes than this, tables are made again


def step_programs(state: SessionState, batch: str) -> StepPrograms:
    """The programs of the training step for data that is sliced along `batch`."""
    if batch not in state.programs:
        graph = state.graph
        state.require_loss()
        check_outside_loops(graph.training_roots)
        check_row_means(graph.metrics, [batch] if batch else [])
        make = whole_programs if state.check_numerics else shared_programs
        programs = state.programs[batch] = make(_training_graph(state, batch), state.toolchain)
        if programs.params:
            flat = state.params.flats[(programs.params[0].dtype, True)]
            leave_alone(flat, state.extras, programs.unreached)
    return state.programs[batch]


def _training_graph(state: SessionState, batch: str) -> TrainingGraph:
    graph, loss = state.graph, state.require_loss()
    return TrainingGraph(
        loss, graph.metrics, state.trained, graph.states, graph.inputs, batch, state.optimizer
    )


def printed_programs(state: SessionState) -> StepPrograms:
    """The programs that `session.source` prints, of which one computes the whole loss."""
    programs = reported_programs(state, None)
    if len(programs.parts) == 1:
        return programs
    return whole_programs(_training_graph(state, programs.batch), state.toolchain)


def reported_programs(state: SessionState, batch_axis: str | None) -> StepPrograms:
    """The programs that reports are about: for data that is sliced along this axis, by default the
    one that training used last.
    """
    if batch_axis is None and state.programs:
        return next(reversed(state.programs.values()))
    return step_programs(state, row_dimension(state.graph.training_inputs, batch_axis))


def training_memory(state: SessionState, batch: str) -> TrainingMemory:
    """What all training steps on data that is sliced along `batch` work in."""
    if batch not in state.memories:
        programs = step_programs(state, batch)
        trainable = programs.params
        flat = state.params.flats[(trainable[0].dtype, True)] if trainable else None
        state.memories[batch] = TrainingMemory(programs, flat, state.gate)
    return state.memories[batch]


def trainer_for(
    state: SessionState,
    batch: str,
    env: Mapping[str, int],
    threads: int,
    accumulates: bool = False,
) -> Trainer:
    """The training step for one set of sizes, from the last few used."""
    memory = training_memory(state, batch)
    accumulates = accumulates and threads > 1  # one thread makes the same steps in either case
    key = (batch, tuple(sorted(env.items())), threads, accumulates)
    if key not in state.trainers:
        while len(state.trainers) >= MAX_TRAINERS:
            state.trainers.pop(next(iter(state.trainers)))
        make = CheckedTrainer if state.check_numerics else Trainer
        most = 1 if state.check_numerics else threads
        state.trainers[key] = make(memory, state.step_values(), env, most, accumulates)
    return state.trainers[key]


def run_batch(
    state: SessionState,
    feeds: Mapping[Any, Any],
    batch_axis: str | None,
    train: bool,
    watch: bool = False,
    into: Accumulated | None = None,
) -> tuple[Trainer, list[float]]:
    """One training step; the trainer, which still has the data, and loss and metrics.

    Without `train` nothing is updated; with `watch` a step whose loss is NaN is left before its
    update. With `into` the gradient is added to those there, instead of an update.
    """
    graph = state.graph
    state.require_loss()
    inputs = graph.training_inputs
    arrays, env = graph.checked(match_feeds(inputs, feeds))
    batch = row_dimension(inputs, batch_axis)
    if batch and not env[batch]:
        fail(GraphError, "the batch has no rows", f"{batch} = 0", "feed at least one row")
    if train:
        check_labels(state, arrays, batch_axis)
    trainer = trainer_for(state, batch, env, threads=1)
    state.feed_rates()
    trainer.sync.reset()  # an interrupt before the run counts none of the last one's
    try:
        return trainer, trainer.single(state.pool, arrays, state.step_count, train, watch, into)
    except BaseException:
        trainer.release()
        raise
    finally:  # an interrupt may come before or after the update
        state.step_count += trainer.sync.done if train and into is None else 0


def loss_and_gradients(
    state: SessionState, feeds: Mapping[Any, Any], batch_axis: str | None
) -> tuple[float, dict[str, Array]]:
    """The loss on one batch and its gradients by the parameters' names; changes nothing."""
    trainer, (loss, *_) = run_batch(state, feeds, batch_axis, train=False)
    trainer.release()
    return loss, trainer.gradients()


def check_labels(
    state: SessionState,
    data: Mapping[str, Array],
    batch_axis: str | None,
    sample: Callable[[Mapping[str, Array]], Mapping[str, Array]] = lambda bad: {},
) -> None:
    """Refuse data whose loss or gradients are NaN because labels are; see `refuse_labels`.

    Once a session's graph has been seen to cope with such labels, they are not looked at again.
    """
    if not state.copes_with_nan:

        def attempt(batch: Mapping[str, Array]) -> tuple[float, Mapping[str, Array]]:
            return loss_and_gradients(state, batch, batch_axis)

        state.copes_with_nan = refuse_labels(state.graph.labels, data, attempt, sample)
