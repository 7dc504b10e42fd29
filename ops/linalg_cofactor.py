"""The cofactors of a matrix, and how they change, whatever its rank.

The cofactors are the derivative of the determinant. Of A = U diag(s) V they are det(U V) U C V with
C those of diag(s), whose elements are products of all singular values but one; the first change of
C along T, and the second along T and W, have the products of all but two and of all but three. So
none divides by anything, and all hold for singular matrices.
"""

from __future__ import annotations

from staticflow.graph.kinds import parts
from staticflow.graph.node import Node, apply
from staticflow.ops.coerce import stretch
from staticflow.ops.compare import equal, logical_or, where
from staticflow.ops.contraction import matmul
from staticflow.ops.counting import iota_like
from staticflow.ops.elementwise import sign
from staticflow.ops.linalg_native import Lu, Svd
from staticflow.ops.linalg_rules import identity_mask
from staticflow.ops.linalg_triangular import turn
from staticflow.ops.reductions import PROD, SUM, reduce
from staticflow.ops.shape import expand_dims
from staticflow.ops.views import spread_along


def over_matrix(g: Node) -> Node:
    """One number for each matrix, to be repeated over it."""
    return expand_dims(g, (g.ndim, g.ndim + 1))


def diagonal_amid(x: Node, default: float) -> Node:
    """The diagonal elements amid `default`."""
    return where(identity_mask(x.shape), x, default)


def factored_det(a: Node) -> Node:
    factors, _, parity = parts(apply(Lu(), a))
    rank = a.ndim
    return parity * reduce(PROD, diagonal_amid(factors, 1.0), (rank - 2, rank - 1))


def _turned_parts(a: Node) -> tuple[Node, Node, Node, Node]:
    """U, s, V with a = U diag(s) V, and the sign of det(U V)."""
    u, s, v = parts(apply(Svd(a.shape[-1]), a))
    return u, s, v, sign(factored_det(matmul(u, v)))


def _others(s: Node, *taken: Node) -> Node:
    """The product of s along its last axis without the places that the masks of `taken` name."""
    for mask in taken:
        s = where(mask, 1.0, s)
    return reduce(PROD, s, (s.ndim - 1,))


def cofactor(a: Node) -> Node:
    u, s, v, handed = _turned_parts(a)
    wide = stretch(expand_dims(s, -2), (*s.shape, s.shape[-1]))
    others = _others(wide, identity_mask(wide.shape))
    return over_matrix(handed) * matmul(u * expand_dims(others, -2), v)


def cofactor_change(a: Node, t: Node) -> Node:
    u, s, v, handed = _turned_parts(a)
    turned = matmul(matmul(turn(u), t), turn(v))
    rank, n = s.ndim, s.shape[-1]
    cube = (*s.shape[:-1], n, n, n)
    wide = stretch(expand_dims(s, (rank - 1, rank)), cube)
    i, j, place = (iota_like(cube, rank - 1 + k) for k in range(3))
    pairs = _others(wide, equal(place, i), equal(place, j))
    mask = identity_mask(pairs.shape)
    along = expand_dims(diagonal_amid(turned, 0.0).sum(axis=-1), -2)  # t_jj in each row
    own = where(mask, 0.0, pairs * along).sum(axis=-1)
    inner = where(mask, expand_dims(own, -1), -pairs * turn(turned))
    return over_matrix(handed) * matmul(matmul(u, inner), v)


def cofactor_curve(a: Node, t: Node, w: Node) -> Node:
    """The second change of the cofactors, along T and W; symmetric in the two."""
    u, s, v, handed = _turned_parts(a)
    t, w = (matmul(matmul(turn(u), x), turn(v)) for x in (t, w))
    rank, n = s.ndim, s.shape[-1]
    ways = (*s.shape[:-1], n, n, n)
    i, j, k = (rank - 1 + axis for axis in range(3))
    others = _without_three(s)

    def at(x: Node, missing: int) -> Node:
        return spread_along(x, ways, (missing,))

    def along(x: Node) -> Node:
        return spread_along(reduce(SUM, diagonal_amid(x, 0.0), (rank,)), ways, (i, j))

    minors = spread_along(_on(t, rank), ways, (i, k)) * along(w) - at(t * turn(w), i)
    own = reduce(SUM, others * minors, (j, k))
    apart = at(t, i) * at(turn(w), j) + at(w, i) * at(turn(t), j)
    apart = apart - at(turn(t), k) * along(w) - at(turn(w), k) * along(t)
    off = reduce(SUM, others * apart, (k,))
    inner = where(identity_mask(off.shape), expand_dims(own, -1), off)
    return over_matrix(handed) * matmul(matmul(u, inner), v)


def _on(x: Node, rank: int) -> Node:
    """The diagonal of square matrices as vectors."""
    return reduce(SUM, diagonal_amid(x, 0.0), (rank,))


def _without_three(s: Node) -> Node:
    """The product of s without places i, j and k, for all three different; else 0."""
    rank, n = s.ndim, s.shape[-1]
    shape = (*s.shape[:-1], n, n, n, n)
    places = [iota_like(shape, rank - 1 + axis) for axis in range(4)]
    wide = stretch(expand_dims(s, (rank - 1, rank, rank + 1)), shape)
    product = _others(wide, *(equal(places[3], place) for place in places[:3]))
    i, j, k = (iota_like(product.shape, rank - 1 + axis) for axis in range(3))
    same = logical_or(logical_or(equal(i, j), equal(j, k)), equal(i, k))
    return where(same, 0.0, product)
