"""Keras's layers with ours: each a function of its configuration, its weights and its inputs.

Weights keep Keras's shapes and its order of gates (LSTM: i, f, c, o; GRU: z, r, h), so that they go
back as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow import ops
from staticflow.errors import fail

Array = NDArray[Any]
Config = Mapping[str, Any]
Layer = Callable[["Given"], sf.Node]

ACTIVATIONS: dict[str, Callable[[sf.Node], sf.Node]] = {
    "linear": lambda x: x, "relu": ops.relu, "tanh": ops.tanh, "sigmoid": ops.sigmoid,
    "softmax": ops.softmax, "log_softmax": ops.log_softmax, "elu": ops.elu, "selu": ops.selu,
    "gelu": ops.gelu, "softplus": ops.softplus, "softsign": ops.softsign, "silu": ops.silu,
    "swish": ops.silu, "mish": ops.mish, "exponential": ops.exp,
    "hard_sigmoid": ops.hard_sigmoid, "leaky_relu": lambda x: ops.leaky_relu(x, 0.2),
    "relu6": lambda x: ops.clip(x, 0.0, 6.0), "hard_tanh": ops.hard_tanh,
    "log_sigmoid": ops.log_sigmoid,
}  # fmt: skip


class Given:
    """What a layer is made of: its configuration, its arrays, and its input, or inputs."""

    def __init__(
        self, path: str, config: Config, arrays: Sequence[Array], inputs: Sequence[sf.Node]
    ) -> None:
        self.path, self.config, self.inputs = path, config, list(inputs)
        self._arrays = list(arrays)
        self.declared: list[sf.Node] = []  # parameters and states, in Keras's order

    @property
    def x(self) -> sf.Node:
        return self.inputs[0]

    def refuse(self, why: str, got: str = "", do: str = "") -> Any:
        fail(sf.GraphError, f"from_keras: {self.path}: {why}", got=got, do=do)

    def weight(self, role: str, shape: tuple[Any, ...], state: bool = False) -> sf.Node:
        """The next of the layer's arrays as a parameter, or as a state."""
        name = f"{self.path}.{role}"
        if not self._arrays or self._arrays[0].shape != shape:
            found = "nothing" if not self._arrays else str(self._arrays[0].shape)
            self.refuse(f"its {role} has not the shape {shape}", found)
        array = self._arrays.pop(0)
        declare = sf.state if state else sf.param
        self.declared.append(declare(name, shape, np.ascontiguousarray(array), array.dtype.name))
        return self.declared[-1]

    def activation(self, key: str = "activation") -> Callable[[sf.Node], sf.Node]:
        name = self.config.get(key) or "linear"
        name = name.get("config") if isinstance(name, Mapping) else name
        if name not in ACTIVATIONS:
            self.refuse(f"there is no activation {name!r}", do=f"of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[str(name)]

    def done(self) -> None:
        """All arrays are used."""
        if self._arrays:
            self.refuse("there are weights left over", f"{self._arrays[0].shape}")


def _dense(g: Given) -> sf.Node:
    width, units = g.x.shape[-1], g.config["units"]
    y = ops.matmul(g.x, g.weight("kernel", (width, units)))
    return g.activation()(y + g.weight("bias", (units,)) if g.config.get("use_bias", True) else y)


def _embedding(g: Given) -> sf.Node:
    if g.config.get("mask_zero"):
        g.refuse("masks by zeros are not supported", do="give lengths to models.RNN instead")
    shape = (g.config["input_dim"], g.config["output_dim"])
    ids = g.x.astype("int64") if g.x.type.is_float else g.x
    return ops.embedding(g.weight("embeddings", shape), ids)


def _batch_norm(g: Given) -> sf.Node:
    """As in Keras, the running variance is that of the batch, not the unbiased one."""
    axis = g.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    if axis not in (-1, g.x.ndim - 1):
        g.refuse("it normalises another axis than the last", f"axis {axis} of {g.x.type}")
    x, shape = g.x, (g.x.shape[-1],)
    scale = g.weight("gamma", shape) if g.config.get("scale", True) else 1.0
    shift = g.weight("beta", shape) if g.config.get("center", True) else 0.0
    moving = [g.weight(role, shape, state=True) for role in ("moving_mean", "moving_variance")]
    axes, momentum = tuple(range(x.ndim - 1)), g.config.get("momentum", 0.99)
    now = [ops.mean(x, axes), ops.var(x, axes)]
    for old, new in zip(moving, now, strict=True):
        sf.update(old, momentum * old + (1.0 - momentum) * new)
    mean, var = (ops.by_mode(new, old) for new, old in zip(now, moving, strict=True))
    scale = ops.divide(scale, ops.sqrt(var + g.config.get("epsilon", 1e-3)))
    return ops.add((x - mean) * scale, shift)


def _layer_norm(g: Given) -> sf.Node:
    axis = g.config.get("axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    if [a % g.x.ndim for a in axes] != [g.x.ndim - 1]:
        g.refuse("it normalises other axes than the last", f"{axes} of {g.x.type}")
    shape = (g.x.shape[-1],)
    scale = g.weight("gamma", shape) if g.config.get("scale", True) else 1.0
    shift = g.weight("beta", shape) if g.config.get("center", True) else 0.0
    mean = ops.mean(g.x, -1, keepdims=True)
    var = ops.var(g.x, -1, keepdims=True)
    scaled = (g.x - mean) / ops.sqrt(var + g.config.get("epsilon", 1e-3))
    return ops.add(ops.multiply(scaled, scale), shift)


def _recurrent(kind: str) -> Layer:
    gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]

    def write(g: Given) -> sf.Node:
        c, units = g.config, g.config["units"]
        if c.get("return_state") or c.get("stateful"):
            g.refuse("states that are returned, or kept between calls, are not supported")
        width, biased = g.x.shape[-1], c.get("use_bias", True)
        w = g.weight("kernel", (width, gates * units))
        u = g.weight("recurrent_kernel", (units, gates * units))
        both = kind == "GRU" and c.get("reset_after", True)
        shape = (2, gates * units) if both else (gates * units,)
        b = g.weight("bias", shape) if biased else ops.zeros(shape, g.x.dtype)
        rule = STEPS[kind](g, w, u, b)
        states = 2 if kind == "LSTM" else 1
        start = tuple(ops.zeros((g.x.shape[0], units), g.x.dtype) for _ in range(states))

        def step(state: Any, row: sf.Node) -> Any:
            new = rule(row, state)
            return new, new[0]

        back = bool(c.get("go_backwards"))
        last, ys = sf.scan(step, start, ops.swapaxes(g.x, 0, 1), reverse=back)
        final: sf.Node = last[0]
        if not c.get("return_sequences"):
            return final
        return ops.swapaxes(ops.flip(ys, 0) if back else ys, 0, 1)

    return write


def _simple_step(g: Given, w: sf.Node, u: sf.Node, b: sf.Node) -> Callable[..., Any]:
    act = g.activation()
    return lambda row, state: (act(row @ w + b + state[0] @ u),)


def _lstm_step(g: Given, w: sf.Node, u: sf.Node, b: sf.Node) -> Callable[..., Any]:
    act, gate = g.activation(), g.activation("recurrent_activation")

    def step(row: sf.Node, state: Any) -> Any:
        i, f, c, o = ops.split(row @ w + b + state[0] @ u, 4, -1)
        cell = gate(f) * state[1] + gate(i) * act(c)
        return gate(o) * act(cell), cell

    return step


def _gru_step(g: Given, w: sf.Node, u: sf.Node, b: sf.Node) -> Callable[..., Any]:
    act, gate = g.activation(), g.activation("recurrent_activation")
    n = g.config["units"]
    gates, last = u[:, : 2 * n], u[:, 2 * n :]

    def after(row: sf.Node, state: Any) -> Any:
        wz, wr, wn = ops.split(row @ w + b[0], 3, -1)
        uz, ur, un = ops.split(state[0] @ u + b[1], 3, -1)
        new = act(wn + gate(wr + ur) * un)
        return (new + gate(wz + uz) * (state[0] - new),)

    def before(row: sf.Node, state: Any) -> Any:
        wz, wr, wn = ops.split(row @ w + b, 3, -1)
        uz, ur = ops.split(state[0] @ gates, 2, -1)
        new = act(wn + (gate(wr + ur) * state[0]) @ last)
        return (new + gate(wz + uz) * (state[0] - new),)

    return after if g.config.get("reset_after", True) else before


STEPS: dict[str, Callable[..., Callable[..., Any]]] = {
    "SimpleRNN": _simple_step, "LSTM": _lstm_step, "GRU": _gru_step,
}  # fmt: skip


def _folded(function: Callable[..., sf.Node]) -> Layer:
    def write(g: Given) -> sf.Node:
        total = g.inputs[0]
        for other in g.inputs[1:]:
            total = function(total, other)
        return total

    return write


def _named(g: Given) -> sf.Node:
    return g.activation()(g.x)


def _relu(g: Given) -> sf.Node:
    slope, most = g.config.get("negative_slope") or 0.0, g.config.get("max_value")
    if g.config.get("threshold"):
        g.refuse("a threshold is not supported", str(g.config["threshold"]))
    y = ops.relu(g.x) if not slope else ops.leaky_relu(g.x, slope)
    return y if most is None else ops.minimum(y, most)


LAYERS: dict[str, Layer] = {
    "Dense": _dense, "Embedding": _embedding, "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm, "SimpleRNN": _recurrent("SimpleRNN"),
    "LSTM": _recurrent("LSTM"), "GRU": _recurrent("GRU"), "Activation": _named, "ReLU": _relu,
    "LeakyReLU": lambda g: ops.leaky_relu(g.x, g.config.get("negative_slope", 0.3)),
    "ELU": lambda g: ops.elu(g.x, g.config.get("alpha", 1.0)),
    "Softmax": lambda g: ops.softmax(g.x, g.config.get("axis", -1)),
    "Dropout": lambda g: ops.dropout(g.x, g.config["rate"]),
    "Flatten": lambda g: ops.reshape(g.x, (g.x.shape[0], -1)),
    "Reshape": lambda g: ops.reshape(g.x, (g.x.shape[0], *g.config["target_shape"])),
    "Permute": lambda g: ops.transpose(g.x, (0, *g.config["dims"])),
    "RepeatVector": lambda g: ops.repeat(g.x[:, None], g.config["n"], 1),
    "Rescaling": lambda g: g.x * g.config["scale"] + g.config.get("offset", 0.0),
    "Concatenate": lambda g: ops.concatenate(g.inputs, g.config.get("axis", -1)),
    "Add": _folded(ops.add), "Multiply": _folded(ops.multiply),
    "Subtract": _folded(ops.subtract), "Maximum": _folded(ops.maximum),
    "Minimum": _folded(ops.minimum),
    "Average": lambda g: _folded(ops.add)(g) / float(len(g.inputs)),
    "GlobalAveragePooling1D": lambda g: ops.mean(g.x, 1),
    "GlobalMaxPooling1D": lambda g: ops.max(g.x, 1), "Identity": lambda g: g.x,
    "ActivityRegularization": lambda g: g.x,
}  # fmt: skip
MERGES: dict[str, Callable[[sf.Node, sf.Node], sf.Node]] = {
    "concat": lambda a, b: ops.concatenate([a, b], -1), "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2.0, "mul": lambda a, b: a * b,
}  # fmt: skip
