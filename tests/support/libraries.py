"""One namespace of functions for staticflow and one for JAX, so that a program is written once.

JAX's control flow is written out as Python: what it computes and differentiates is then the path
that was taken, operation by operation, and nothing is compiled for it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import jax.scipy.special as jss

import staticflow as sf
from staticflow import ops

jax.config.update("jax_enable_x64", True)


def our_library() -> Any:
    """The functions of `ops`, and control flow."""
    names = {name: getattr(ops, name) for name in ops.__all__}
    return SimpleNamespace(**names, scan=sf.scan, cond=sf.cond, while_loop=sf.while_loop)


def their_library() -> Any:
    """The same names, as JAX has them."""
    names: dict[str, Callable[..., Any]] = {}
    for module in (jss, jax.nn, jnp.linalg, jnp):
        names |= {n: getattr(module, n) for n in ops.__all__ if hasattr(module, n)}
    return SimpleNamespace(**{**names, **SPECIAL})


def _scan(step: Any, init: Any, xs: Any, reverse: bool = False) -> Any:
    order = range(len(jax.tree.leaves(xs)[0]))
    carry, rows = init, {}
    for t in reversed(order) if reverse else order:
        carry, rows[t] = step(carry, jax.tree.map(lambda x, t=t: x[t], xs))
    return carry, jax.tree.map(lambda *ys: jnp.stack(ys), *(rows[t] for t in order))


def _cond(pred: Any, then: Any, otherwise: Any) -> Any:
    return then() if bool(pred) else otherwise()


def _while_loop(test: Any, body: Any, init: Any, max_steps: int) -> Any:
    carry = init
    for _ in range(max_steps):
        if not bool(test(carry)):
            break
        carry = body(carry)
    return carry


def _layer_norm(x: Any) -> Any:
    distance = x - x.mean(-1, keepdims=True)
    return distance / jnp.sqrt(jnp.mean(distance**2, -1, keepdims=True) + 1e-5)


def _cross_entropy(logits: Any, labels: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0]


def _eigvalsh(a: Any) -> Any:
    return jnp.linalg.eigh(a)[0]


def _svd(a: Any) -> Any:
    return jnp.linalg.svd(a, full_matrices=False)


SPECIAL: dict[str, Callable[..., Any]] = {
    "scan": _scan,
    "cond": _cond,
    "while_loop": _while_loop,
    "layer_norm": _layer_norm,
    "softmax_cross_entropy": _cross_entropy,
    "erf": jss.erf,
    "erfc": jss.erfc,
    "logsumexp": jss.logsumexp,
    "logdet": lambda a: jnp.linalg.slogdet(a)[1],
    "slogdet": lambda a: tuple(jnp.linalg.slogdet(a)),
    "solve_triangular": jsl.solve_triangular,
    "expm": jsl.expm,
    "eigvalsh": _eigvalsh,
    "svd": _svd,
    "svdvals": lambda a: _svd(a)[1],
    "qr": lambda a: tuple(jnp.linalg.qr(a)),
    "top_k": jax.lax.top_k,
    "softsign": jax.nn.soft_sign,
    "take": lambda x, k, axis=None: jnp.take(x, k, axis, mode="clip"),
    "scatter_add": lambda x, k, v, axis=0: x.at[(slice(None),) * axis + (k,)].add(v),
    "stop_gradient": jax.lax.stop_gradient,
    "triangular_solve": jsl.solve_triangular,
    "astype": lambda x, dtype: jnp.asarray(x).astype(dtype),
    "mse": lambda y, t: jnp.mean((y - t) ** 2),
    "mae": lambda y, t: jnp.mean(jnp.abs(y - t)),
    "hard_tanh": jax.nn.hard_tanh,
    "hard_sigmoid": jax.nn.hard_sigmoid,
}
