"""The carries of a loop: what a step returns must be what the next one takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.kinds import Map
from staticflow.node import Node
from staticflow.ops.cast import CASTS
from staticflow.ops.coerce import fitted
from staticflow.structure import flatten, paths
from staticflow.traversal import toposort

WIDENING = Map(CASTS["float64"])


def check_carries(what: str, init: Any, following: Any) -> list[Node]:
    """The nodes of the next carry, which must have the structure and the types of the first."""
    names, returned = paths(init, "carry"), paths(following, "carry")
    if names != returned:
        fail(
            GraphError,
            f"{what}: the step must return a carry of the structure of init",
            got=f"{', '.join(returned) or 'none'} for {', '.join(names) or 'none'}",
        )
    starts = flatten(init)
    pairs = zip(starts, flatten(following), strict=True)
    results = [fitted(new, old.dtype) for old, new in pairs]
    for name, old, new in zip(names, starts, results, strict=True):
        if old.type != new.type:
            fail(
                DTypeError if old.shape == new.shape else ShapeError,
                f"{what}: {name} changes its type",
                got=f"{old.type} in init, {new.type} from the step",
                do="make the step return what it takes: reshape or cast the one or the other",
            )
    return results


def meet(
    starts: Sequence[Node], slots: Sequence[Node], next_: Sequence[Node], outputs: Sequence[Node]
) -> list[Node]:
    """The starts of a loop as they are after its body was declared once, from `slots` to `next_`
    and `outputs`: a number of Python's has the dtype that it met there.
    """
    if all(start.weak is None for start in starts) or len(next_) != len(starts):
        return list(starts)
    widened = {x for n in toposort([*next_, *outputs]) if n.op == WIDENING for x in n.inputs}
    found = []
    for start, own, new in zip(starts, slots, next_, strict=True):
        returned = start.dtype if new.weak is not None else new.dtype
        found.append(fitted(start, "float64" if own in widened else returned))
    return found
