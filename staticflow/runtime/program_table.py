"""One table for the process: from the structure of a graph to the programs compiled from it.

Two graphs have the same structure if the same lines declared them, with the same ops, names,
dtypes, declared shapes and constants: the folds of a validation, the points of a grid, a model that
is loaded twice. Initial values, seeds, constant learning rates and the sizes of named dimensions
are no part of it. A program is there as long as somebody has it, and goes with its last user; a
custom op, which has no description, makes a program that is nobody else's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from staticflow.errors import GraphError
from staticflow.graph.leaves import Input, Param, State
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.optim.algorithms import Optimizer
from staticflow.optim.schedules import Constant
from staticflow.runtime.graph_json import Encoder

T = TypeVar("T")


def shared(toolchain: Toolchain, key: str | None, make: Callable[[], T]) -> T:
    """What the table has under a key, or what `make` gives, which is entered."""
    if key is None:
        return make()
    found: T | None = toolchain.programs.get(key)
    if found is None:
        found = make()
        toolchain.programs[key] = found
    return found


def structure_key(describe: Callable[[Encoder], Any]) -> str | None:
    """A digest of what `describe` makes of graphs; None for those that have no description."""
    encoder = Encoder()
    try:
        described = describe(encoder)
        updates = encoder.updates()
    except GraphError:
        return None
    for entry in encoder.nodes:
        entry.get("fields", {}).pop("serial", None)  # the order of declaration, in the process
    state = hashlib.sha256(json.dumps([described, updates, encoder.nodes]).encode())
    for file in sorted({node.where.file for node in encoder.numbered()}):
        state.update(f"\0{file}".encode())
    for array in encoder.tensors.values():
        state.update(f"\0{array.dtype}{array.shape}".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def without_rate(optimizer: Optimizer | None) -> Optimizer | None:
    """The optimizer as far as it shapes code: a rate that is a number is told at each run."""
    if optimizer is None or not isinstance(optimizer.schedule, Constant):
        return optimizer
    return replace(optimizer, lr=0.0)


def named_leaves(roots: Iterable[Node]) -> dict[tuple[type, str], Node]:
    """The inputs, parameters and states that nodes reach, by kind and name."""
    listed = list(roots)
    kinds = (Input, Param, State)
    return {(kind, x.name): x for kind in kinds for x in leaves(listed, kind)}
