"""What a graph demands of the sizes that come with the data, checked before its code runs.

    y = x[2:]        over a named axis n     n - 2 must not be negative
    z = x[:3]                                n - 3 must not be negative: 3 elements are read

Bounds between integers are checked where a slice is declared; those of named sizes can only be
checked here. Without this, compiled code would read outside its arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from staticflow.errors import ShapeError, fail
from staticflow.graph.dims import AnyDim, Dim, evaluate
from staticflow.graph.node import Node
from staticflow.graph.traversal import dims_of
from staticflow.graph.types import TensorType


@dataclass(frozen=True)
class SizeGuard:
    """A size that must not be negative, for the sake of a node."""

    size: AnyDim
    node: Node


def size_guards_of(nodes: Sequence[Node], known: Mapping[str, int]) -> tuple[SizeGuard, ...]:
    """What all nodes demand of named sizes, but for those `known`; each once."""
    found: dict[AnyDim, SizeGuard] = {}
    for node in nodes:
        sizes = list(dims_of(node))
        types = [x.type for x in node.inputs]
        if all(isinstance(t, TensorType) for t in types):
            sizes += node.op.size_guards(*types)
        for given in sizes:
            size = given.substitute(known) if isinstance(given, Dim) else given
            if isinstance(size, Dim) and size.name is None:
                found.setdefault(size, SizeGuard(size, node))
    return tuple(found.values())


def check_size_guards(guards: Sequence[SizeGuard], sizes: Mapping[str, int]) -> None:
    """Refuse sizes that are too small, naming the line that needs more."""
    for guard in guards:
        value = evaluate(guard.size, sizes)
        if value < 0:
            assert isinstance(guard.size, Dim)
            given = ", ".join(f"{name} = {sizes[name]}" for name in sorted(guard.size.names))
            fail(
                ShapeError,
                f"{guard.node.op.asked_by}: there are too few elements",
                got=f"{given}; {guard.size} must not be negative at {guard.node.where}",
                do="feed more elements along the axis, or take fewer",
            )


MOST_BYTES = 1 << 46  # that native code counts with: no machine has as much


@cache
def memory_of_the_machine() -> int:
    """How many bytes of memory there are; MOST_BYTES where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return MOST_BYTES


def check_room(sizes: Sequence[int], count: int, given: Mapping[str, int]) -> None:
    """Refuse sizes with which a program takes more memory than there is, before it is asked for."""
    most = memory_of_the_machine()
    if count > most or max(sizes, default=0) > MOST_BYTES:
        named = ", ".join(f"{name} = {n}" for name, n in given.items()) or "fixed sizes"
        need = max(count, *sizes, 0) / 1e9
        fail(
            ShapeError,
            "the values between inputs and outputs do not fit into memory",
            got=f"{need:.4g} GB with {named}; the machine has {most / 1e9:.4g} GB",
            do="feed fewer elements at a time",
        )
