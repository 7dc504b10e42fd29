"""Linear algebra against JAX: values, first and second derivatives, in both modes, in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
import jax.scipy.linalg as jsl  # noqa: E402

from staticflow import ops  # noqa: E402
from tests.ops.matrix_cases import Case, check  # noqa: E402

jax.config.update("jax_enable_x64", True)
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(20)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


def regular(*shape: int) -> Any:
    """Well-conditioned square matrices."""
    return normal(*shape) / np.sqrt(shape[-1]) + 1.5 * np.eye(shape[-1])


def positive(*shape: int) -> Any:
    """Symmetric and positive definite."""
    a = normal(*shape)
    return a @ np.swapaxes(a, -1, -2) / shape[-1] + np.eye(shape[-1])


def singular(n: int, rank: int) -> Any:
    return normal(n, rank) @ normal(rank, n)


def j_inv(a: Any) -> Any:
    return jnp.linalg.inv(a)


def t(x: Any) -> Any:
    return jnp.swapaxes(x, -1, -2)


def of_eigh(module: Any) -> Any:
    """What does not depend on the eigenvectors' signs."""

    def f(a: Any) -> Any:
        w, v = module.linalg.eigh(a) if module is jnp else module.eigh(a)
        return w, v * v, (v[..., :, None, :] * v[..., None, :, :])[..., 0]

    return f


def of_svd(module: Any) -> Any:
    def f(a: Any) -> Any:
        if module is jnp:
            u, s, v = jnp.linalg.svd(a, full_matrices=False)
        else:
            u, s, v = ops.svd(a)
        return u * u, s, v * v, u[..., :1, :] * u

    return f


def tri(lower: bool, trans: bool, unit: bool) -> tuple[Any, Any]:
    def ours(a: Any, b: Any) -> Any:
        return ops.solve_triangular(a, b, trans=trans, lower=lower, unit_diagonal=unit)

    def theirs(a: Any, b: Any) -> Any:
        return jsl.solve_triangular(a, b, trans=int(trans), lower=lower, unit_diagonal=unit)

    return ours, theirs


CASES = [
    *(Case(f"inv-{n}", ops.inv, j_inv, (regular(n, n),)) for n in (1, 2, 4, 40)),
    Case("inv-batch", ops.inv, j_inv, (regular(2, 3, 4, 4),)),
    *(Case(f"det-{n}", ops.det, jnp.linalg.det, (regular(n, n),)) for n in (1, 2, 3, 5, 12)),
    Case("det-batch", ops.det, jnp.linalg.det, (regular(3, 4, 4),)),
    *(Case(f"slogdet-{n}", lambda a: ops.slogdet(a)[1], lambda a: jnp.linalg.slogdet(a)[1],
           (normal(n, n),)) for n in (1, 3, 6, 35)),
    Case("slogdet-batch", ops.slogdet, lambda a: tuple(jnp.linalg.slogdet(a)), (normal(3, 4, 4),)),
    Case("logdet", ops.logdet, lambda a: jnp.linalg.slogdet(a)[1], (positive(2, 5, 5),)),
    Case("solve-vector", ops.solve, jnp.linalg.solve, (regular(5, 5), normal(5))),
    Case("solve-matrix", ops.solve, jnp.linalg.solve, (regular(5, 5), normal(5, 3))),
    Case("solve-large", ops.solve, jnp.linalg.solve, (regular(70, 70), normal(70, 9))),
    Case("solve-batch", ops.solve, jnp.linalg.solve, (regular(2, 4, 4), normal(2, 4, 3))),
    Case("solve-one-matrix", ops.solve, jnp.linalg.solve, (regular(4, 4), normal(3, 2, 4, 2))),
    Case("solve-one-side", ops.solve, jnp.linalg.solve, (regular(3, 4, 4), normal(4, 2))),
    *(Case(f"triangular-{lower}{trans}{unit}", *tri(lower, trans, unit),
           (regular(5, 5), normal(5, 2)))
      for lower in (False, True) for trans in (False, True) for unit in (False, True)),
    Case("triangular-vector", *tri(True, False, False), (regular(5, 5), normal(5))),
    Case("triangular-large", *tri(False, True, False), (regular(80, 80) / 4, normal(80, 5))),
    *(Case(f"cholesky-{n}", ops.cholesky, jnp.linalg.cholesky, (positive(n, n),))
      for n in (1, 2, 4, 50)),
    Case("cholesky-batch", ops.cholesky, jnp.linalg.cholesky, (positive(2, 2, 3, 3),)),
    Case("pinv-square", ops.pinv, jnp.linalg.pinv, (regular(4, 4),)),
    Case("pinv-tall", ops.pinv, jnp.linalg.pinv, (normal(2, 5, 3),)),
    Case("pinv-wide", ops.pinv, jnp.linalg.pinv, (normal(3, 5),)),
    Case("qr-square", ops.qr, lambda a: tuple(jnp.linalg.qr(a)), (normal(4, 4),)),
    Case("qr-tall", ops.qr, lambda a: tuple(jnp.linalg.qr(a)), (normal(2, 6, 3),)),
    Case("qr-one", ops.qr, lambda a: tuple(jnp.linalg.qr(a)), (normal(4, 1),)),
    *(Case(f"eigh-{n}", of_eigh(ops), of_eigh(jnp), (positive(n, n),)) for n in (1, 2, 5)),
    Case("eigh-batch", of_eigh(ops), of_eigh(jnp), (positive(3, 4, 4),)),
    Case("eigvalsh", ops.eigvalsh, jnp.linalg.eigvalsh, (positive(6, 6),)),
    Case("svd-square", of_svd(ops), of_svd(jnp), (normal(4, 4),)),
    Case("svd-tall", of_svd(ops), of_svd(jnp), (normal(5, 3),)),
    Case("svd-wide", of_svd(ops), of_svd(jnp), (normal(2, 3, 5),)),
    Case("svdvals", ops.svdvals, lambda a: jnp.linalg.svd(a, compute_uv=False), (normal(4, 6),)),
    *(Case(f"expm-{s}", ops.expm, jsl.expm, (s * normal(4, 4),)) for s in (0.1, 1.0, 8.0)),
    Case("expm-batch", ops.expm, jax.vmap(jsl.expm), (normal(3, 3, 3),)),
    *(Case(f"power-{n}", lambda a, n=n: ops.matrix_power(a, n),
           lambda a, n=n: jnp.linalg.matrix_power(a, n), (regular(3, 3),))
      for n in (0, 1, 2, 5, -3)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_against_jax(case: Case) -> None:
    check(case)
