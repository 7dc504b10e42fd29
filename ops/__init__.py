"""The vocabulary: every op that a graph can be made of, each declared once, in the file of its
subject, and entered in the op table (`staticflow.graph.op_table.table()`).

In a checkout this package is also found as `ops`; that name is made to mean this very package, so
that nothing is declared twice.
"""

from __future__ import annotations

import sys
from typing import Any

from staticflow.graph.foreign_names import OF_OPS, unknown_of_module

# isort: off
# fmt: off
from staticflow.ops import random as random
from staticflow.ops import rewrites as rewrites  # enters the rules by which graphs are simplified
from staticflow.ops import slicing as slicing
from staticflow.ops.activations import (
    elu, gelu, hard_sigmoid, hard_tanh, leaky_relu, log_sigmoid, log_softmax, mish, selu,
    silu, softmax, softsign,
)
from staticflow.ops.alias import by_mode, stop_gradient
from staticflow.ops.arithmetic import (
    add, arctan2, clip, copysign, divide, floor_divide, hypot, left_shift, logaddexp, maximum,
    minimum, mod, multiply, negative, power, right_shift, subtract,
)
from staticflow.ops.assemble import concatenate, pad, stack
from staticflow.ops.compare import (
    bitwise_and, bitwise_or, bitwise_xor, equal, greater, greater_equal, invert, isfinite, isinf,
    isnan, less, less_equal, logical_and, logical_not, logical_or, logical_xor, not_equal, signbit,
    where,
)
from staticflow.ops.contraction import dot, inner, matmul, outer, tensordot, vdot
from staticflow.ops.creation import (
    arange, eye, full, full_like, identity, ones, ones_like, tri, tril, triu, zeros, zeros_like,
)
from staticflow.ops.elementwise import (
    abs, arccos, arccosh, arcsin, arcsinh, arctan, arctanh, cbrt, ceil, cos, cosh, erf, erfc, exp,
    exp2, expm1, floor, log, log10, log1p, log2, reciprocal, relu, rint, sigmoid, sign, sin, sinh,
    softplus, sqrt, square, tan, tanh, trunc,
)
from staticflow.ops.indexing import embedding, one_hot, take, take_along_axis
from staticflow.ops.losses import (
    huber, mae, mse, sigmoid_binary_cross_entropy, softmax_cross_entropy,
)
from staticflow.ops.normalise import dropout, layer_norm
from staticflow.ops.random import bernoulli, categorical, normal, uniform
from staticflow.ops.rearrange import (
    array_split, dsplit, flip, fliplr, flipud, hsplit, repeat, roll, rot90, split, tile, vsplit,
)
from staticflow.ops.reductions import all, any, max, min, prod, sum
from staticflow.ops.shape import (
    astype, broadcast_to, expand_dims, moveaxis, ravel, reshape, squeeze, swapaxes, transpose,
)
from staticflow.ops.statistics import argmax, argmin, logsumexp, mean, std, var
from staticflow.ops.accumulate import cumprod, cumsum
from staticflow.ops.convolution import convolve, correlate
from staticflow.ops.einsum import einsum
from staticflow.ops.linalg import det, inv, logdet, slogdet, solve, solve_triangular
from staticflow.ops.linalg_diagonal import diag, diagonal, trace
from staticflow.ops.linalg_factor import cholesky, eigh, eigvalsh, pinv, qr, svd, svdvals
from staticflow.ops.linalg_matrix import expm, kron, matrix_power, norm
from staticflow.ops.nan_reductions import (
    nanargmax, nanargmin, nancumprod, nancumsum, nanmax, nanmean, nanmin, nanprod, nanstd, nansum,
    nanvar,
)
from staticflow.ops.scatter import scatter_add
from staticflow.ops.ordering import argsort, searchsorted, sort, top_k
from staticflow.ops.spacing import geomspace, linspace, logspace, meshgrid
from staticflow.ops.differences import (
    average, count_nonzero, cross, diff, ptp, trapezoid,
)
from staticflow.ops.quantiles import median, nanmedian, percentile, quantile
from staticflow.ops.joining import (
    append, atleast_1d, atleast_2d, atleast_3d, column_stack, dstack, hstack, vstack,
)
from staticflow.ops.ufuncs import (
    allclose, deg2rad, divmod, fabs, float_power, fmax, fmin, fmod, heaviside, isclose, isneginf,
    isposinf, logaddexp2, logit, nan_to_num, positive, rad2deg, round, sinc,
)
# isort: on

