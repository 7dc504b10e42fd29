"""Native calls that train some members of a session, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.native import memory
from staticflow.native.threads.granted import granted_threads
from staticflow.native.training.layout import Reason
from staticflow.session.run.accumulation import refuse_accumulated
from staticflow.session.run.member_data import MemberRows
from staticflow.session.run.steps import run_batch, step_programs
from staticflow.session.state.members import MembersState
from staticflow.training.member_place import MemberPlace
from staticflow.training.member_run import Ended, MemberRun, MemberSteps, updates
from staticflow.training.shard import TrainingMemory

MAX_RUNS = 64  # with more sets of sizes than this, tables are made again


def member_run(state: MembersState, batch: str, env: Mapping[str, int]) -> MemberRun:
    """The places of the session's threads, for one set of sizes, from the last few used."""
    threads = max(1, min(state.threads, state.members, granted_threads()))
    key = (batch, tuple(sorted(env.items())))
    found = state.runs.get(key)
    if found is None or len(found.places) < threads:
        while len(state.runs) >= MAX_RUNS:
            state.runs.pop(next(iter(state.runs)))
        programs = step_programs(state, batch)
        flat = None
        if programs.params:
            flat = state.params.flats[(programs.params[0].dtype, True)]
        values = state.step_values()
        memories = [TrainingMemory(programs, flat, state.gate) for _ in range(threads)]
        places = [MemberPlace(memory, values, env) for memory in memories]
        found = state.runs[key] = MemberRun(places, state.gate_words)
    return found


def call(
    state: MembersState,
    run: MemberRun,
    steps: MemberSteps,
    poll: Callable[[], None] | None = None,
) -> Ended:
    """One native call; the members' counts of steps are right even if it is interrupted."""
    threads = max(1, min(state.threads, granted_threads()))
    run.begin(steps)
    try:
        return run.run(state.pool, steps, threads, poll)
    finally:
        done = run.ended(steps).done
        own = steps.members
        per_epoch = run.batches[own]
        state.step_counts[own] += updates(steps.first, done, per_epoch, steps.group)
        run.finish()


def refuse_accumulated_members(state: MembersState, what: str) -> None:
    """Refuse to train otherwise while gradients of a member wait for their update."""
    for member in state.known_members():
        refuse_accumulated(member, what)


class Step(NamedTuple):
    """One step of some members: loss and metrics (members, metrics), and who has got NaN."""

    values: NDArray[np.float64]
    is_nan: NDArray[np.bool_]


def one_step(
    state: MembersState,
    data: MemberRows,
    active: NDArray[np.bool_],
    watch: bool = False,
    batch_axis: str | None = None,
) -> Step:
    """A step on one batch, of the members that are `active`; values of the others are NaN."""
    rows = data.rows
    own = np.flatnonzero(active)
    values = np.full((state.members, 1 + len(state.graph.metrics)), math.nan)
    if state.check_numerics:
        for k in own.tolist():
            values[k] = run_batch(state.member(k), data.of(k), batch_axis, True, watch)[1]
        return Step(values, np.isnan(values[:, 0]) & active)
    state.feed_rates()
    run = member_run(state, rows.batch, rows.env)
    run.bind(data.data([rows.count] * state.members), state.regions())
    sums = memory.zeros((state.members, 1, values.shape[1]), np.float64)
    zeros = np.zeros(len(own), np.int64)
    steps = MemberSteps(
        members=own, first=zeros, last=zeros + 1, step_base=state.step_counts[own] + 1,
        orders=[None] * len(own), sums=sums, watch=watch,
    )  # fmt: skip
    try:
        outcome = call(state, run, steps)
    finally:
        run.release()
    done = own[outcome.done > 0]
    values[done] = sums[done, 0] / rows.count
    is_nan = np.zeros(state.members, bool)
    is_nan[own[outcome.reasons == Reason.NAN]] = True
    return Step(values, is_nan)


def checked_steps(
    state: MembersState,
    run: MemberRun,
    data: MemberRows,
    steps: MemberSteps,
    batch_axis: str | None,
) -> None:
    """The steps of a native call one by one, each looked at for NaN and Inf (check_numerics)."""
    for i, k in enumerate(steps.members.tolist()):
        given, axes, order = data.of(k), data.rows.axes, steps.orders[i]
        for batch in range(int(steps.first[i]), int(steps.last[i])):
            epoch, place = divmod(batch, int(run.batches[k]))
            first = place * run.batch_rows
            own = np.arange(first, min(first + run.batch_rows, int(run.rows[k])))
            own = own if order is None else order[epoch][own]
            feeds = {n: np.take(a, own, axes[n]) if n in axes else a for n, a in given.items()}
            _, values = run_batch(state.member(k), feeds, batch_axis, train=True)
            steps.sums[k, epoch] += np.array(values) * len(own)
