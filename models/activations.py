"""Activations by name, and the initial weights that suit each."""

from __future__ import annotations

from collections.abc import Callable

import staticflow as sf
from staticflow import ops
from staticflow.errors import fail

Activation = Callable[[sf.Node], sf.Node]


def _linear(x: sf.Node) -> sf.Node:
    return x


ACTIVATIONS: dict[str, Activation] = {
    "elu": ops.elu,
    "gelu": ops.gelu,
    "hard_sigmoid": ops.hard_sigmoid,
    "hard_tanh": ops.hard_tanh,
    "leaky_relu": ops.leaky_relu,
    "linear": _linear,
    "log_softmax": ops.log_softmax,
    "mish": ops.mish,
    "relu": ops.relu,
    "selu": ops.selu,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "softmax": ops.softmax,
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "tanh": ops.tanh,
}
_HALVING = ("elu", "gelu", "leaky_relu", "mish", "relu", "silu", "softplus")


def activation_function(activation: str | Activation | None) -> Activation:
    """The function for a name, for None (the identity), or for a function itself."""
    if callable(activation):
        return activation
    name = activation or "linear"
    if name not in ACTIVATIONS:
        fail(
            sf.GraphError,
            f"there is no activation {name!r}",
            do=f"use one of {', '.join(ACTIVATIONS)}, or a function from node to node",
        )
    return ACTIVATIONS[name]


def weight_init(activation: str | Activation | None) -> str:
    """The initializer for the weights of a layer with this activation."""
    if activation == "selu":
        return "lecun"
    return "he_uniform" if activation in _HALVING else "glorot_uniform"
