"""Names for what a formula is about: such as Python reads, and no other thing's."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

import numpy as np

from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Node
from staticflow.graph.op_table import table

LINALG = ("inv", "det", "slogdet", "svd", "eigh", "cholesky", "solve", "pinv", "norm")
OTHERS = ("one_hot", "array", "expm_frechet")


def leaf_names(nodes: Iterable[Node], sizes: Iterable[str]) -> dict[Node, str]:
    """A name for each leaf: its own, with a number where that stands for something else."""
    taken = {*sizes}
    found: dict[Node, str] = {}
    for node in dict.fromkeys(nodes):
        if isinstance(node.op, Leaf):
            own = identifier(node.op.label)
            name, k = own, 2
            while name in taken or is_function(name):
                name, k = f"{own}_{k}", k + 1
            taken.add(name)
            found[node] = name
    return found


def identifier(name: str) -> str:
    """A name that Python reads: `rnn_0_weight` for `rnn.0.weight`."""
    found = re.sub(r"\W", "_", name)
    found = f"_{found}" if not found or found[0].isdigit() else found
    return f"{found}_" if keyword.iskeyword(found) else found


def is_function(name: str) -> bool:
    """Whether a formula may call a function so."""
    known = name in LINALG or name in OTHERS or name in table()
    return known or callable(getattr(np, name, None))


def sizes_of(nodes: Iterable[Node]) -> set[str]:
    """The names of dimensions."""
    types = [node.type for node in nodes if not isinstance(node.type, tuple)]
    dims = [n for type_ in types for n in type_.shape if not isinstance(n, int)]
    return {name for dim in dims for name in dim.names}
