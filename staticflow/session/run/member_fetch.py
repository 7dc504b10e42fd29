"""What the members of a session compute on demand: each fetch for all of them, (members, ...)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Hyper, Param
from staticflow.graph.pytree import rebuild_like
from staticflow.native import memory
from staticflow.native.memory import Array
from staticflow.native.threads.granted import granted_threads
from staticflow.native.training.shard_pool import ShardPool
from staticflow.runtime.feeds import as_array, bind_sizes
from staticflow.runtime.index_checks import check_indices
from staticflow.runtime.runner import Runner
from staticflow.session.run.fetch import Fetch, Fetches, structure_key
from staticflow.session.run.member_data import split_members
from staticflow.session.state.members import MembersState
from staticflow.training.member_compute import Leaf, MemberCompute

MAX_COMPUTES = 64  # with more fetches and shapes than this, tables are made again
REDUCTIONS = ("mean", "std")


class MemberFetches(Fetches):
    """The fetches of all members of a session."""

    def __init__(self, state: MembersState) -> None:
        super().__init__(state)
        self.whole = state
        self._own: dict[int, Fetches] = {}
        self._computes: dict[Any, MemberCompute] = {}
        self._in_use = threading.Lock()
        self._threads = ShardPool()  # that of the session is a fit's, as long as it lasts

    def after_fork_in_child(self) -> None:
        super().after_fork_in_child()
        self._in_use = threading.Lock()

    def forget(self) -> None:
        super().forget()
        self._computes = {}
        for own in self._own.values():
            own.forget()

    has_members = True

    def each(self) -> list[Fetches]:
        return [self.member(k) for k in range(self.whole.members)]

    def member(self, index: int) -> Fetches:
        """Those of one member."""
        state = self.whole.member(index)
        return self._own.setdefault(state.index, Fetches(state))

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None, seed: int | None = None) -> Any:
        """The values of all members, (members, ...), in the structure of the fetches."""
        fetch = self.fetch(fetches)
        runner, count = fetch.runner, self.whole.members
        inputs = dict(zip(fetch.names, runner.inputs, strict=False))
        named, stacked = split_members(
            inputs, {} if feeds is None else feeds, count, self.state.graph.inputs
        )
        arrays = {name: as_array(inputs[name], named[name]) for name in fetch.names}
        for k in range(count if stacked else 1):
            own = arrays | {name: array[k] for name, array in stacked.items()}
            check_indices(runner.limits, own, bind_sizes(inputs, own))
        if self.state.check_numerics:
            return self._one_by_one(fetch, fetches, {**arrays, **stacked}, stacked, seed)
        numbers = self._numbers(fetch, seed)
        values = self._computed(structure_key(fetches), runner, {**arrays, **stacked, **numbers},
                                {*stacked, *numbers})  # fmt: skip
        return rebuild_like(fetch.structure, iter(values))

    def _one_by_one(
        self, fetch: Fetch, fetches: Any, arrays: Mapping[str, Array],
        stacked: Mapping[str, Array], seed: int | None,
    ) -> Any:  # fmt: skip
        """Each member's run by itself, looked at for NaN and Inf."""
        found = []
        for k in range(self.whole.members):
            own = {n: a[k] if n in stacked else a for n, a in arrays.items()}
            found.append(leaves_of(self.member(k).run(fetches, own, seed)))
        values = [np.stack(parts) for parts in zip(*found, strict=True)]
        return rebuild_like(fetch.structure, iter(values))

    def _numbers(self, fetch: Fetch, seed: int | None) -> dict[str, Array]:
        """The last inputs of runs that draw, by member, see `Fetches.numbers`."""
        if not fetch.numbers:
            return {}
        state = self.whole
        seeds, runs = state.seed_cell.copy(), np.zeros(state.members, np.int64)
        if seed is None:
            with self._in_use:
                runs[:] = -state.run_counts
                state.run_counts += 1
        else:
            seeds[:] = seed
        values = {"seed": seeds, "step": runs}
        return {name: memory.filled(values[name], np.int64) for name in fetch.numbers}

    def _computed(
        self, key: Any, runner: Runner, arrays: Mapping[str, Array], own: set[str]
    ) -> list[Array]:
        """The outputs of a program for all members; inputs in `own` have an axis of members."""
        state, count = self.whole, self.whole.members
        given = [arrays[x.name] for x in runner.inputs]
        sizes = runner.sizes(
            [a[0] if x.name in own else a for x, a in zip(runner.inputs, given, strict=True)]
        )
        leaves = self._leaves(runner)
        for node, array, buffer in zip(runner.inputs, given, runner.buffers, strict=True):
            if buffer is not None:
                stride = array.strides[0] if node.name in own else 0
                leaves.append(Leaf(buffer, int(array.ctypes.data), stride))
        outputs = []
        compiled = runner.program.compiled
        for node, buffer in zip(runner.outputs, compiled.output_buffers, strict=True):
            shape = tuple(evaluate(n, sizes) for n in node.shape)
            out = memory.empty((count, *shape), node.dtype)
            outputs.append(out)
            leaves.append(Leaf(buffer, int(out.ctypes.data), out.strides[0]))
        with self._in_use, self._whole_steps():
            known = (key, *((a.shape, n in own) for n, a in arrays.items()), state.threads)
            if known not in self._computes:
                while len(self._computes) >= MAX_COMPUTES:
                    self._computes.pop(next(iter(self._computes)))
                threads = max(1, min(state.threads, count, granted_threads()))
                self._computes[known] = MemberCompute(runner.program, sizes, threads)
            self._computes[known].run(self._threads, count, leaves)
        return outputs

    def _leaves(self, runner: Runner) -> list[Leaf]:
        """Where the members' parameters and states are."""
        state, found = self.whole, []
        for node, address in runner.fixed.items():
            store = state.params if isinstance(node.op, Param) else state.states
            stride = 0 if isinstance(node.op, Hyper) else store[node.name].strides[0]
            found.append(Leaf(runner.program.leaves[node], address, stride))
        return found

    @contextmanager
    def _whole_steps(self) -> Iterator[None]:
        """Around what reads the values of all members: those of whole steps."""
        lock = self.state.lock
        if lock.acquire(blocking=False):  # nobody trains, or this thread, between two calls
            try:
                yield
            finally:
                lock.release()
            return
        with ExitStack() as stack:
            for gate in self.whole.gates:
                stack.enter_context(gate.reading())
            yield


def leaves_of(structure: Any) -> list[Any]:
    """The arrays of a structure, in order."""
    if isinstance(structure, dict):
        return [x for value in structure.values() for x in leaves_of(value)]
    if isinstance(structure, list | tuple):
        return [x for value in structure for x in leaves_of(value)]
    return [structure]


def reduced(structure: Any, reduce: Any) -> Any:
    """The mean over members of each array, a tuple of mean and deviation, or the arrays."""
    if reduce is None:
        return structure
    names = reduce if isinstance(reduce, tuple) else (reduce,)
    if not names or any(name not in REDUCTIONS for name in names):
        fail(
            GraphError,
            "run: reduce says what becomes of the members' results",
            got=repr(reduce)[:80],
            do='leave it out for all of them, or pass "mean", "std" or ("mean", "std")',
        )
    found = tuple(_mapped(getattr(np, name), structure) for name in names)
    return found if isinstance(reduce, tuple) else found[0]


def _mapped(function: Any, structure: Any) -> Any:
    if isinstance(structure, dict):
        return {key: _mapped(function, value) for key, value in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(_mapped(function, value) for value in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(_mapped(function, value) for value in structure)
    return function(structure, axis=0)
