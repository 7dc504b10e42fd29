"""Jacobians and Hessians: a pass for each element of the smaller side, by a scan over units."""

from __future__ import annotations

from typing import Any

from staticflow.autodiff.accumulate import pull_back, push_forward
from staticflow.autodiff.derivatives import grad
from staticflow.autodiff.ties import tied
from staticflow.autodiff.wrt import entries, like, nodes_of
from staticflow.graph.dims import product
from staticflow.graph.node import Node
from staticflow.ops import eye, moveaxis, reshape, stack, zeros
from staticflow.ops.control_flow.scan import scan

WRITTEN_OUT = 8  # passes of a Jacobian


def jacobian(y: Node, wrt: Any) -> Any:
    """The derivatives of every element of `y` by every element of `wrt`: y.shape + wrt.shape.

    A list or dict of nodes gives one of Jacobians. It takes one pass for each element of the
    smaller of the two, all of them at once where that is possible.
    """
    nodes = nodes_of("jacobian", y, wrt)
    return like(wrt, tied([_jacobian(y, x) for x in nodes], [y, *nodes]))


def hessian(y: Node, wrt: Any) -> Any:
    """The second derivatives of a scalar: wrt.shape + wrt.shape.

    For several nodes a list of lists or a dict of dicts: [a][b] of shape a.shape + b.shape.
    """
    rows = entries(grad(y, wrt))
    nodes = nodes_of("hessian", y, wrt)
    # backwards where sizes are equal: the rows need no turning, and the first pass is shared
    blocks = [
        like(wrt, tied([_jacobian(row, x, tie="reverse") for x in nodes], [y, *nodes]))
        for row in rows
    ]
    return like(wrt, blocks)


def _jacobian(y: Node, x: Node, tie: str = "forward") -> Node:
    """One pass for each element of the smaller side: written out if few, else as a scan.

    With sides of one size forwards, where products read weights as they lie, unless `tie` says not.
    The scan has no carries, so that the compiler makes it one pass over all elements at once.
    """
    rows, columns = product(y.shape), product(x.shape)
    forward = isinstance(columns, int) and (not isinstance(rows, int) or columns < rows)
    forward = forward or (isinstance(columns, int) and columns == rows and tie == "forward")
    size, side = (columns, x) if forward else (rows, y)
    shape = (*y.shape, *x.shape)
    if size == 0:
        return zeros(shape, y.dtype)
    basis = eye(size, dtype=side.dtype)

    def one_pass(unit: Node) -> Node:
        direction = reshape(unit, side.shape)
        if forward:
            return push_forward([y], [x], [direction])[0]
        return pull_back([y], [direction], [x])[0]

    if isinstance(size, int) and size <= WRITTEN_OUT:
        passes = stack([one_pass(basis[k]) for k in range(size)])
    else:
        _, passes = scan(lambda _, unit: (None, one_pass(unit)), None, basis)
    return reshape(moveaxis(passes, 0, -1) if forward else passes, shape)
