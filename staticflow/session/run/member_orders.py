"""In which order each member goes through its rows.

shuffle=True     one order for all, drawn as the first member's
shuffle="own"    each member draws its own, as a session of its own does
shuffle=False    rows as they are, or as `rows` has them
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.native import memory
from staticflow.session.run.member_data import Indices


class Orders:
    """The orders of rows of a fit, for some epochs at a time.

    `counts` are the rows of each member, `batches` how many batches they make, and `chosen` their
    numbers in the data, if members have rows of their own.
    """

    def __init__(
        self,
        shuffle: Any,
        counts: Sequence[int],
        chosen: Sequence[Indices] | None,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        if shuffle not in (True, False, "own"):
            fail(
                GraphError,
                "fit: shuffle says in which order rows come",
                got=repr(shuffle)[:80],
                do="pass True for one order, 'own' for an order of each member, or False",
            )
        self.shuffle, self.chosen, self.rngs = shuffle, chosen, rngs
        self.counts = np.array(counts, np.int64)

    @property
    def has_own(self) -> bool:
        """Whether the orders of members take memory of their own."""
        return self.shuffle == "own" or self.chosen is not None

    def draw(
        self, members: NDArray[np.int64], batches: NDArray[np.int64], epochs: int
    ) -> list[Indices | None]:
        """The row numbers (epochs, rows) of each of these members; None where rows come as they
        are. The order within a single batch makes no difference, and is not drawn.
        """
        several = batches[members] > 1
        if self.shuffle == "own":
            own = zip(members.tolist(), several.tolist(), strict=True)
            return [self._own(k, epochs, more) for k, more in own]
        shared = self._shared(epochs) if self.shuffle and several.any() else None
        return [self._of_shared(k, epochs, shared) for k in members.tolist()]

    def _own(self, member: int, epochs: int, several: bool) -> Indices | None:
        """A member's own orders."""
        if not several:
            return self._of_shared(member, epochs, None)
        count = int(self.counts[member])
        orders = memory.empty((epochs, count), np.int64)
        for order in orders:
            order[:] = self.rngs[member].permutation(count)
        if self.chosen is not None:
            orders[...] = self.chosen[member][orders]
        return orders

    def _shared(self, epochs: int) -> Indices:
        """One order for all, (epochs, the most rows of any member)."""
        most = int(self.counts.max())
        orders = memory.empty((epochs, most), np.int64)
        for order in orders:
            order[:] = self.rngs[0].permutation(most)
        return orders

    def _of_shared(self, member: int, epochs: int, shared: Indices | None) -> Indices | None:
        """A member's rows in a shared order, or as it has them."""
        if self.chosen is None:
            return shared
        own = self.chosen[member]
        orders = memory.empty((epochs, own.size), np.int64)
        if shared is None:
            orders[...] = own
        elif own.size == shared.shape[1]:
            np.take(own, shared, out=orders)
        else:
            for order, positions in zip(orders, shared, strict=True):
                order[:] = own[positions[positions < own.size]]
        return orders