# Further names that NumPy has for the same functions
absolute = abs
acos = arccos
acosh = arccosh
amax = max
amin = min
around = round
asin = arcsin
asinh = arcsinh
atan = arctan
atan2 = arctan2
atanh = arctanh
bitwise_invert = invert
bitwise_left_shift = left_shift
bitwise_right_shift = right_shift
bitwise_not = invert
concat = concatenate
degrees = rad2deg
expit = sigmoid
fix = trunc
permute_dims = transpose
pow = power
radians = deg2rad
remainder = mod
triangular_solve = solve_triangular
true_divide = divide

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "append",
    "arange",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "argmax",
    "argmin",
    "argsort",
    "around",
    "array_split",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "average",
    "bernoulli",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "broadcast_to",
    "by_mode",
    "categorical",
    "cbrt",
    "ceil",
    "cholesky",
    "clip",
    "column_stack",
    "concat",
    "concatenate",
    "convolve",
    "copysign",
    "correlate",
    "cos",
    "cosh",
    "count_nonzero",
    "cross",
    "cumprod",
    "cumsum",
    "deg2rad",
    "degrees",
    "det",
    "diag",
    "diagonal",
    "diff",
    "divide",
    "divmod",
    "dot",
    "dropout",
    "dsplit",
    "dstack",
    "eigh",
    "eigvalsh",
    "einsum",
    "elu",
    "embedding",
    "equal",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expand_dims",
    "expit",
    "expm",
    "expm1",
    "eye",
    "fabs",
    "fix",
    "flip",
    "fliplr",
    "flipud",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "full",
    "full_like",
    "gelu",
    "geomspace",
    "greater",
    "greater_equal",
    "hard_sigmoid",
    "hard_tanh",
    "heaviside",
    "hsplit",
    "hstack",
    "huber",
    "hypot",
    "identity",
    "inner",
    "inv",
    "invert",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "kron",
    "layer_norm",
    "leaky_relu",
    "left_shift",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_sigmoid",
    "log_softmax",
    "logaddexp",
    "logaddexp2",
    "logdet",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logit",
    "logspace",
    "logsumexp",
    "mae",
    "matmul",
    "matrix_power",
    "max",
    "maximum",
    "mean",
    "median",
    "meshgrid",
    "min",
    "minimum",
    "mish",
    "mod",
    "moveaxis",
    "mse",
    "multiply",
    "nan_to_num",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
    "negative",
    "norm",
    "normal",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "pad",
    "percentile",
    "permute_dims",
    "pinv",
    "positive",
    "pow",
    "power",
    "prod",
    "ptp",
    "qr",
    "quantile",
    "rad2deg",
    "radians",
    "random",
    "ravel",
    "reciprocal",
    "relu",
    "remainder",
    "repeat",
    "reshape",
    "right_shift",
    "rint",
    "roll",
    "rot90",
    "round",
    "scatter_add",
    "searchsorted",
    "selu",
    "sigmoid",
    "sigmoid_binary_cross_entropy",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinc",
    "sinh",
    "slogdet",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "softsign",
    "solve",
    "solve_triangular",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop_gradient",
    "subtract",
    "sum",
    "svd",
    "svdvals",
    "swapaxes",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensordot",
    "tile",
    "top_k",
    "trace",
    "transpose",
    "trapezoid",
    "tri",
    "triangular_solve",
    "tril",
    "triu",
    "true_divide",
    "trunc",
    "uniform",
    "var",
    "vdot",
    "vsplit",
    "vstack",
    "where",
    "zeros",
    "zeros_like",
]
# fmt: on


def __getattr__(name: str) -> Any:
    raise unknown_of_module("staticflow.ops", name, OF_OPS)


if __name__ != "staticflow.ops":
    for _name in [name for name in sys.modules if f"{name}.".startswith("staticflow.ops.")]:
        sys.modules[_name.removeprefix("staticflow.")] = sys.modules[_name]
