"""Matrices by matrices: the columns of dF under each other, as a matrix times those of dX.

vec(A @ X @ B) = (B' kron A) vec(X)           K: vec(X') = K vec(X), the vec-permutation
vec(A . X) = diag(vec(A)) vec(X)
vec(A kron B) = (I kron K kron I) (I kron vec(B)) vec(A) = (I kron K kron I) (vec(A) kron I) vec(B)
vec(s A) = vec(A) s                           of a scalar s
tr(A) = vec(I)' vec(A), sum(A) = 1' vec(A)
"""

from __future__ import annotations

from dataclasses import replace

from staticflow.graph.dims import AnyDim
from staticflow.session.derivation.expand import terms
from staticflow.session.derivation.expr import (
    ONE,
    Expr,
    add,
    d,
    function,
    ones,
    scale,
)
from staticflow.session.derivation.lines import JACOBIAN, Lines, Names, differentials, refuse
from staticflow.session.derivation.matrix import (
    diag,
    had,
    mul,
    turn,
)
from staticflow.session.derivation.steps import Step
from staticflow.session.derivation.trace_rules import factors, split

KRONECKER = "vec(AXB) = (B' kron A) vec(X)"
TURNED = "vec(X') = K vec(X), K the commutation matrix"
PRODUCT = "vec(A kron B) by vec(A) and vec(B)"
DIAGONAL = "vec(A . B) = diag(vec(A)) vec(B)"
SCALAR = "vec(s A) = vec(A) s, of a scalar s"
TRACE, ELEMENTS = "tr(A) = vec(I)' vec(A)", "sum(A) = 1' vec(A)"
COLUMNS = "vec: the columns under each other"


def by_columns(f: Expr, x: Expr, names: Names) -> tuple[list[Step], Expr]:
    """The lines for a matrix f by a matrix x, and its Jacobian in numerator layout."""
    lines = Lines(names.df, "df")
    df = differentials(f, x, lines)
    rules: list[str] = []
    found = [_factor(term, x, rules) for term in terms(df)]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found):
        refuse(df)
    jacobian = add(parts, (vec_size(f), vec_size(x)))
    above, below = (_vec_name(*pair, of) for pair, of in (
        ((names.f, names.f_latex), f), ((str(x.attr), names.x_latex), x)))  # fmt: skip
    left = tuple(_differential(name) for name in above)
    columns = Lines((left[0], left[1]), "dvec")
    if f.shape[1] != 1:
        columns.add(vec(df), COLUMNS)
    else:
        columns.steps.append(replace(lines.steps.pop(), quantity="dvec"))
        lines.steps = [replace(step, quantity="dvec") for step in lines.steps]
    columns.add(mul(jacobian, vec(d(x))), ", ".join(rules) or "the variable itself")
    fraction = rf"\frac{{\partial {above[1]}}}{{\partial {below[1]}}}"
    rule = f"compare with {left[0]} = J {_differential(below[0])}: {JACOBIAN}"
    last = Step(f"d{above[0]}/d{below[0]}", fraction, jacobian, rule, "derivative")
    return [*lines.steps, *columns.steps, last], jacobian


def _vec_name(name: str, latex: str, of: Expr) -> tuple[str, str]:
    if of.shape[1] == 1:
        return name, latex
    return f"vec({name})", rf"\operatorname{{vec}}\left({latex}\right)"


def _differential(name: str) -> str:
    """vec(dX) of vec(X), and dx of x."""
    return name.replace("(", "(d", 1) if "(" in name else f"d{name}"


def vec_size(x: Expr) -> AnyDim:
    return x.shape[0] if x.shape[1] == 1 else x.shape[0] * x.shape[1]


def vec(x: Expr) -> Expr:
    """The columns of a matrix under each other."""
    if x.shape[1] == 1:
        return x
    if x.head == "ones":
        return ones(vec_size(x), 1)
    return function("vec", (vec_size(x), 1), x)


def _factor(x: Expr, of: Expr, rules: list[str]) -> Expr | None:
    """J, of vec(x) = J vec(dX)."""
    if x.head == "d":
        return identity(vec_size(of))
    if x.head == "scale":
        return _scaled(x, of, rules)
    if x.head in ("tr", "total"):
        inner = _factor(x.args[0], of, rules)
        a = x.args[0]
        left = vec(Expr("eye", a.shape) if x.head == "tr" else ones(*a.shape))
        return _noted(rules, TRACE if x.head == "tr" else ELEMENTS, inner, turn(left))
    moving = next((a for a in x.args if a.moves), None)
    if moving is None:
        return None
    inner = _factor(moving, of, rules)
    if x.head == "T":
        return _noted(rules, TURNED, inner, _permutation(moving))
    if x.head == "had":
        rest = had(*(a for a in x.args if a is not moving))
        return _noted(rules, DIAGONAL, inner, diag(vec(rest)))
    if x.head == "fn" and x.attr == "kron":
        return _noted(rules, PRODUCT, inner, _spread(*x.args))
    if x.head != "mul":
        return None
    own = factors(x)
    k = next(k for k, a in enumerate(own) if a.moves)
    left = mul(*own[:k]) if k else identity(moving.shape[0])
    after = own[k + 1 :]
    right = mul(*after) if after else identity(moving.shape[1])
    return _noted(rules, KRONECKER, inner, kron(turn(right), left))


def _scaled(x: Expr, of: Expr, rules: list[str]) -> Expr | None:
    """Constants in front; a scalar that changes, times a matrix that does not."""
    scalars, core = split(x)
    matrix = next((a for a in scalars if not a.is_scalar), None)
    others = [a for a in scalars if a is not matrix]
    inner = _factor(core, of, rules)
    if inner is None:
        return None
    if matrix is None:
        return scale(*others, inner)
    found = _noted(rules, SCALAR, inner, vec(matrix))
    return None if found is None else scale(*others, found)


def _noted(rules: list[str], rule: str, inner: Expr | None, left: Expr) -> Expr | None:
    if inner is None:
        return None
    if rule not in rules:
        rules.append(rule)
    return mul(left, inner)


def kron(a: Expr, b: Expr) -> Expr:
    if a.is_scalar or b.is_scalar:
        return scale(a, b)
    if a.head == b.head == "eye":
        return identity(a.shape[0] * b.shape[0])
    shape = (a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])
    return function("kron", shape, a, b)


def _spread(a: Expr, b: Expr) -> Expr:
    """The matrix that makes vec(A kron B) of the vec of the factor that moves."""
    (m, n), (p, q) = a.shape, b.shape
    fixed = b if a.moves else a
    size = vec_size(b if b.moves else a)
    inner = kron(identity(size), vec(fixed)) if a.moves else kron(vec(fixed), identity(size))
    middle = kron(_commutation(q, m), identity(p))
    return mul(kron(identity(n), middle), inner)


def identity(n: AnyDim) -> Expr:
    return ONE if n == 1 else Expr("eye", (n, n))


def _commutation(rows: AnyDim, columns: AnyDim) -> Expr:
    """K, of vec(X') = K vec(X), where X has so many rows and columns."""
    size = rows * columns
    if 1 in (rows, columns):
        return identity(size)
    return Expr("permutation", (size, size), (), (rows, columns))


def _permutation(x: Expr) -> Expr:
    """K, of vec(x') = K vec(x)."""
    return _commutation(*x.shape)
