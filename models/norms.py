"""Normalisation layers with parameters, by PyTorch's formulas and defaults."""

from __future__ import annotations

import staticflow as sf
from staticflow import ops
from staticflow.models.checks import check_name
from staticflow.models.layers import Weights

EPSILON = 1e-5
MOMENTUM = 0.1


class Norm:
    """A normalisation of `width` features, then times `weight` plus `bias`."""

    states: tuple[str, ...] = ()

    def __init__(self, width: int, prefix: str, epsilon: float = EPSILON) -> None:
        self.width, self.prefix, self.epsilon = width, prefix, epsilon
        self.weights = Weights(prefix)

    def __call__(self, x: sf.Node) -> sf.Node:
        """(..., width) -> (..., width)."""
        raise NotImplementedError

    def _affine(self, dtype: str) -> tuple[sf.Node, sf.Node]:
        weight = self.weights.param("weight", (self.width,), "ones", dtype)
        return weight, self.weights.param("bias", (self.width,), "zeros", dtype)


class LayerNorm(Norm):
    """Each row by its own mean and variance."""

    def __call__(self, x: sf.Node) -> sf.Node:
        return ops.layer_norm(x, *self._affine(x.dtype), epsilon=self.epsilon)


class BatchNorm(Norm):
    """Each feature by the mean and variance of the batch in training, else by running means."""

    states = ("running_mean", "running_var")

    def __call__(self, x: sf.Node) -> sf.Node:
        axes = tuple(range(x.ndim - 1))
        running_mean = self.weights.state("running_mean", (self.width,), "zeros", x.dtype)
        running_var = self.weights.state("running_var", (self.width,), "ones", x.dtype)
        mean, var = ops.mean(x, axes), ops.var(x, axes)
        # Of a single row, the unbiased variance is 0/0; there too, no spread is no spread.
        unbiased = ops.where(ops.equal(var, 0.0), 0.0, ops.var(x, axes, ddof=1))
        sf.update(running_mean, (1.0 - MOMENTUM) * running_mean + MOMENTUM * mean)
        sf.update(running_var, (1.0 - MOMENTUM) * running_var + MOMENTUM * unbiased)
        centre, spread = ops.by_mode(mean, running_mean), ops.by_mode(var, running_var)
        weight, bias = self._affine(x.dtype)
        return (x - centre) * (weight / ops.sqrt(spread + self.epsilon)) + bias


NORMS: dict[str, type[Norm]] = {"batch": BatchNorm, "layer": LayerNorm}


def make_norm(kind: str, width: int, prefix: str, epsilon: float = EPSILON) -> Norm:
    """The normalisation called `kind`."""
    return NORMS[check_name(kind, tuple(NORMS), "norm")](width, prefix, epsilon)
