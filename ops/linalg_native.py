"""The native calls of linear algebra; `ops.linalg` and its neighbours give them derivatives.

    Lu            (n, n)                -> factors (n, n), row order (n,), parity ()
    LuSolve       factors, order, (n,k) -> (n, k)
    Cholesky      (n, n)                -> (n, n)
    Qr            (m, n)                -> (m, k), (k, n)
    Eigh          (n, n)                -> (n,), (n, n)
    Svd           (m, n)                -> (m, k), (k,), (k, n)
    Squarings     (n, n), times ()      -> (n, n)

All have leading batch axes, which are left out here. The references are NumPy's and SciPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.calls import Scratch
from staticflow.graph.dims import AnyDim, product
from staticflow.graph.node import Array, Axes, Classes, Node, OutType
from staticflow.graph.require import require, require_matrices, require_operands
from staticflow.graph.types import TensorType
from staticflow.ops.linalg_rules import (
    cholesky_cotangent,
    cholesky_tangent,
    eigh_cotangent,
    qr_cotangent,
    svd_cotangent,
)
from staticflow.ops.linalg_triangular import check_solve, solve_or_infinite
from staticflow.ops.native_call import NativeCall, batch_of, same_batch


def _least(m: AnyDim, n: AnyDim) -> AnyDim | None:
    """The smaller of two sizes, if it is known."""
    if isinstance(m, int) and isinstance(n, int):
        return min(m, n)
    return m if m == n else None


@dataclass(frozen=True)
class Lu(NativeCall):
    """The factors by row exchanges; derivatives are those of what is solved by them."""

    routine = "lu"
    multiplies = True

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "float")
        require_matrices(self.name, xs, square=True)

    def infer(self, *xs: TensorType) -> OutType:
        (a,) = xs
        order = TensorType(a.shape[:-1], "int32")
        return (a, order, a.with_shape(a.shape[:-2]))

    def reference(self, *xs: Array) -> Any:
        a = xs[0]
        factors, order = np.array(a), np.zeros(a.shape[:-1], np.int32)
        parity = np.ones(a.shape[:-2], a.dtype)
        for index in np.ndindex(*a.shape[:-2]):
            factors[index], order[index], parity[index] = _lu(a[index])
        return factors, order, parity

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        classes.same(xs[0][-1], xs[0][-2])
        return (xs[0], xs[0][:-1], xs[0][:-2])

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-1])

    def scratch(self, *xs: Axes) -> Scratch:
        return (("", xs[0][-1] * 32),)


def _lu(a: Array) -> tuple[Array, Array, float]:
    f, n = np.array(a), len(a)
    order, parity = np.arange(n, dtype=np.int32), 1.0
    for j in range(n):
        at = j + int(np.argmax(abs(f[j:, j]))) if j < n else j
        if at != j:
            f[[j, at]], order[[j, at]], parity = f[[at, j]], order[[at, j]], -parity
        if f[j, j] != 0:
            f[j + 1 :, j] /= f[j, j]
            f[j + 1 :, j + 1 :] -= np.outer(f[j + 1 :, j], f[j, j + 1 :])
    return f, order, parity


@dataclass(frozen=True)
class LuSolve(NativeCall):
    """X with A X = B, or A' X = B if `turned`, from the factors of A."""

    turned: bool
    routine = "lu_solve"
    multiplies = True

    def check(self, *xs: TensorType) -> None:
        require(len(xs) == 3, "lusolve takes factors, an order and an array")
        require_operands(self.name, (xs[0], xs[2]), 2, "float")
        require_operands(self.name, xs[1:2], 1, "whole")
        check_solve(self.name, xs[0], xs[2])
        order = xs[1].with_dtype(xs[0].dtype)
        fits = order == xs[0].with_shape(xs[0].shape[:-1]) and xs[1].dtype == "int32"
        require(fits, f"lusolve: order {xs[1]} of {xs[0]}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[2]

    def reference(self, *xs: Array) -> Any:
        f, order, b = xs
        eye = np.eye(f.shape[-1], dtype=f.dtype)
        lower = np.tril(f, -1) + eye
        a = np.take_along_axis(
            lower @ np.triu(f), np.argsort(order, -1)[..., None].astype(np.int64), -2
        )
        return solve_or_infinite(np.swapaxes(a, -1, -2) if self.turned else a, b)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        f, order, b = xs
        n = classes.same(classes.same(f[-1], f[-2]), classes.same(order[-1], b[-2]))
        batch = same_batch(classes, f, b, 2, 2)
        same_batch(classes, order, b, 1, 2)
        return (*batch, n, b[-1])

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-1], xs[2][-1], int(self.turned))

    def scratch(self, *xs: Axes) -> Scratch:
        return (("", xs[2][-1] * xs[2][-2] * 2),)


