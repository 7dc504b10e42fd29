"""Derivatives whose derivation, as `explain` writes it, is longer than their closed form.

`G` is the result's cotangent, `y` the result; other names are parameters of the op.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from staticflow.compiler.formula.closed_forms import CLOSED_FORMS, SLOPES


def _scalar(name: str, operand: str) -> tuple[str]:
    """The cotangent of a scalar function's operand: G times its gradient."""
    gradient = re.sub(r"\ba\b", operand, CLOSED_FORMS[name].gradient)
    return (f"G * {gradient}",)


def _slope(name: str, operand: str) -> str:
    """The cotangent of an elementwise function's operand."""
    slope = re.sub(r"\ba\b", operand, SLOPES[name].text)
    return f"G * {slope}"


# In NumPy, for the example of `examples`: one for each float operand. Tests evaluate them.
FORMULAS: Mapping[str, tuple[str, ...]] = {
    "var": ("2 * G * (x - mean(x)) / x.size",),
    "std": ("G * (x - mean(x)) / (y * x.size)",),
    "logsumexp": ("G * exp(x - y)",),
    "softmax": ("y * (G - sum(G * y, axis=1)[:, None])",),
    "log_softmax": ("G - exp(y) * sum(G, axis=1)[:, None]",),
    "leaky_relu": (_slope("leaky_relu", "x"),),
    "elu": ("G * where(x > 0, 1, alpha * exp(x))",),
    "selu": ("G * where(x > 0, 1.0507, 1.7581 * exp(x))",),
    "gelu": ("G * (0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x ** 2 / 2) / sqrt(2 * pi))",),
    "silu": ("G * (y + sigmoid(x) * (1 - y))",),
    "mish": ("G * (tanh(softplus(x)) + x * sigmoid(x) * (1 - tanh(softplus(x)) ** 2))",),
    "softsign": ("G / (1 + abs(x)) ** 2",),
    "hard_sigmoid": ("G * where(abs(x) < 3, 1 / 6, 0)",),
    "hard_tanh": ("G * where(abs(x) < 1, 1, 0)",),
    "softmax_cross_entropy": ("G[:, None] * (softmax(x) - one_hot(labels))",),
    "huber": tuple(f"{_slope('huber', pair)} / y.size" for pair in ("y - t", "t - y")),
    "cumsum": ("cumsum(G[::-1])[::-1]",),
    "cumprod": ("cumsum((G * y)[::-1])[::-1] / x",),
    "convolve": ("correlate(G, v)", "correlate(G, a)"),
    "correlate": ("convolve(G, v)", "correlate(a, G)"),
    "det": _scalar("det", "a"),
    "logdet": _scalar("logdet", "a"),
    "inv": ("-y.T @ G @ y.T",),
    "solve": ("-solve(a.T, G) @ y.T", "solve(a.T, G)"),
    "norm": _scalar("norm", "x"),
    "logit": ("G / (x * (1 - x))",),
    "sinc": ("G * (cos(pi * x) - y) / x",),
    "nansum": ("where(isnan(x), 0, G)",),
    "nanmean": ("where(isnan(x), 0, G / sum(~isnan(x)))",),
    "nanmax": ("where(x == y, G, 0)",),
    "nanmin": ("where(x == y, G, 0)",),
    "nanvar": ("where(isnan(x), 0, 2 * G * (x - nanmean(x)) / sum(~isnan(x)))",),
    "nanstd": ("where(isnan(x), 0, G * (x - nanmean(x)) / (y * sum(~isnan(x))))",),
    "flip": ("G[::-1, ::-1]",),
    "roll": ("roll(G, -shift)",),
    "repeat": ("G.reshape(-1, repeats).sum(axis=1)",),
}

# In words, where NumPy has no short form; ' is the transpose, * elementwise
WORDS: Mapping[str, str] = {
    "clip": "G within the bounds, half of it at a bound, else 0",
    "round": "none: piecewise constant",
    "layer_norm": "(G - mean(G) - y mean(G y)) / sqrt(var + epsilon), without a scale",
    "dropout": "G / (1 - rate) where the element is kept, else 0",
    "slogdet": "of the logarithm: G inv(a)'",
    "solve_triangular": "the triangle of -B y', and B, with B = inv(m)' G",
    "cholesky": "inv(y)' low(y' G) inv(y), made symmetric; low: the lower triangle, half its "
    "diagonal",
    "qr": "(Gq + q copy(r Gr' - Gq' q)) inv(r)'; copy: the lower triangle copied upwards",
    "eigh": "v (diag(Gw) + E * (v' Gv)) v', made symmetric; E_ij = 1 / (w_j - w_i), 0 if i = j",
    "eigvalsh": "v diag(G) v', with v the eigenvectors",
    "svd": "u diag(Gs) v, and of the vectors terms with 1 / (s_j^2 - s_i^2)",
    "svdvals": "u diag(G) v, with u and v the singular vectors",
    "pinv": "-y' G y' + (I - a y) G' y y' + y' y G' (I - y a)",
    "expm": "the upper right block of expm([[a', G], [0, a']])",
    "matrix_power": "the sum over k of (a')^k G (a')^(n-1-k)",
    "kron": "sums of G times b over each block, and of G times a over the blocks",
    "heaviside": "none by x, G by y where x is 0",
    "logaddexp2": "G 2^(x-z), G 2^(y-z)",
    "fmax": "G to the larger, at a tie to y",
    "fmin": "G to the smaller, at a tie to y",
    "fmod": "G, -G trunc(x / y)",
    "nan_to_num": "G where x is finite, else 0",
    "diff": "minus the differences of G between zeros",
    "ptp": "G to the largest, -G to the smallest, shared by ties",
    "average": "G times the weights over their sum",
    "cross": "b x G, G x a",
    "trapezoid": "G times half the distance between the neighbours",
    "median": "G to the middle element, half of it to each of two",
    "nanmedian": "G to the middle element, half of it to each of two",
    "percentile": "G to the two elements between which y lies, by its distances",
    "quantile": "G to the two elements between which y lies, by its distances",
    "nanprod": "G times the product of the others, 0 where x is NaN",
    "nancumsum": "the sums of G from the other end, 0 where x is NaN",
    "nancumprod": "the sums of G y from the other end over x, 0 where x is NaN",
    "float_power": "G y x^(y-1), G log(x) z",
    "sort": "G put back to where the elements came from",
    "top_k": "G put back to where the elements came from, else 0",
    "take": "G added up at the indices",
    "embedding": "G added up at the indices",
    "scatter_add": "G, and of the values G at the indices",
    "take_along_axis": "G added up at the indices",
    "getitem": "G at the index, else 0",
    "vsplit": "the cotangents of the parts, concatenated",
    "hsplit": "the cotangents of the parts, concatenated",
    "dsplit": "the cotangents of the parts, concatenated",
    "split": "the cotangents of the parts, concatenated",
    "tile": "the sums of G over the repetitions",
    "astype": "G converted back",
    "by_mode": "G to the one that is chosen",
    "stop_gradient": "none, by definition",
}
