"""`check_grad`: derivatives compared with differences, and where they differ most.

reverse       <grad(f, x), v>          with  (f(x + h v) - f(x - h v)) / 2h
forward       jvp(f, x, v)             with the same
second order  hvp(f, x, v)             with the differences of grad(f, x)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.autodiff.derivatives import grad, jvp
from staticflow.autodiff.wrt import nodes_of
from staticflow.errors import GraphError, fail
from staticflow.graph.declare import input
from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Array, Node
from staticflow.ops import sum as total_of
from staticflow.runtime.interpreter import interpret
from staticflow.session.calculator import environment

DIRECTIONS = 2  # in which each derivative is checked, drawn at random
SEARCHED = 512  # elements at most that are looked at one by one for the worst
STENCIL = ((2 / 3, 1), (-2 / 3, -1), (-1 / 12, 2), (1 / 12, -2))  # of fourth order
STEPS = {"float64": 1e-3, "float32": 3e-2}
TOLERANCES = {"float64": 1e-6, "float32": 2e-2}


@dataclass(frozen=True)
class Check:
    """One derivative along one direction."""

    mode: str
    wrt: str
    derivative: float
    difference: float
    error: float  # relative to what is differentiated
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "WRONG"
        return (
            f"{self.wrt:<12} {self.mode:<13} {self.derivative:>14.7g} {self.difference:>14.7g} "
            f"{self.error:>9.1e}  {verdict}"
        )


@dataclass(frozen=True)
class GradCheck:
    """The result of `check_grad`: true if every derivative agrees with its difference."""

    checks: tuple[Check, ...]
    worst: str  # the element of which the gradient is furthest from its difference

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def error(self) -> float:
        """The largest of the relative errors."""
        return max(check.error for check in self.checks)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        title = f"{'wrt':<12} {'mode':<13} {'derivative':>14} {'difference':>14} {'error':>9}"
        return "\n".join([title, *map(str, self.checks), f"worst: {self.worst}"])

    def __repr__(self) -> str:
        return str(self)


def check_grad(f: Node, wrt: Any, feeds: Mapping[Any, Any], seed: int = 0) -> GradCheck:
    """Compare the derivatives of f by leaves with differences, at the values in `feeds`.

    f may have any shape (its elements are added up with random weights), `wrt` is an input or
    parameter, or a list or dict of them, and `feeds` gives an array for each leaf of f by name or
    node. Both modes and second derivatives are checked along random directions. Returns a
    GradCheck, which is true if all agree; printed, it shows each and names the worst element.
    Raises GraphError where `wrt` is no leaf or a leaf has no value. float64 sees errors of 1e-6,
    float32 of 2e-2.

        assert sf.check_grad(loss, [w, b], {"x": x, "w": w0, "b": b0})
    """
    nodes = nodes_of("check_grad", f, wrt)
    for node in nodes:
        if not isinstance(node.op, Leaf):
            fail(GraphError, "check_grad: moves inputs and parameters only", str(node))
    env = environment([f, *nodes], feeds)
    rng = np.random.default_rng(seed)
    scalar = f
    if f.ndim:
        weights = input("weights", f.shape, f.dtype)
        shape = interpret([f], env, training=False)[0].shape
        env[weights] = np.asarray(rng.uniform(0.5, 1.5, shape), f.dtype)
        scalar = total_of(f * weights)
    gradients = grad(scalar, nodes)
    checks = [
        check
        for x, g in zip(nodes, gradients, strict=True)
        for _ in range(DIRECTIONS)
        for check in _along(scalar, x, g, env, rng)
    ]
    return GradCheck(tuple(checks), _worst(scalar, nodes, gradients, env))


def _along(
    f: Node, x: Node, g: Node, env: Mapping[Node, Array], rng: np.random.Generator
) -> list[Check]:
    """The three checks along a random direction."""
    v = np.asarray(rng.uniform(-1, 1, env[x].shape), x.dtype)
    direction = input("direction", x.shape, x.dtype)
    values = {**env, direction: v}
    along = total_of(g * direction)
    tangent = jvp(f, x, direction)
    second = jvp(along, x, direction)
    reverse, forward, curve = interpret([along, tangent, second], values, training=False)
    first = _difference(f, x, v, env)
    pairs = [("reverse", reverse, first), ("forward", forward, first)]
    pairs.append(("second order", curve, _difference(along, x, v, values)))
    return [_check(mode, x, float(d), diff) for mode, d, diff in pairs]


def _check(mode: str, x: Node, derivative: float, difference: float) -> Check:
    error = abs(derivative - difference) / max(1.0, abs(derivative), abs(difference))
    tolerance = TOLERANCES[x.dtype]
    error = error if np.isfinite(error) else np.inf
    return Check(mode, x.name, derivative, difference, error, tolerance)


def _difference(f: Node, x: Node, v: Array, env: Mapping[Node, Array]) -> float:
    """The change of f along v, of fourth order in the step."""
    h = STEPS[x.dtype]
    total = 0.0
    for weight, count in STENCIL:
        moved = np.asarray(env[x] + count * h * v, x.dtype)
        total += weight * float(interpret([f], {**env, x: moved}, training=False)[0])
    return total / h


def _worst(
    f: Node, nodes: Sequence[Node], gradients: Sequence[Node], env: Mapping[Node, Array]
) -> str:
    """The element whose derivative is furthest from its difference, among the first of each."""
    found = interpret(list(gradients), env, training=False)
    worst, text = -1.0, "no elements"
    for x, g in zip(nodes, found, strict=True):
        for place in list(np.ndindex(*g.shape))[:SEARCHED]:
            unit = np.zeros(g.shape, x.dtype)
            unit[place] = 1
            check = _check("reverse", x, float(g[place]), _difference(f, x, unit, env))
            if check.error > worst:
                where = f"[{', '.join(map(str, place))}]" if place else ""
                worst = check.error
                text = (
                    f"{x.name}{where}: {check.derivative:.7g}, by differences "
                    f"{check.difference:.7g}"
                )
    return text
