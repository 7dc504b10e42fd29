"""Smooth functions made of max, abs, where, sign or clip have the derivatives of the function, not
of its parts, where these have kinks: to second order, against 50 digits.
"""

from __future__ import annotations

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.cli.op_page.examples import example
from staticflow.graph.leaves import Input
from staticflow.graph.op_table import Declaration, table
from staticflow.graph.traversal import toposort
from tests.autodiff.special_point_table import SPECIALS, Special
from tests.autodiff.special_points import check, interpreted

BENT = frozenset((
    "abs", "ceil", "copysign", "equal", "floor", "greater", "greater_equal", "less", "less_equal",
    "max", "maximum", "min", "minimum", "relu", "rint", "sign", "trunc", "where",
))  # fmt: skip
# What has kinks of its own wherever its parts have, and what has no derivative by a bent part.
KINKED = frozenset((
    "dropout", "hard_sigmoid", "hard_tanh", "heaviside", "leaky_relu", "percentile",
    "qr", "round", "selu", "svd", "tril", "triu",
))  # fmt: skip


def bent(entry: Declaration) -> bool:
    """Whether an op, or its derivative, is made of parts that have kinks."""
    _, results = example(entry)
    nodes = [y for y in results if y.type.is_float]
    wrt = [x for x in toposort(nodes) if isinstance(x.op, Input) and x.type.is_float]
    if not nodes or not wrt:
        return False
    slopes = sf.grad(ops.sum(ops.square(nodes[0])), wrt)
    return any(node.op.name in BENT for node in toposort([*nodes, *slopes]))


def test_every_op_made_of_bent_parts_is_in_the_table() -> None:
    rows = {entry.name for entry in table().values() if entry.row is not None}
    found = {entry.name for entry in table().values() if entry.name not in rows and bent(entry)}
    assert found - {special.op for special in SPECIALS} == KINKED


@pytest.mark.parametrize("special", SPECIALS, ids=str)
def test_derivatives_at_special_points(special: Special) -> None:
    for point in special.points:
        check(special, point, interpreted(special, point), 1e-11)


def test_newtons_first_step_from_zero_weights() -> None:
    """Where every logistic regression starts: gradient X'(1/2 - y) / n, Hessian X'X / 4n."""
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((40, 3)), rng.integers(0, 2, 40).astype(float)
    x, y = sf.input("x", ("n", 3), "float64"), sf.input("y", ("n",), "float64")
    w = sf.input("w", (3,), "float64")
    loss = ops.mean(ops.sigmoid_binary_cross_entropy(x @ w, y))
    slope, curve = sf.function([x, y, w], [sf.grad(loss, w), sf.hessian(loss, w)])(
        features, labels, np.zeros(3)
    )
    np.testing.assert_allclose(slope, features.T @ (0.5 - labels) / 40, rtol=1e-12)
    np.testing.assert_allclose(curve, features.T @ features / 160, rtol=1e-12)
