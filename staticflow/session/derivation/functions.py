"""The differentials of functions of whole vectors and matrices, under their rules' names.

Scalar functions come from the table of closed forms: df = tr(G' dA) with G their gradient. Those
that give vectors or matrices have linear functions of dA, which `trace_rules` move dA out of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from staticflow.compiler.formula.closed_forms import CLOSED_FORMS, SLOPES, built
from staticflow.session.derivation import decompositions
from staticflow.session.derivation.expr import (
    Expr,
    Size,
    add,
    d,
    function,
    number,
    ones,
    power,
    scale,
    select,
    size,
)
from staticflow.session.derivation.matrix import (
    diag,
    flipped,
    had,
    inverse,
    mul,
    trace,
    turn,
)

Changed = tuple[Expr, str]
LAYER_NORM = "layer_norm: centred, over the deviation"


def closed(x: Expr, a: Expr, da: Expr) -> Changed:
    """Of a scalar function: tr(G' dA), of a vector G' da."""
    form = CLOSED_FORMS[x.attr]
    gradient: Expr = built(form.gradient, {"a": a}, _made_of(a))
    product = mul(flipped(gradient), da)
    return (product if a.shape[1] == 1 else trace(product)), form.rule


def _made_of(a: Expr) -> Mapping[str, Callable[..., Expr]]:
    m, n = a.shape
    k = min(m, n) if isinstance(m, int) and isinstance(n, int) else n
    parts: dict[int, tuple[str, Size]] = {
        0: ("left_vectors", (m, k)), 1: ("singular_values", (k, 1)), 2: ("right_vectors", (k, n)),
    }  # fmt: skip

    def part(x: Expr, entry: str) -> Expr:
        if x.attr == "svd":
            name, size = parts[int(entry)]
            return function(name, size, *x.args)
        row, _, column = entry.partition(", ")
        if column:
            return mul(x, turn(select(1, x.shape[1], int(column))))
        return turn(mul(select(1, x.shape[0], int(row)), x))

    scalars = {name: _scalar(name) for name in ("det", "norm", "max", "min", "prod")}
    return {
        **scalars, "inv": inverse, "T": turn, "Mult": scale, "MatMult": mul, "part": part,
        "Div": lambda p, q: scale(power(q, -1), p) if q.is_scalar else scale(p, power(q, -1)),
        "Eq": lambda p, q: function("equal", p.shape, p, q),
        "softmax": lambda p: function("softmax", p.shape, p),
        "svd": lambda p: function("svd", a.shape, p),
        "outer": lambda p, q: mul(p, turn(q)),
    }  # fmt: skip


def _scalar(name: str) -> Callable[[Expr], Expr]:
    return lambda a: function(name, (1, 1), a)


def _trace_of_expm(x: Expr, a: Expr, da: Expr) -> Changed:
    return trace(mul(function("expm", a.shape, a), da)), "trace of a function of a matrix"


def _expm(x: Expr, a: Expr, da: Expr) -> Changed:
    return function("expm_frechet", a.shape, a, da), "exponential of a matrix"


def _sort(x: Expr, a: Expr, da: Expr) -> Changed:
    """P dx: as long as no two elements are equal, they are permuted as they were."""
    n = a.shape[0]
    return mul(function("order", (n, n), a, size(n)), da), "sort: a permutation that stays"


def layer_norm(x: Expr, a: Expr, da: Expr) -> Changed:
    """(I - 1 1' / n - z z' / n) da / s of a column; of each row of a matrix likewise."""
    _, epsilon = x.args
    vector = a.shape[1] == 1
    n = a.shape[0] if vector else a.shape[1]
    share = scale(number(-1), power(size(n), -1))
    if vector:
        spread = function("spread", (1, 1), a, epsilon)
        parts = [Expr("eye", (n, n)), scale(share, ones(n, n)), scale(share, mul(x, turn(x)))]
        return scale(power(spread, -1), mul(add(parts, (n, n)), da)), LAYER_NORM
    rows = power(function("spread", (a.shape[0], 1), a, epsilon), -1)
    along = mul(had(x, da), ones(n, n))
    terms = [da, scale(share, mul(da, ones(n, n))), scale(share, had(x, along))]
    return add([mul(diag(rows), t) for t in terms], a.shape), LAYER_NORM


def _diagonal(x: Expr, a: Expr, da: Expr) -> Changed:
    return function("diagonal", x.shape, da), "diagonal"


def _logsumexp(x: Expr, a: Expr, da: Expr) -> Changed:
    """Along the last axis: of a column, or of each row of a matrix."""
    if a.shape[1] == 1:
        return closed(x, a, da)
    p = function("softmax", a.shape, a)
    return mul(had(p, da), ones(a.shape[1], 1)), "logsumexp"


def _softmax(x: Expr, a: Expr, da: Expr) -> Changed:
    if a.shape[1] == 1:
        slope = add([diag(x), scale(number(-1), mul(x, turn(x)))], (a.shape[0], a.shape[0]))
        return mul(slope, da), "softmax"
    n = a.shape[1]
    means = mul(had(x, da), ones(n, 1), ones(1, n))
    return add([had(x, da), scale(number(-1), had(x, means))], a.shape), "softmax"


def _log_softmax(x: Expr, a: Expr, da: Expr) -> Changed:
    p = function("softmax", a.shape, a)
    if a.shape[1] == 1:
        mean = mul(ones(a.shape[0], 1), turn(p), da)
    else:
        n = a.shape[1]
        mean = mul(had(p, da), ones(n, 1), ones(1, n))
    return add([da, scale(number(-1), mean)], a.shape), "log_softmax"


def _extreme(x: Expr, a: Expr, da: Expr) -> Changed:
    """Of all elements, or of each row of a matrix."""
    if x.is_scalar:
        return closed(x, a, da)
    spread = mul(x, ones(1, a.shape[1]))
    chosen = function("equal", a.shape, a, spread)
    return mul(had(chosen, da), ones(a.shape[1], 1)), CLOSED_FORMS[x.attr].rule


def with_parameters(x: Expr, da: Expr) -> Changed:
    """Of an elementwise function with parameters: its slope from the table, times da."""
    form, a = SLOPES[x.attr], x.args[0]
    given = dict(zip(form.parameters, x.args[1:], strict=True))

    def compared(name: str) -> Callable[..., Expr]:
        return lambda p, q: function(name, a.shape, p, scale(q, ones(*a.shape)))

    slope: Expr = built(form.text, {"a": a, **given}, {
        "Gt": compared("greater"), "GtE": compared("greater_equal"), "Lt": compared("less"),
        "Mult": had, "number": number,
        "where": lambda c, p, q: function("where", a.shape, c, p, q),
        "clip": lambda p, low, high: function("clip", a.shape, p, low, high),
        "USub": lambda p: scale(number(-1), p),
    })  # fmt: skip
    return had(slope, da), "elementwise function"


FUNCTIONS: Mapping[str, Callable[[Expr, Expr, Expr], Changed]] = {
    **dict.fromkeys(CLOSED_FORMS, closed),
    "max": _extreme,
    "min": _extreme,
    "trace_expm": _trace_of_expm,
    "expm": _expm,
    "cholesky": decompositions.cholesky,
    "orthogonal_factor": decompositions.orthogonal,
    "triangular_factor": decompositions.triangular,
    "eigenvalues": decompositions.eigenvalues,
    "eigenvectors": decompositions.eigenvectors,
    "singular_values": decompositions.singular_values,
    "pinv": decompositions.pinv,
    "sort": _sort,
    "diagonal": _diagonal,
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}


def kronecker(x: Expr) -> tuple[Expr, str] | None:
    """What a sum or trace of a Kronecker product is: the product of both."""
    (k,) = x.args
    if k.head != "fn" or k.attr != "kron":
        return None
    name = "sum" if x.head == "total" else "tr"
    factors = [Expr(x.head, (1, 1), (a,)) for a in k.args]
    return d(scale(*factors)), f"{name}(A kron B) = {name}(A) {name}(B)"
