"""What every contender starts from: the same inputs, targets and initial weights, by seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.workloads import FNN, RNN, Ensemble, Infer, Ode, Stream


@dataclass(frozen=True)
class Batches:
    """`x` and `y` lead with (batches, batch); `lengths` of ragged rows is (batches, batch)."""

    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray | None = None


def fnn_batches(w: FNN) -> Batches:
    rng = np.random.default_rng(1)
    rows = (w.batches, w.batch)
    if w.data == "expm":
        from scipy.linalg import expm

        matrices = rng.standard_normal((*rows, 2, 2))
        x, y = matrices.reshape(*rows, 4), expm(matrices).reshape(*rows, 4)
    else:
        x, y = rng.standard_normal((*rows, w.sizes[0])), rng.standard_normal((*rows, w.sizes[-1]))
    return Batches(x.astype(w.dtype), y.astype(w.dtype))


def rnn_batches(w: RNN) -> Batches:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((w.batches, w.batch, w.time, w.features)).astype(w.dtype)
    y = rng.standard_normal((w.batches, w.batch, 1)).astype(w.dtype)
    if not w.ragged:
        return Batches(x, y)
    lengths = rng.integers(w.time // 4, w.time + 1, (w.batches, w.batch))
    lengths[:, 0] = w.time
    # Longest first: PyTorch's packed sequences are cheapest so, and nobody else minds.
    lengths = -np.sort(-lengths, axis=1)
    x *= np.arange(w.time)[:, None] < lengths[:, :, None, None]
    return Batches(x, y, lengths)


def fnn_weights(w: FNN | Infer | Ode) -> list[tuple[np.ndarray, np.ndarray]]:
    """Glorot-uniform matrices (in, out) and zero biases."""
    rng = np.random.default_rng(2)
    layers = []
    for fan_in, fan_out in pairwise(w.sizes):
        bound = np.sqrt(6.0 / (fan_in + fan_out))
        matrix = rng.uniform(-bound, bound, (fan_in, fan_out)).astype(w.dtype)
        layers.append((matrix, np.zeros(fan_out, w.dtype)))
    return layers


def rnn_weights(w: RNN) -> dict[str, np.ndarray]:
    """PyTorch's names, shapes and gate order, and `head.weight` (in, 1), `head.bias` (1,)."""
    rng = np.random.default_rng(2)
    bound = 1 / np.sqrt(w.hidden)
    weights = {}

    def draw(name: str, *shape: int) -> None:
        weights[name] = rng.uniform(-bound, bound, shape).astype(w.dtype)

    for layer in range(w.layers):
        width = w.features if layer == 0 else w.hidden * w.directions
        for suffix in ("", "_reverse")[: w.directions]:
            draw(f"weight_ih_l{layer}{suffix}", w.gates * w.hidden, width)
            draw(f"weight_hh_l{layer}{suffix}", w.gates * w.hidden, w.hidden)
            draw(f"bias_ih_l{layer}{suffix}", w.gates * w.hidden)
            draw(f"bias_hh_l{layer}{suffix}", w.gates * w.hidden)
    draw("head.weight", w.hidden * w.directions, 1)
    draw("head.bias", 1)
    return weights


def by_member(w: Ensemble, weights: Any) -> Any:
    """Weights with a leading axis of members, each of which has others."""
    if isinstance(weights, dict):
        return {name: by_member(w, value) for name, value in weights.items()}
    if isinstance(weights, list | tuple):
        return type(weights)(by_member(w, value) for value in weights)
    factors = 1 + 0.01 * np.arange(w.members)
    return np.stack([weights * factor for factor in factors]).astype(weights.dtype)


def stream_weights(w: Stream) -> dict[str, np.ndarray]:
    return rnn_weights(RNN("lstm", w.features, w.hidden, 1, 1, dtype=w.dtype))


def stream_rows(w: Stream, steps: int = 256) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((steps, w.features)).astype(w.dtype)


def infer_rows(w: Infer) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((w.batch, w.sizes[0])).astype(w.dtype)


def ode_start(w: Ode) -> np.ndarray:
    return np.array([[1.0, 0.0]], w.dtype)


def ode_steps(w: Ode) -> tuple[Any, Any, Any]:
    """The step, its half and its sixth, as scalars of the workload's dtype."""
    scalar = np.dtype(w.dtype).type
    return scalar(w.step), scalar(w.step / 2), scalar(w.step / 6)


def runge_kutta(f: Callable[[Any], Any], steps: tuple[Any, Any, Any], state: Any) -> Any:
    """The next state of state' = f(state), for arrays of any library; literals would promote."""
    h, half, sixth = steps
    k1 = f(state)
    k2 = f(state + half * k1)
    k3 = f(state + half * k2)
    k4 = f(state + h * k3)
    middle = k2 + k3
    return state + sixth * (k1 + middle + middle + k4)
