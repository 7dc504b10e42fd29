"""A network of another framework as a graph: nodes by name, parameters with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import staticflow as sf


@dataclass(frozen=True)
class Imported:
    """`inputs` and `outputs` are nodes to make sessions and losses of; `parameters` and `states`,
    by name, start with the weights of the network that was taken in.
    """

    inputs: Mapping[str, sf.Node]
    outputs: Mapping[str, sf.Node]
    parameters: Mapping[str, sf.Node]
    states: Mapping[str, sf.Node]

    def __repr__(self) -> str:
        ins, outs = (
            ", ".join(f"{k}: {n.type}" for k, n in nodes.items())
            for nodes in (self.inputs, self.outputs)
        )
        return f"Imported({ins} -> {outs}; {len(self.parameters)} parameters)"
