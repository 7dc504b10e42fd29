"""What the tests of models share: leaves by name, and their values interpreted."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticflow as sf
from staticflow.graph.leaves import Input, Param, State
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret


def values(nodes: list[sf.Node], arrays: dict[str, Any], training: bool = False) -> list[Any]:
    """The nodes, interpreted, for leaves by name."""
    found = [leaf for kind in (Input, Param, State) for leaf in leaves(nodes, kind)]
    return interpret(nodes, {leaf: arrays[leaf.name] for leaf in found}, training=training)


def names(*nodes: sf.Node) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters by name."""
    return {leaf.name: leaf.shape for leaf in leaves(nodes, Param)}


def features(shape: tuple[Any, ...] = ("batch", 5), dtype: str = "float64") -> sf.Node:
    return sf.input("x", shape, dtype)


class Holder:
    """What `to_torch_state` reads of a session."""

    def __init__(self, named: dict[str, np.ndarray]) -> None:
        self.params, self.states = named, dict[str, np.ndarray]()
