"""The carries of a loop: what a step returns must be what the next one takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph.kinds import Map
from staticflow.graph.node import Node
from staticflow.graph.pytree import flatten, paths
from staticflow.graph.traversal import toposort
from staticflow.graph.types import INTEGERS
from staticflow.ops.cast import CASTS, cast
from staticflow.ops.coerce import fitted

WIDENING = Map(CASTS["float64"])
_NARROWEST = INTEGERS[0]


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


def meet_integers(
    starts: Sequence[Node], declare: Callable[[list[Node]], tuple[Sequence[Node], Sequence[Node]]]
) -> list[Node]:
    """The starts of a loop; those that are whole numbers of Python's have the dtype of the integers
    that they meet. `declare` gives body inputs for such starts, and the next carry.

    What a whole number of the narrowest dtype becomes tells whether it met others.
    """
    found = list(starts)
    while any(map(_is_whole, found)):
        tried = [cast(s, _NARROWEST) if _is_whole(s) else s for s in found]
        try:
            body_inputs, following = declare(tried)
        except (DTypeError, ShapeError, GraphError):  # what is wrong without a trial is said there
            return found
        if len(following) != len(found):
            return found
        open_ = {own for own, start in zip(body_inputs, found, strict=True) if _is_whole(start)}
        before, found = (
            found,
            [
                fitted(start, new.dtype) if _is_whole(start) and _has_met(new, open_) else start
                for start, new in zip(found, following, strict=True)
            ],
        )
        if found == before:
            break
    return found


def _is_whole(start: Node) -> bool:
    return start.dtype == "float32" and fitted(start, _NARROWEST).dtype == _NARROWEST


def _has_met(new: Node, body_inputs: Collection[Node]) -> bool:
    """Whether the next carry is made of integers beside numbers of Python's and such inputs."""
    if new.dtype == _NARROWEST:
        return any(
            n.dtype == _NARROWEST and n.weak is None and not n.inputs and n not in body_inputs
            for n in toposort([new])
        )
    return new.dtype in INTEGERS


def meet(
    starts: Sequence[Node],
    body_inputs: Sequence[Node],
    next_: Sequence[Node],
    outputs: Sequence[Node],
) -> list[Node]:
    """The starts of a loop after its body was declared once, from `body_inputs` to `next_`
    and `outputs`: a number of Python's has the dtype that it met there.
    """
    if all(start.weak is None for start in starts) or len(next_) != len(starts):
        return list(starts)
    widened = {x for n in toposort([*next_, *outputs]) if n.op == WIDENING for x in n.inputs}
    found = []
    for start, own, new in zip(starts, body_inputs, next_, strict=True):
        returned = start.dtype if new.weak is not None else new.dtype
        found.append(fitted(start, "float64" if own in widened else returned))
    return found
