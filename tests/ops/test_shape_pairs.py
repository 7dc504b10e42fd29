"""Every op of two or more arrays takes the shapes that NumPy takes, and refuses what it refuses."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.graph.kinds import MapRow
from staticflow.graph.op_table import table
from tests.ops.cases.shape_pairs import PAIRS, Pair
from tests.ops.shape_pairs import SHAPES, WAYS, check_pair

# Ops of one array, or of none; further operands are numbers, or arrays known at declaration.
SINGLE = frozenset((
    "arange", "argmax", "argmin", "argsort", "array_split", "astype", "atleast_1d", "atleast_2d",
    "atleast_3d", "bernoulli", "categorical", "cholesky", "count_nonzero", "cumprod", "cumsum",
    "deg2rad", "det", "diag", "diagonal", "dropout", "dsplit", "eigh", "eigvalsh", "elu",
    "expand_dims", "expm", "eye", "fabs", "flip", "fliplr", "flipud", "gelu", "hard_sigmoid",
    "hard_tanh", "hsplit", "identity", "inv", "isneginf", "isposinf", "leaky_relu", "log_sigmoid",
    "log_softmax", "logdet", "logit", "logsumexp", "matrix_power", "median", "mish", "moveaxis",
    "nan_to_num", "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmedian",
    "nanmin", "norm", "normal", "one_hot", "ones", "ones_like", "pad", "percentile", "pinv",
    "positive", "ptp", "qr", "quantile", "rad2deg", "ravel", "repeat", "roll", "rot90", "round",
    "selu", "silu", "sinc", "slogdet", "softmax", "softsign", "sort", "split", "squeeze",
    "stop_gradient", "svd", "svdvals", "swapaxes", "tile", "top_k", "trace", "transpose", "tri",
    "tril", "triu", "uniform", "vsplit", "zeros", "zeros_like",
))  # fmt: skip
SAMPLE = 6  # pairs of shapes for each op and each way; the campaign has them all


def test_every_op_of_several_arrays_is_in_the_table() -> None:
    rows = {entry.name: entry.row for entry in table().values() if isinstance(entry.row, MapRow)}
    single = {name for name, row in rows.items() if len(row.inputs) == 1}
    assert {pair.op for pair in PAIRS} == set(table()) - single - SINGLE


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_shapes_are_taken_as_numpy_takes_them(pair: Pair) -> None:
    rng = np.random.default_rng(sum(map(ord, str(pair))))
    for way in WAYS:
        for _ in range(SAMPLE):
            first, second = (SHAPES[k] for k in rng.integers(len(SHAPES), size=2))
            check_pair(pair, first, second, way)
            check_pair(pair, first, first, way)


def test_take_along_axis_broadcasts_beside_its_axis() -> None:
    indices = np.array([[0, 2, 2], [1, 1, 0]])
    x = sf.input("x", (1, 3), "float64")
    y = ops.take_along_axis(x, indices, axis=1)
    slope = sf.grad(ops.sum(y * y), x)
    assert slope.type == x.type
    given = np.array([[7.0, 8.0, 9.0]])
    value, found = sf.function([x], [y, slope])(given)
    np.testing.assert_array_equal(value, np.take_along_axis(given, indices, 1))
    np.testing.assert_array_equal(found, [[2 * 2 * 7.0, 2 * 2 * 8.0, 2 * 2 * 9.0]])


@pytest.mark.parametrize(
    ("first", "second"),
    [((5, 3), (2, 3)), (("rows", 3), ("other", 1)), (("rows", 3), (2, 3)), ((3,), (2, 3))],
)
def test_take_along_axis_refuses_other_sizes_beside_its_axis(first: Any, second: Any) -> None:
    x, k = sf.input("x", first, "float64"), sf.input("k", second, "int64")
    with pytest.raises(sf.ShapeError, match="take_along_axis"):
        ops.take_along_axis(x, k, axis=-1)


def test_nothing_is_added_beyond_an_axis() -> None:
    x, k = sf.input("x", ("n", 2), "float64"), sf.input("k", ("m",), "int64")
    added = sf.function([x, k], ops.scatter_add(x, k, 1.0))
    np.testing.assert_array_equal(added(np.zeros((2, 2)), [-1]), [[0, 0], [1, 1]])
    with pytest.raises(sf.GraphError, match="an index is out of range"):
        added(np.zeros((2, 2)), [2])
    with pytest.raises(sf.GraphError, match="out of range"):
        added(np.zeros((0, 2)), [0])
    with pytest.raises(sf.ShapeError, match="scatter_add: 5 is out of range"):
        ops.scatter_add(sf.input("x", (3,)), [5], 1.0)
    with pytest.raises(sf.ShapeError, match="no element to add to"):
        ops.scatter_add(sf.input("x", (0,)), sf.input("k", (2,), "int64"), 1.0)


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "ptp"])
def test_extremes_of_nothing_are_refused_when_fed(name: str) -> None:
    x = sf.input("x", ("n", 3), "float64")
    f = sf.function([x], getattr(ops, name)(x, 0))
    with pytest.raises(sf.ShapeError, match=r"(max|min): there are too few elements"):
        f(np.ones((0, 3)))
    rows = np.array([[1.0, 5.0, 2.0], [4.0, 0.0, 2.0]])
    np.testing.assert_array_equal(f(rows), getattr(np, name)(rows, 0))


def test_logsumexp_of_nothing() -> None:
    for shape in ((2, 0), (2, "n")):
        x = sf.input("x", shape, "float64")
        found = sf.function([x], ops.logsumexp(x, 1))(np.zeros((2, 0)))
        np.testing.assert_array_equal(found, [-np.inf, -np.inf])


@pytest.mark.parametrize("op", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_sizes_at_run_time_of_a_convolution(op: str, mode: str) -> None:
    """Whichever turns out the shorter one, with derivatives."""
    a, v = sf.input("a", ("n",), "float64"), sf.input("v", ("m",), "float64")
    y = getattr(ops, op)(a, v, mode)
    f = sf.function([a, v], [y, *sf.grad(ops.sum(y * y), [a, v])])
    rng = np.random.default_rng(3)
    for n, m in product((1, 2, 3, 4, 5, 8), repeat=2):
        given, kernel = rng.normal(size=n), rng.normal(size=m)
        found, by_a, by_v = f(given, kernel)
        right = getattr(np, op)(given, kernel, mode)
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, atol=1e-14)
        # y is linear in each, so that the slope of y y along it is 2 y y there.
        np.testing.assert_allclose(by_a @ given, 2 * right @ right, rtol=1e-12)
        np.testing.assert_allclose(by_v @ kernel, 2 * right @ right, rtol=1e-12)
    with pytest.raises(sf.ShapeError, match=f"{op}: there are too few elements"):
        f(np.zeros(0), np.ones(3))


def test_a_loss_of_a_pair_names_both_shapes_and_the_remedy() -> None:
    y, t = sf.input("y", ("batch", 1)), sf.input("t", ("batch",))
    for loss in (ops.mse, ops.mae, ops.huber, ops.sigmoid_binary_cross_entropy):
        with pytest.raises(sf.ShapeError) as raised:
            loss(y, t)
        text = str(raised.value)
        assert "float32[batch, 1] and float32[batch]" in text and "[..., 0]" in text
        assert loss(y, 0.5).dtype == loss(y[..., 0], t).dtype == "float32"
