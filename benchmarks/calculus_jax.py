"""The calculus rows in JAX: jitted, by every order of derivatives that might be its best.

A Jacobian goes forward or in reverse; a Hessian forward over reverse, reverse over reverse or
reverse over forward; a time loop is unrolled by some steps or not, and the linear algebra in it is
the library's or written out for its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from benchmarks import calculus_data
from benchmarks.calculus_data import ResultJob
from benchmarks.contender import Forms
from benchmarks.workloads import Calculus

Function = Callable[..., Any]


def _exponential(x: Any, b: Any, a: Any) -> Any:
    return a @ jnp.exp(x @ b)


def _net(x: Any, layers: Any) -> Any:
    for w in layers:
        x = jnp.tanh(x @ w)
    return x


def _logistic(theta: Any, x: Any, y: Any) -> Any:
    z = x @ theta
    return (jnp.logaddexp(z, 0.0) - y * z).mean()


def _gaussian(theta: Any, place: Any, y: Any) -> Any:
    scale, length, noise = jnp.exp(theta)
    apart = (place[:, None] - place[None]) / length
    covariance = scale**2 * jnp.exp(-0.5 * apart**2) + noise**2 * jnp.eye(len(y))
    factor = jnp.linalg.cholesky(covariance)
    z = solve_triangular(factor, y, lower=True)
    return -0.5 * (z @ z) - jnp.log(jnp.diagonal(factor)).sum()


def _by_cholesky(spread: Any, off: Any, gain: Any) -> tuple[Any, Any, Any]:
    """The term of the likelihood, and what mean and covariance change by."""
    factor = jnp.linalg.cholesky(spread)
    z = solve_triangular(factor, off, lower=True)
    gain = solve_triangular(factor, gain, lower=True)
    return -0.5 * (z @ z) - jnp.log(jnp.diagonal(factor)).sum(), z @ gain, gain.T @ gain


def _by_hand(spread: Any, off: Any, gain: Any) -> tuple[Any, Any, Any]:
    """The same with the factor of the 2 x 2 matrix written out."""
    first = jnp.sqrt(spread[0, 0])
    beside = spread[1, 0] / first
    second = jnp.sqrt(spread[1, 1] - beside**2)
    z0 = off[0] / first
    z1 = (off[1] - beside * z0) / second
    w0 = gain[0] / first
    w1 = (gain[1] - beside * w0) / second
    term = -0.5 * (z0**2 + z1**2) - jnp.log(first) - jnp.log(second)
    return term, z0 * w0 + z1 * w1, jnp.outer(w0, w0) + jnp.outer(w1, w1)


def _kalman(parameters: Any, seen: Any, *, correct: Function, unroll: int) -> Any:
    advance, noise, error = parameters
    noise, error = jnp.diag(jnp.exp(noise)), jnp.diag(jnp.exp(error))

    def step(carry: Any, y: Any) -> tuple[Any, None]:
        mean, spread, total = carry
        mean, spread = advance @ mean, advance @ spread @ advance.T + noise
        term, shift, known = correct(spread[:2, :2] + error, y - mean[:2], spread[:2])
        return (mean + shift, spread - known, total + term), None

    start = (jnp.zeros(4, seen.dtype), jnp.eye(4, dtype=seen.dtype), jnp.zeros((), seen.dtype))
    return jax.lax.scan(step, start, seen, unroll=unroll)[0][2]


def _hvp(mode: str) -> Function:
    def forward(theta: Any, v: Any, x: Any, y: Any) -> Any:
        return jax.jvp(lambda t: jax.grad(_logistic)(t, x, y), (theta,), (v,))[1]

    def reverse(theta: Any, v: Any, x: Any, y: Any) -> Any:
        return jax.grad(lambda t: jnp.vdot(jax.grad(_logistic)(t, x, y), v))(theta)

    def through(theta: Any, v: Any, x: Any, y: Any) -> Any:
        return jax.grad(lambda t: jax.jvp(lambda s: _logistic(s, x, y), (t,), (v,))[1])(theta)

    return {"forward over reverse": forward, "reverse over reverse": reverse}.get(mode, through)


def _hessians() -> Iterator[tuple[str, Function]]:
    modes = {"forward": jax.jacfwd, "reverse": jax.jacrev}
    for outer, inner in (("forward", "reverse"), ("reverse", "reverse"), ("reverse", "forward")):
        yield f"{outer} over {inner}", modes[outer](modes[inner](_logistic))


def _variants(w: Calculus, n: dict[str, Any]) -> Iterator[tuple[str, Function, tuple[Any, ...]]]:
    """The forms of a row: a label, a function, and its arguments."""
    match w.problem:
        case "exp gradient by X":
            yield "", jax.grad(_exponential), (n["x"], n["b"], n["a"])
        case "exp gradient by b":
            yield "", jax.grad(_exponential, 1), (n["x"], n["b"], n["a"])
        case "tanh net jacobian":
            layers = [n[f"w{i}"] for i in range(4)]
            yield "forward", jax.jacfwd(_net), (n["x"], layers)
            yield "reverse", jax.jacrev(_net), (n["x"], layers)
        case "logistic hessian":
            for label, hessian in _hessians():
                yield label, hessian, (n["theta"], n["x"], n["y"])
        case "logistic hvp":
            for mode in ("forward over reverse", "reverse over reverse", "reverse over forward"):
                yield mode, _hvp(mode), (n["theta"], n["v"], n["x"], n["y"])
        case "gaussian likelihood":
            yield "", jax.value_and_grad(_gaussian), (n["theta"], n["place"], n["y"])
        case _:
            parameters = (n["advance"], n["noise"], n["error"])
            corrections = {"cholesky": _by_cholesky, "by hand": _by_hand}
            for label, correct in corrections.items():
                for unroll in (1, 4):
                    filter_ = jax.value_and_grad(partial(_kalman, correct=correct, unroll=unroll))
                    yield f"{label}, unroll {unroll}", filter_, (parameters, n["seen"])


def _job(function: Function, arguments: tuple[Any, ...]) -> ResultJob:
    compiled = jax.jit(function)
    return ResultJob(lambda: jax.tree.leaves(jax.block_until_ready(compiled(*arguments))))


def forms(w: Calculus) -> Forms:
    named = {name: jnp.asarray(a) for name, a in calculus_data.arrays(w).items()}
    for label, function, arguments in _variants(w, named):
        yield label, partial(_job, function, arguments)
