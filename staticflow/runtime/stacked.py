"""Values of several members, which have the same leaves: each flat array has a row for each member.

    stacked    (members, elements)     row k has the layout of a session's flat array
    store[n]   (members, *shape)       a live view

The rows start at cache lines, so that members do not share them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Param, State
from staticflow.graph.node import Node
from staticflow.init import ByMember, Initializer, initialise, resolve
from staticflow.native import memory
from staticflow.native.memory import Array
from staticflow.runtime.parameters import FlatArray, ParameterStore

SAME = ("zeros", "ones", "constant")  # initializers that draw nothing


class StackedStore(ParameterStore):
    """A mapping from name to live array (members, *shape); `flats` are those of the first member.

    Values may be assigned for all members at once, in the shape of one.
    """

    def __init__(
        self, nodes: Sequence[Node], what: str, count: int, trained: Container[Node] = ()
    ) -> None:
        super().__init__(nodes, what, trained)
        self.count = count
        self.stacked = {key: stack(flat, count) for key, flat in self.flats.items()}
        for key, data in self.stacked.items():
            self._show(key, data)
            self.flats[key].data = data[0]

    def member(self, index: int) -> ParameterStore:
        """One member's values, in the same memory."""
        trained = {s.node for (_, own), flat in self.flats.items() if own for s in flat.spans}
        return _Member(self, index, trained)

    def draw(self, rngs: Sequence[np.random.Generator]) -> None:
        """Give every leaf its declared initial value for each member, as that member draws it."""
        for name, node in self.nodes.items():
            op = node.op
            assert isinstance(op, Param | State)
            shape = tuple(evaluate(n, {}) for n in node.shape)
            view, init = self[name], resolve(op.init, name)
            if isinstance(init, Initializer) and init.name not in SAME:
                with np.errstate(all="ignore"):
                    for row, rng in zip(view, rngs, strict=True):
                        row[...] = init(rng, shape)
                if not np.isfinite(view).all():
                    initialise(view, rngs[0], view.shape, node.dtype, name)  # which says so
            else:
                view[...] = self._given(name, init, shape, node.dtype, rngs)

    def _given(
        self,
        name: str,
        init: Any,
        shape: tuple[int, ...],
        dtype: str,
        rngs: Sequence[np.random.Generator],
    ) -> Array:
        """The initial values (members, *shape), or what broadcasts to them."""
        if isinstance(init, ByMember):
            check_members(f"the initial values of {name!r}", len(init.values), self.count)
            return initialise(init.values, rngs[0], (self.count, *shape), dtype, name)
        if callable(init) and not isinstance(init, Initializer):
            return np.stack([initialise(init, rng, shape, dtype, name) for rng in rngs])
        return initialise(init, rngs[0], shape, dtype, name)

    def check(self, name: str, value: Any) -> Array:
        """A value to be assigned, of all members or, in the shape of one, for each of them."""
        view, array = self[name], np.asarray(value)
        if array.ndim == view.ndim and len(array) != len(view):
            check_members(f"the values of {name!r}", len(array), self.count)
        if array.shape == view.shape[1:]:
            array = np.broadcast_to(array, view.shape)
        return super().check(name, array)


class _Member(ParameterStore):
    """The values of one member."""

    def __init__(self, store: StackedStore, index: int, trained: Container[Node]) -> None:
        super().__init__(list(store.nodes.values()), store.what, trained)
        for key, data in store.stacked.items():
            self.flats[key].data = data[index]
            self._show(key, data[index])


def stack(flat: FlatArray, count: int) -> Array:
    """Zeros in the layout of a flat array for each of `count` members."""
    return memory.zeros((count, flat.size), flat.dtype, memory.LINE)


def check_members(what: str, given: int, count: int) -> None:
    """Refuse an array by member that is of another length."""
    if given != count:
        fail(
            GraphError,
            f"{what} are {given}, of {count} members",
            got=f"an array of length {given}",
            do=f"pass an array of length {count}, one entry for each member",
        )


def by_member(values: Mapping[str, Array], index: int) -> dict[str, Array]:
    """The rows of one member."""
    return {name: array[index] for name, array in values.items()}
