"""Gradients of several batches with one update: `Session.accumulate` and `Session.apply`.

    for feeds in micro_batches:           the update is that of the batch that they make together,
        session.accumulate(feeds)         if the loss is a mean over rows: each gradient counts
    session.apply()                       with its rows

What a session has accumulated is among its values: it is saved, copied and pickled with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.session.run.steps import run_batch, training_memory
from staticflow.session.state.session_state import SessionState
from staticflow.training.check_numerics import check_update
from staticflow.training.epochs import Accumulated
from staticflow.training.trainer import Trainer
from staticflow.training.update import Update


def accumulate(
    state: SessionState, feeds: Mapping[Any, Any], batch_axis: str | None, watch: bool = False
) -> tuple[Trainer, list[float]]:
    """Add the gradient on one batch to those there; the trainer, and the batch's loss and metrics.

    With `watch`, a batch whose loss is NaN adds nothing.
    """
    if not state.trained:
        fail(
            GraphError,
            "accumulate: the session trains no parameters",
            do="declare one with sf.param, or name some in Session(train=[...])",
        )
    flat = state.params.flats[(state.trained[0].dtype, True)]
    gathered = state.accumulated or Accumulated(flat.like())
    try:
        trainer, values = run_batch(state, feeds, batch_axis, True, watch, gathered)
        trainer.release()
    finally:
        if gathered.batches:
            state.accumulated = gathered
    return trainer, values


def apply(state: SessionState) -> float:
    """Make the update of what has been accumulated; returns the mean loss over its rows."""
    state.require_optimizer("apply")
    gathered = state.accumulated
    if gathered is None:
        fail(
            GraphError,
            "apply: no gradients have been accumulated since the last update",
            do="call session.accumulate(feeds) once or more before session.apply(), or train on "
            "one batch with session.step(feeds)",
        )
    if gathered.along not in state.updates:
        memory = training_memory(state, gathered.along)
        state.updates[gathered.along] = Update(memory, state.step_values())
    update = state.updates[gathered.along]
    update.sync.reset()
    state.feed_rates()
    try:
        if state.check_numerics:
            check_update(update, state.pool, gathered, state.step_count)
        else:
            update.run(state.pool, gathered, state.step_count)
    finally:  # an interrupt may come before or after the update
        if update.sync.done:
            state.step_count += 1
            state.accumulated = None
    return gathered.loss / gathered.rows


def refuse_accumulated(state: SessionState, what: str) -> None:
    """Refuse to train otherwise while gradients wait for their update."""
    if state.accumulated is not None:
        fail(
            GraphError,
            f"{what}: gradients have been accumulated that wait for their update",
            got=f"{state.accumulated.batches} batches, {state.accumulated.rows} rows",
            do="call session.apply() before, or session.discard() to forget them",
        )