@dataclass(frozen=True)
class Cholesky(NativeCall):
    """L with L L' = A, lower; NaN where A is not positive definite."""

    routine = "cholesky"
    multiplies = True

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "float")
        require_matrices(self.name, xs, square=True)

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, *xs: Array) -> Any:
        out = np.empty_like(xs[0])
        for index in np.ndindex(*out.shape[:-2]):
            try:
                out[index] = np.linalg.cholesky(xs[0][index])
            except np.linalg.LinAlgError:
                out[index] = np.tril(np.full(out.shape[-2:], np.nan))
        return out

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (cholesky_cotangent(g, y),)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None if tangents[0] is None else cholesky_tangent(tangents[0], y)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        n = classes.same(xs[0][-1], xs[0][-2])
        return (*xs[0][:-2], n, n)

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-1])

    def scratch(self, *xs: Axes) -> Scratch:
        return (("", xs[0][-1] * 32 + 1024),)


@dataclass(frozen=True)
class Qr(NativeCall):
    """A = Q R; Q has k = min(m, n) columns."""

    k: AnyDim
    routine = "qr"

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "float")
        require_matrices(self.name, xs, square=False)
        require(self.k == _least(*xs[0].shape[-2:]), f"{self.name}: {self.k} columns of {xs[0]}")

    def infer(self, *xs: TensorType) -> OutType:
        *batch, m, n = xs[0].shape
        return (xs[0].with_shape((*batch, m, self.k)), xs[0].with_shape((*batch, self.k, n)))

    def reference(self, *xs: Array) -> Any:
        return tuple(np.linalg.qr(xs[0]))

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (qr_cotangent(g, y, xs[0]),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        *batch, m, n = xs[0]
        k = classes.fresh(self.k)
        return ((*batch, m, k), (*batch, k, n))

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-2], xs[0][-1])

    def scratch(self, *xs: Axes) -> Scratch:
        *_, m, n = xs[0]
        return (("", m * n + m + n),)

    def key(self) -> tuple[Any, ...]:
        return (self.name,)


@dataclass(frozen=True)
class Eigh(NativeCall):
    """Ascending eigenvalues of symmetric A, and eigenvectors as columns.

    `ops.linalg_factor` gives the eigenvalues a rule of their own, which holds where they are equal.
    """

    routine = "eigh"

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "float")
        require_matrices(self.name, xs, square=True)

    def infer(self, *xs: TensorType) -> OutType:
        (a,) = xs
        return (a.with_shape(a.shape[:-1]), a)

    def reference(self, *xs: Array) -> Any:
        return tuple(np.linalg.eigh(xs[0]))

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (eigh_cotangent(g[0], g[1], y),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        n = classes.same(xs[0][-1], xs[0][-2])
        return ((*xs[0][:-2], n), (*xs[0][:-2], n, n))

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-1])

    def scratch(self, *xs: Axes) -> Scratch:
        n = xs[0][-1]
        return (("", 2 * n * n + 6 * n + 1), ("int32", 5 * n + 16))


@dataclass(frozen=True)
class Svd(NativeCall):
    """A = U diag(s) V with k = min(m, n) descending s, which get a rule of their own as well."""

    k: AnyDim
    routine = "svd"

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "float")
        require_matrices(self.name, xs, square=False)
        require(self.k == _least(*xs[0].shape[-2:]), f"{self.name}: {self.k} columns of {xs[0]}")

    def infer(self, *xs: TensorType) -> OutType:
        (a,) = xs
        *batch, m, n = a.shape
        shapes = ((*batch, m, self.k), (*batch, self.k), (*batch, self.k, n))
        return tuple(a.with_shape(shape) for shape in shapes)

    def reference(self, *xs: Array) -> Any:
        return tuple(np.linalg.svd(xs[0], full_matrices=False))

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (svd_cotangent(g[0], g[1], g[2], y),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        *batch, m, n = xs[0]
        k = classes.fresh(self.k)
        return ((*batch, m, k), (*batch, k), (*batch, k, n))

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-2], xs[0][-1])

    def scratch(self, *xs: Axes) -> Scratch:
        *_, m, n = xs[0]
        return (("", 5 * m * n + 73 * (m + n)), ("int32", 4 * (m + n) + 16))

    def key(self) -> tuple[Any, ...]:
        return (self.name,)


@dataclass(frozen=True)
class Squarings(NativeCall):
    """A^(2^times), the times being known at run time only; has no derivative of its own."""

    routine = "squarings"
    multiplies = True

    def check(self, *xs: TensorType) -> None:
        require(len(xs) == 2, "squarings takes matrices and numbers")
        require_operands(self.name, xs[:1], 1, "float")
        require_operands(self.name, xs[1:], 1, "whole")
        require_matrices(self.name, xs[:1], square=True)
        fits = xs[1].shape == xs[0].shape[:-2] and xs[1].dtype == "int64"
        require(fits, f"squarings: {xs[1]} times of {xs[0]}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, *xs: Array) -> Any:
        out = np.array(xs[0])
        for index in np.ndindex(*out.shape[:-2]):
            for _ in range(int(xs[1][index])):
                out[index] = out[index] @ out[index]
        return out

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        n = classes.same(xs[0][-1], xs[0][-2])
        return (*same_batch(classes, xs[0], xs[1], 2, 0), n, n)

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-1])

    def scratch(self, *xs: Axes) -> Scratch:
        return (("", product(xs[0][-2:])),)
