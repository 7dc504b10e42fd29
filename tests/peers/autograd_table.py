"""What HIPS autograd tests, as data: its functions, at the shapes and in the ranges of its tests.

A function that exists here stands in `ROWS`, with alternatives for each argument and option, all
combinations of which are tested; every other that autograd differentiates stands in `MISSING` with
the reason. Names are those of autograd's modules, without `numpy` and `scipy` in front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Span:
    """Numbers from `low` to `high`, in the given shape."""

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    kind: str = "plain"  # or well-conditioned, positive definite


@dataclass(frozen=True)
class Row:
    """A function, alternatives for each array argument, and for each option."""

    peer: str
    arguments: Sequence[Sequence[Span]]
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    ours: str = ""  # its name here, if it is another
    listed: bool = False  # whether it takes a list of its arguments

    @property
    def name(self) -> str:
        return self.ours or self.peer.rpartition(".")[2]


def unary(peer: str, low: float = -2.0, high: float = 2.0, ours: str = "") -> Row:
    """A function of one number."""
    return Row(peer, [[Span(s, low, high) for s in ((), (2,), (3, 2), (1, 2))]], ours=ours)


def binary(
    peer: str, a: tuple[float, float] = (-2.0, 2.0), b: tuple[float, float] = (-2.0, 2.0)
) -> Row:
    """A function of two numbers, with operands that broadcast."""
    shapes = ((), (2,), (3, 2), (1, 2))
    return Row(peer, [[Span(s, *a) for s in shapes], [Span(s, *b) for s in shapes]])


def of(peer: str, *shapes: tuple[int, ...], ours: str = "", **options: Sequence[Any]) -> Row:
    """A function of one array of several possible shapes."""
    return Row(peer, [[Span(s) for s in shapes]], options, ours)


def two(
    peer: str, a: Sequence[tuple[int, ...]], b: Sequence[tuple[int, ...]], **options: Sequence[Any]
) -> Row:
    """A function of two arrays."""
    return Row(peer, [[Span(s) for s in a], [Span(s) for s in b]], options)


def matrices(peer: str, kind: str, *shapes: tuple[int, ...], ours: str = "") -> Row:
    """A function of matrices of one kind."""
    return Row(peer, [[Span(s, kind=kind) for s in shapes]], ours=ours)


STATISTICS = [
    *(of(name, (3,), (2, 3), (1, 3), axis=(None, 0), keepdims=(True, False))
      for name in ("max", "mean", "min", "sum", "prod", "var", "std", "amax", "amin")),
    of("sum", (3, 4, 5), axis=((1, 2), (0, 2))),
    of("max", (3, 4, 5), axis=(1,), keepdims=(False, True)),
    of("min", (3, 4, 5), axis=(1,), keepdims=(False, True)),
    of("var", (3,), (3, 4), (1, 3), ddof=(0, 1)), of("std", (3,), (3, 4), (1, 3), ddof=(0, 1)),
    of("var", (3, 4), (1, 3), ddof=(2,), axis=(1,)),
    of("cumsum", (4,), (4, 5), axis=(None, 0)),
]  # fmt: skip

UFUNCS = [
    *(unary(name) for name in (
        "sin", "cos", "cosh", "sinh", "tanh", "exp", "exp2", "expm1", "square", "deg2rad",
        "degrees", "rad2deg", "radians", "fabs", "negative", "sinc", "arctan", "nan_to_num",
    )),
    unary("absolute", 0.1, 4.0), unary("arccosh", 1.1, 4.0), unary("arcsinh", -0.9, 0.9),
    unary("arctanh", -0.9, 0.9), unary("arcsin", -0.9, 0.9), unary("arccos", -0.9, 0.9),
    unary("log", 0.2, 2.0), unary("log10", 0.2, 2.0), unary("log1p", 0.2, 2.0),
    unary("log2", 0.2, 2.0), unary("sqrt", 1.0, 3.0), unary("tan", -1.1, 1.1),
    unary("reciprocal", 0.3, 2.0), unary("tanh", -9.0, 9.0),
    binary("add"), binary("subtract"), binary("multiply"), binary("logaddexp"),
    binary("logaddexp2"), binary("hypot", (0.1, 2.0), (0.1, 2.0)), binary("fmax"), binary("fmin"),
    binary("maximum"), binary("minimum"), binary("arctan2"),
    binary("remainder", (-0.9, 0.9), (0.7, 1.9)), binary("remainder", b=(-2.0, -0.3)),
    binary("divide", b=(0.8, 1.2)), binary("divide", b=(-2.0, -0.3)),
    binary("power", (0.7, 2.0)),
]  # fmt: skip

ARRANGEMENTS = [
    of("transpose", (2, 3, 4), axes=(None, (0, 1, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0))),
    of("moveaxis", (2, 3, 4), source=(0, 1, 2), destination=(0, 1, 2)),
    of("swapaxes", (2, 3, 4), axis1=(0, 1), axis2=(1, 2)),
    of("repeat", (2, 3, 4), (3, 1), repeats=(1, 2), axis=(None, 0, 1)),
    of("diff", (5, 5), (3, 4, 5), n=(1, 2), axis=(0, 1)), of("diff", (1,), (1, 1), axis=(0,)),
    of("diff", (1, 1), (3, 1), axis=(1,)),
    of("tile", (2, 1, 3, 1), reps=((1, 4, 1, 2),)), of("tile", (1, 2), reps=((2, 3), (3, 2, 1))),
    of("tile", (1,), reps=((2,), 2)),
    *(of(f"atleast_{n}d", (), (1,), (7,), (1, 4), (2, 4), (2, 4, 5)) for n in (1, 2, 3)),
    of("broadcast_to", (4, 1), (1,), shape=((4, 4), (4, 1))),
    of("clip", (5, 5), min=(0.1,), max=(1.1,)),
    of("expand_dims", (5, 1, 4), axis=(2,)), of("squeeze", (5, 1, 4)),
    of("flipud", (4, 5)), of("fliplr", (4, 5)), of("rot90", (4, 5), k=(1, 2, 3)),
    of("roll", (4, 5), shift=(2,), axis=(1, None)),
    of("ravel", (5, 6, 4)), of("reshape", (5, 6, 4), shape=((20, 6), (120,))),
    of("tril", (5, 5), k=(2, 0)), of("triu", (5, 5), k=(2, 0)),
    of("diag", (4,), (4, 4), k=(-1, 0, 2)), of("diagonal", (4, 4), (3, 4, 4)),
    of("trace", (5, 5), (4, 5), (5, 4), offset=(-1, 0, 1)),
    of("split", (8,), (4, 3), indices_or_sections=(2,)),
    of("vsplit", (4, 3), indices_or_sections=(2,)),
    of("array_split", (8,), (5, 3), indices_or_sections=(2, 3)),
    of("hsplit", (3, 4), indices_or_sections=(2,)),
    of("dsplit", (2, 3, 4), indices_or_sections=(2,)),
    of("pad", (2, 2), pad_width=(((1, 2), (3, 0)), 2)),
    of("sort", (1,), (7,), (3, 4)), of("astype", (3, 2), dtype=("float64",)),
    Row("concatenate_args", [[Span((5, 2, 4))], [Span((4, 2, 4))]], {"axis": (0,)}, "concatenate",
        listed=True),
    Row("array_from_args", [[Span((3, 2))], [Span((3, 2))]], {}, "stack", listed=True),
    of("make_diagonal", (4,), ours="diag"),
    Row("where", [[Span((4, 5))], [Span((4, 5))]]),
    Row("cross", [[Span((3,)), Span((2, 3))], [Span((3,)), Span((2, 3))]]),
]  # fmt: skip

PRODUCTS = [
    two("dot", [(), (3,), (2, 3), (2, 2, 3)], [(), (3,), (3, 4), (2, 3, 4)]),
    two("inner", [(3,), (2, 3)], [(3,), (4, 3)]), two("outer", [(3,)], [(3,)]),
    two("matmul", [(3,), (2, 3), (2, 2, 3)], [(3,), (3, 4), (2, 3, 4)]),
    two("matmul", [(1, 2, 2)], [(3, 2, 1)]),
    two("tensordot", [(1, 3), (2, 3, 2)], [(3,), (3, 1), (3, 4, 2)], axes=[((1,), (0,))]),
    two("tensordot", [(3,), (3, 1), (3, 4, 2)], [(1, 3), (2, 3, 2)], axes=[((0,), (1,))]),
    two("tensordot", [(2, 3), (2, 3, 4)], [(1, 2, 3), (2, 2, 3, 4)],
        axes=[((0, 1), (1, 2)), ((1, 0), (2, 1))]),
    two("tensordot", [(2, 2), (4, 2, 2)], [(2, 2), (2, 2, 4)], axes=(1, 2)),
    two("kron", [(3, 3), (5,), (1, 5)], [(2, 2), (3,), (3, 1)]),
    two("scipy.signal.convolve", [(4,), (5,), (6,)], [(2,), (3,), (4,)],
        mode=("full", "valid", "same")),
]  # fmt: skip

EINSUMS = {  # the text, and the shapes of its operands
    "ij->ji": ((3, 4),), "ij,jk->ik": ((2, 3), (3, 4)), "ijk,lji->lki": ((3, 4, 4), (4, 4, 3)),
    "...jk,...lj->...lk": ((3, 4, 4), (3, 4, 4)), "...,...->...": ((3, 4, 4), (3, 4, 4)),
    "ijk,lji,lli->lki": ((3, 4, 4), (4, 4, 3), (4, 4, 3)),
}  # fmt: skip

WELL, POSITIVE = "well-conditioned", "positive definite"
ALGEBRA = [
    matrices("linalg.inv", WELL, (6, 6), (2, 4, 4)),
    matrices("linalg.det", WELL, (6, 6), (3, 3, 3)),
    matrices("linalg.slogdet", WELL, (6, 6)), matrices("linalg.slogdet", POSITIVE, (3, 5, 5)),
    matrices("linalg.pinv", "plain", (5, 4), (4, 5)),
    Row("linalg.solve", [[Span((6, 6), kind=WELL)], [Span((6, 5)), Span((6,))]]),
    Row("linalg.solve", [[Span((5, 4, 4), kind=WELL)], [Span((5, 4, 6))]]),
    of("linalg.norm", (6,), ord=(None, 2, 3, 4)), of("linalg.norm", (6, 5), ord=(None, "fro")),
    of("linalg.norm", (4, 5, 3), axis=(0, 1, 2)), of("linalg.norm", (5, 4), ord=("nuc",)),
    of("linalg.norm", (5, 4, 3), ord=("nuc",), axis=((0, 1),)),
    matrices("linalg.eigh", POSITIVE, (5, 5), (2, 3, 3), ours="eigvalsh"),
    matrices("linalg.cholesky", POSITIVE, (6, 6), (3, 4, 4)),
    matrices("linalg.svd", "plain", (3, 5), (4, 4), (2, 5, 3), ours="svdvals"),
    Row("scipy.linalg.solve_triangular", [[Span((4, 4), kind=WELL)], [Span((4,)), Span((4, 3))]],
        {"lower": (True, False)}),
]  # fmt: skip

SPECIAL = [
    of("scipy.special.logsumexp", (1,), (4,), (3, 4), (1, 5), axis=(None, 0),
       keepdims=(True, False)),
    of("scipy.special.logsumexp", (3, 4), (4, 5, 6), axis=(1,), keepdims=(True, False)),
    unary("scipy.special.erf", -3.0, 3.0), unary("scipy.special.erfc", -3.0, 3.0),
    unary("scipy.special.logit", 0.1, 0.9), unary("scipy.special.expit", -4.05, 4.95),
]  # fmt: skip

INDICES = (  # of an array of shape (5, 6, 4)
    (3, 0, 1), (slice(None, None, -1), slice(2, 4), slice(None)), ([0, 1, 2],), ([0, 0],),
    (3, slice(2, None), [1, 3]), (slice(2, 4),), (None, slice(None), None), (..., -1),
)  # fmt: skip

ROWS: list[Row] = [*STATISTICS, *UFUNCS, *ARRANGEMENTS, *PRODUCTS, *ALGEBRA, *SPECIAL]

# Without a derivative in the peer, which it tests for its value, and that for being constant.
CONSTANT = {
    "all": "all", "allclose": "allclose", "any": "any", "isclose": "isclose",
    "argmax": "argmax", "argmin": "argmin", "argsort": "argsort",
    "around": "around", "ceil": "ceil", "count_nonzero": "count_nonzero", "equal": "equal",
    "fix": "fix", "floor": "floor", "floor_divide": "floor_divide", "full_like": "full_like",
    "greater": "greater", "greater_equal": "greater_equal", "isfinite": "isfinite",
    "isinf": "isinf", "isnan": "isnan", "isneginf": "isneginf", "isposinf": "isposinf",
    "less": "less", "less_equal": "less_equal", "logical_and": "logical_and",
    "logical_not": "logical_not", "logical_or": "logical_or", "logical_xor": "logical_xor",
    "not_equal": "not_equal", "ones_like": "ones_like", "rint": "rint", "round": "round",
    "searchsorted": "searchsorted", "sign": "sign", "trunc": "trunc", "zeros_like": "zeros_like",
}  # fmt: skip

NO_COMPLEX = "there are no complex numbers here"
SPECIAL_FUNCTION = "a special function that no network here needs; sf.custom_op takes one"
DISTRIBUTION = "distributions are left to the user: they are written with ops in a line or two"
OWN_PLUMBING = "a part of the peer's own machinery, not a function for users"
BY_VALUE = "the result's shape depends on values"
ABOUT_TYPES = "says something of shapes and types, which a node knows: x.shape, x.ndim, x.dtype"
SEVERAL = "written with slices or with other ops"

MISSING: dict[str, str] = {
    **dict.fromkeys(("angle", "conjugate", "imag", "real", "real_if_close", "iscomplex",
                     "iscomplexobj", "isreal"), NO_COMPLEX),
    **dict.fromkeys((f"fft.{n}" for n in (
        "fft", "fft2", "fftn", "fftshift", "ifft", "ifft2", "ifftn", "ifftshift", "irfft", "irfft2",
        "irfftn", "rfft", "rfft2", "rfftn", "truncate_pad")), NO_COMPLEX),
    "linalg.eig": "eigenvalues of a matrix that is not symmetric are complex",
    **dict.fromkeys((f"scipy.special.{n}" for n in (
        "beta", "betainc", "betaln", "erfcinv", "erfinv", "gamma", "gammainc", "gammaincc",
        "gammaln", "gammasgn", "i0", "i1", "iv", "ive", "j0", "j1", "jv", "psi", "rgamma", "y0",
        "y1", "yn", "polygamma", "multigammaln")), SPECIAL_FUNCTION),
    **dict.fromkeys((f"scipy.stats.{n}" for n in (
        "cdf", "logcdf", "logpdf", "logpmf", "logsf", "pdf", "pmf", "sf", "entropy",
    )), DISTRIBUTION),
    **dict.fromkeys(("core.add", "core.covector", "core.inner_prod", "core.mut_add",
                     "core.scalar_mul", "core.sparse_add", "builtins._make_dict",
                     "builtins.container_take", "builtins.container_untake",
                     "builtins.make_sequence", "builtins.sequence_extend_left",
                     "builtins.sequence_extend_right", "dot_adjoint_0", "dot_adjoint_1",
                     "tensordot_adjoint_0", "tensordot_adjoint_1", "untake",
                     "_array_from_scalar_or_array"), OWN_PLUMBING),
    **dict.fromkeys(("argwhere", "flatnonzero", "nonzero"), BY_VALUE),
    **dict.fromkeys(("ndim", "result_type", "shape", "size", "isscalar", "empty_like"),
                    ABOUT_TYPES),
    **dict.fromkeys(("array_equal", "array_equiv"),
                    "compares whole arrays: ops.all(ops.equal(x, y))"),
    "gradient": SEVERAL,
    "partition": "ops.sort and ops.top_k order completely",
    "argpartition": "ops.argsort orders completely",
    "rollaxis": "ops.moveaxis is clearer",
    "scipy.integrate.odeint": "an integrator is a scan; its derivative is that of its steps",
    "scipy.linalg.sqrtm": "no Schur form here, without which it is not stable",
    "scipy.linalg.solve_banded": "no banded matrices here",
    "scipy.linalg.solve_sylvester": "no Schur form here",
}  # fmt: skip
ELSEWHERE = {  # tested by tables of their own above
    "einsum": "EINSUMS", "__getitem__": "INDICES", "full": "of a scalar", "linspace": "constants",
}  # fmt: skip
