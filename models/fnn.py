"""Feed-forward networks.

x (batch, 784) -> [dense -> norm -> activation -> dropout] for each hidden layer -> dense -> y
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import staticflow as sf
from staticflow import ops
from staticflow.models.activations import Activation, activation_function, weight_init
from staticflow.models.checks import check_rate, check_sizes
from staticflow.models.layers import Dense, Model, Weights
from staticflow.models.norms import EPSILON, Norm, make_norm


class FNN(Model):
    """A feed-forward network of dense layers; call it on a node of shape (..., sizes[0]).

    `sizes` are the width of the input, of each hidden layer, and of the output. `activation` and
    `output_activation` are names, functions from node to node, or None. `dropout` is the rate after
    each hidden layer, or a list with one for each member of a session; `norm` is None, "batch" or
    "layer", before each hidden activation, and `epsilon` what it adds to variances. Layer k has the
    parameters `fnn.k.weight` (in, out) and `fnn.k.bias` (out,). Calls share them.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Activation | None = "relu",
        output_activation: str | Activation | None = None,
        dropout: Any = 0.0,
        norm: str | None = None,
        name: str = "fnn",
        epsilon: float = EPSILON,
    ) -> None:
        self.sizes = check_sizes(sizes, name)
        self.name = name
        self.dropout = check_rate(dropout, name)
        self._activation = activation_function(activation)
        self._output_activation = activation_function(output_activation)
        last = len(self.sizes) - 2
        self.layers: list[Dense] = []
        self.norms: list[Norm] = []
        for k, (width, out) in enumerate(pairwise(self.sizes)):
            init = weight_init(output_activation if k == last else activation)
            self.layers.append(Dense(width, out, f"{name}.{k}", init))
            if norm is not None and k < last:
                self.norms.append(make_norm(norm, out, f"{name}.{k}.norm", epsilon))

    def __call__(self, x: sf.Node) -> sf.Node:
        """(..., sizes[0]) -> (..., sizes[-1]), in the dtype of `x`."""
        *hidden, output = self.layers
        for k, layer in enumerate(hidden):
            x = layer(x)
            if self.norms:
                x = self.norms[k](x)
            x = ops.dropout(self._activation(x), self.dropout)
        return self._output_activation(output(x))

    def weights(self) -> Iterator[Weights]:
        yield from (layer.weights for layer in self.layers)
        yield from (norm.weights for norm in self.norms)

    def __repr__(self) -> str:
        return f"FNN({' -> '.join(map(str, self.sizes))}, name={self.name!r})"
