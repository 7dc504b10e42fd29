"""Functions of whole matrices: exponential, integer powers, Kronecker product, norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.kinds import parts
from staticflow.graph.node import Node, apply
from staticflow.graph.types import normalise_axes
from staticflow.ops.arithmetic import maximum, multiply, power
from staticflow.ops.assemble import concatenate
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, floating
from staticflow.ops.compare import isfinite, not_equal, where
from staticflow.ops.contraction import matmul
from staticflow.ops.creation import zeros_like
from staticflow.ops.elementwise import abs as absolute
from staticflow.ops.elementwise import ceil, exp2, log2, sqrt, square
from staticflow.ops.linalg import inv, square_matrices
from staticflow.ops.linalg_factor import svdvals
from staticflow.ops.linalg_native import Lu, LuSolve, Squarings
from staticflow.ops.linalg_rules import identity_mask
from staticflow.ops.linalg_triangular import turn
from staticflow.ops.native_call import DerivativeRule, ruled
from staticflow.ops.public import public
from staticflow.ops.reductions import max as largest
from staticflow.ops.reductions import min as smallest
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import expand_dims, ravel, reshape

# The Pade approximant of e^x of order 13, and up to which norm it has float64's precision.
PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
PADE_NORM = 5.371920351148152


def _expm_value(a: Node) -> Node:
    """Scaling and squaring: e^A = (e^(A / 2^s))^(2^s)."""
    size = largest(total(absolute(a), axis=-2), axis=-1)
    wanted = maximum(ceil(log2(size / PADE_NORM)), 0.0)
    times = where(isfinite(wanted), wanted, 0.0)
    a = a * expand_dims(exp2(-times), (times.ndim, times.ndim + 1))
    odd, even = _pade(a)
    factors, order, _ = parts(apply(Lu(), even - odd))
    quotient = apply(LuSolve(False), factors, order, even + odd)
    return apply(Squarings(), quotient, cast(times, "int64"))


def _pade(a: Node) -> tuple[Node, Node]:
    """The odd and the even terms of the approximant's numerator."""
    one = cast(identity_mask(a.shape), a.dtype)
    a2 = matmul(a, a)
    a4 = matmul(a2, a2)
    a6 = matmul(a4, a2)
    b = PADE
    high = matmul(a6, b[13] * a6 + b[11] * a4 + b[9] * a2)
    odd = matmul(a, high + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
    high = matmul(a6, b[12] * a6 + b[10] * a4 + b[8] * a2)
    return odd, high + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one


def _along(a: Node, t: Node) -> Node:
    """The change of e^A along t: the corner of e^[[A, t], [0, A]]."""
    upper, lower = concatenate([a, t], -1), concatenate([zeros_like(a), a], -1)
    n = a.shape[-1]
    return expm(concatenate([upper, lower], -2))[..., :n, n:]


_EXPM = DerivativeRule(
    lambda g, y, a: (_along(turn(a), g),),
    lambda tangents, y, a: _along(a, tangents[0]),
    of="expm",
)


@public(formula="the corner of e^[[a', dy], [0, a']]")
def expm(a: Any) -> Node:
    """The exponential of square matrices, the sum of a^k / k!."""
    a = square_matrices("expm", a)
    return ruled(_expm_value, _EXPM, a) if a.shape[-1] != 0 else a


@public()
def matrix_power(a: Any, n: int) -> Node:
    """a a ... a, n times; of the inverse for a negative n, the identity for 0."""
    a = square_matrices("matrix_power", a)
    if n < 0:
        a, n = inv(a), -n
    result: Node | None = None
    while n:
        if n % 2:
            result = a if result is None else matmul(result, a)
        n //= 2
        a = matmul(a, a) if n else a
    return cast(identity_mask(a.shape), a.dtype) if result is None else result


@public(formula="dy summed against the other factor")
def kron(a: Any, b: Any) -> Node:
    """The Kronecker product: every element of a times the whole of b."""
    a, b = as_nodes([a, b])
    rank = max(a.ndim, b.ndim)
    a = expand_dims(a, tuple(range(rank - a.ndim)))
    b = expand_dims(b, tuple(range(rank - b.ndim)))
    shape = tuple(m * n for m, n in zip(a.shape, b.shape, strict=True))
    wide = expand_dims(a, tuple(range(1, 2 * rank, 2)))
    return reshape(multiply(wide, expand_dims(b, tuple(range(0, 2 * rank, 2)))), shape)


@public(formula="x / y for the 2-norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Node:
    """NumPy's norm: of vectors along one axis, of matrices along two, by default of all elements.

    The 2-norm has no derivative at 0; there it is NaN, as in JAX. What chooses the largest of
    several sizes has at 0 half of a derivative that they share, as in JAX.
    """
    x = floating("norm", x)
    if axis is None and ord is None:
        length = sqrt(total(square(ravel(x))))
        return expand_dims(length, tuple(range(x.ndim))) if keepdims else length
    axes = _norm_axes(x, axis)
    if len(axes) == 1:
        result = _vector_norm(x, 2 if ord is None else ord, axes[0])
    else:
        result = _matrix_norm(x, "fro" if ord is None else ord, axes)
    return expand_dims(result, axes) if keepdims else result


def _norm_axes(x: Node, axis: Any) -> tuple[int, ...]:
    entries = tuple(range(x.ndim)) if axis is None else axis
    axes = tuple(entries) if isinstance(entries, tuple | list) else (entries,)
    if len(axes) not in (1, 2):
        fail(ShapeError, "norm: needs one axis or two", f"{len(axes)} axes of {x.type}",
             "give `axis`, or no `ord` for the norm of all elements")  # fmt: skip
    normalise_axes(axes, x.ndim, "norm")
    return tuple(int(k) % x.ndim for k in axes)


def _vector_norm(x: Node, ord: Any, axis: int) -> Node:
    size = absolute(x)
    if ord == 2:
        return sqrt(total(square(x), axis=axis))
    if ord == 1:
        return total(size, axis=axis)
    if ord == float("inf"):
        return _largest_size(size, axis)
    if ord == -float("inf"):
        return smallest(size, axis=axis)
    if ord == 0:
        return total(cast(not_equal(x, 0), x.dtype), axis=axis)
    if not isinstance(ord, int | float):
        fail(GraphError, "norm: not a norm of vectors", f"ord={ord!r}", "use a number")
    return power(total(power(size, float(ord)), axis=axis), 1.0 / ord)


def _matrix_norm(x: Node, ord: Any, axes: Sequence[int]) -> Node:
    row, column = axes
    if ord == "fro":
        return sqrt(total(square(x), axis=(row, column)))
    if ord in (1, -1, float("inf"), -float("inf")):
        summed, kept = (row, column) if abs(ord) == 1 else (column, row)
        sums = total(absolute(x), axis=summed)
        choose = _largest_size if ord > 0 else smallest
        return choose(sums, kept - (kept > summed))
    if ord not in (2, -2, "nuc"):
        fail(GraphError, "norm: not a norm of matrices", f"ord={ord!r}",
             "use 'fro', 'nuc', 1, -1, 2, -2, inf or -inf")  # fmt: skip
    rest = [k for k in range(x.ndim) if k not in axes]
    values = svdvals(x.transpose(*rest, row, column))
    if ord == "nuc":
        return total(values, axis=-1)
    return _largest_size(values, -1) if ord == 2 else smallest(values, axis=-1)


def _largest_size(sizes: Node, axis: int) -> Node:
    """The largest of numbers that are not negative: JAX compares them with 0 as well."""
    return maximum(largest(sizes, axis=axis), 0.0)
