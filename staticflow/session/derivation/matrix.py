"""Products, transposes and the like of matrix expressions, which keep themselves tidy.

Scalars go in front of products, what is zero or the identity falls out, and a transpose is worked
out of products and sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from staticflow.compiler.formula.terms import Cut
from staticflow.session.derivation.expr import (
    ONE,
    SCALAR,
    ZERO,
    Expr,
    add,
    function,
    is_zero,
    number,
    ones,
    parts,
    power,
    scale,
    size,
    zero,
)

ROUNDING = 1e-12  # of coefficients that cancel


def mul(*factors: Expr) -> Expr:
    """The matrix product: scalars go in front, and the identity away."""
    flat: list[Expr] = []
    scalars: list[Expr] = []
    shape = (factors[0].shape[0], factors[-1].shape[1])
    for factor in factors:
        value, own, rest = parts(factor)
        scalars += [number(value), *own]
        flat += rest.args if rest.head == "mul" else [rest]
    if any(is_zero(x) for x in (*flat, *scalars)):
        return zero(shape)
    joined = _joined(flat)
    if joined is not None:
        return scale(*scalars, joined)
    flat, counts = _joined_ones(flat)
    scalars += counts
    flat = [x for x in flat if x != ONE and x.head != "eye"] or [
        x for x in flat if x.head == "eye"
    ][:1]
    if not flat:
        return scale(*scalars)
    product = flat[0] if len(flat) == 1 else Expr("mul", shape, tuple(flat))
    return scale(*scalars, product)


def _joined(factors: list[Expr]) -> Expr | None:
    """A inv(A) is the identity, and so is S S'; S T' is zero, and S (S' A + T' B) is A, where S
    and T take other rows.
    """
    for k, (a, b) in enumerate(pairwise(factors)):
        joined = Expr("eye", a.shape) if are_inverse(a, b) else _met(a, b) or _averaged(a, b)
        if joined is None:
            turned = _met(turn(b), turn(a))
            joined = None if turned is None else turn(turned)
        if joined is not None:
            return mul(*factors[:k], joined, *factors[k + 2 :])
    return None


def are_inverse(a: Expr, b: Expr) -> bool:
    """Whether one is the inverse of the other."""
    if a.head == b.head == "T":
        return are_inverse(a.args[0], b.args[0])
    if a == turn(b) and "eigenvectors" in (a.attr, b.attr):
        return True
    return (a.head == "inv" and a.args[0] == b) or (b.head == "inv" and b.args[0] == a)


def _averaged(a: Expr, b: Expr) -> Expr | None:
    """1' (X - 1 1' X / m) is zero: the columns are centred."""
    if a.head != "ones" or b.head != "sum" or a.shape[1] == 1:
        return None
    rests = [parts(t)[2] for t in b.args]
    if not any(r.head == "mul" and r.args[0].head == "ones" for r in rests):
        return None
    each = add([mul(a, t) for t in b.args], (a.shape[0], b.shape[1]))
    return zero(each.shape) if abs(parts(each)[0]) < ROUNDING or is_zero(each) else None


def _met(a: Expr, b: Expr) -> Expr | None:
    """The product of rows taken and of what is made of rows put in place."""
    if a.head != "select":
        return None
    if b.head == "T" and b.args[0].head == "select":
        return _taken(a, b.args[0])
    if b.head != "sum":
        return None
    placed = [parts(t)[2] for t in b.args]
    if not all(p.head == "mul" and _is_placed(p.args[0]) for p in placed):
        return None
    return add([mul(a, t) for t in b.args], (a.shape[0], b.shape[1]))


def _is_placed(x: Expr) -> bool:
    return x.head == "T" and x.args[0].head == "select"


def _taken(a: Expr, b: Expr) -> Expr | None:
    """Rows of which those of b were put in place; None unless it is all or none of them."""
    (start, stop), (first, last) = _bounds(a), _bounds(b)
    if (start, stop) == (first, last):
        return Expr("eye", (a.shape[0], a.shape[0]))
    known = all(isinstance(n, int) for n in (start, stop, first, last))
    return zero((a.shape[0], b.shape[0])) if known and (stop <= first or last <= start) else None


def _bounds(x: Expr) -> tuple[Any, Any]:
    if not isinstance(x.attr, Cut):
        return x.attr, x.attr + 1
    return x.attr.start, x.attr.start + x.shape[0]


def _joined_ones(factors: list[Expr]) -> tuple[list[Expr], list[Expr]]:
    """A matrix of ones times another is one of ones, times how many meet in each element."""
    found: list[Expr] = []
    counts: list[Expr] = []
    for x in factors:
        last = found[-1] if found else x
        if found and last.head == x.head == "ones":
            found[-1] = ones(last.shape[0], x.shape[1])
            counts.append(size(x.shape[0]))
        else:
            found.append(x)
    return found, counts


def had(*factors: Expr) -> Expr:
    """The elementwise product of matrices of one shape."""
    shape = factors[0].shape
    if shape == SCALAR:
        return scale(*factors)
    flat: list[Expr] = []
    scalars: list[Expr] = []
    for factor in factors:
        value, own, rest = parts(factor)
        scalars += [number(value), *own]
        flat += rest.args if rest.head == "had" else [rest]
    if any(is_zero(x) for x in (*flat, *scalars)):
        return zero(shape)
    exponents: dict[Expr, float] = {}
    for item in flat:
        base, e = (item.args[0], item.attr) if item.head == "pow" else (item, 1.0)
        exponents[base] = exponents.get(base, 0.0) + e
    left = [power(x, e) for x, e in exponents.items() if e and x.head != "ones"]
    if not left:
        return scale(*scalars, ones(*shape))
    return scale(*scalars, left[0] if len(left) == 1 else Expr("had", shape, tuple(left)))


def turn(x: Expr) -> Expr:
    """The transpose, of products and sums worked out."""
    shape = (x.shape[1], x.shape[0])
    if x.is_scalar or x.head in ("eye", "diag"):
        return x
    if x.head == "T":
        return x.args[0]
    if x.head == "inv" and turn(x.args[0]) == x.args[0]:
        return x  # of a symmetric matrix: inv(X.T @ X)
    if x.head == "ones":
        return ones(*shape)
    if x.head == "zero":
        return zero(shape)
    if x.head == "scale":
        return scale(x.args[0], turn(x.args[1]))
    if x.head == "mul":
        return mul(*(turn(a) for a in reversed(x.args)))
    if x.head == "sum":
        return add([turn(a) for a in x.args], shape)
    if x.head == "fn" and x.attr == "kron":
        return function("kron", shape, *(turn(a) for a in x.args))
    return Expr("T", shape, (x,))


def flipped(x: Expr) -> Expr:
    """The transpose as it is written down at first: (A * B).T"""
    if x.head in ("mul", "sum"):
        return Expr("T", (x.shape[1], x.shape[0]), (x,))
    if x.head == "scale":
        return scale(x.args[0], flipped(x.args[1]))
    return turn(x)


def unary(head: str, x: Expr) -> Expr:
    """`tr` or `total` of a matrix: scalars go in front, and of a scalar it is the scalar."""
    if x.is_scalar and head == "total":
        return x
    if is_zero(x):
        return ZERO
    value, scalars, rest = parts(x)
    if rest != ONE:
        rest = _unsummed(rest) if head == "total" else rest
        counted = _counted(head, rest)
        if counted is not None:
            return scale(number(value), *scalars, counted)
        if rest.is_scalar:
            return scale(number(value), *scalars, rest)
        return scale(number(value), *scalars, Expr(head, SCALAR, (rest,)))
    changing = [s for s in scalars if s.moves]
    if len(changing) != 1 or changing[0].head in ("d", "tr"):
        return x
    others = [s for s in scalars if s is not changing[0]]
    return scale(number(value), *others, Expr(head, SCALAR, tuple(changing)))


def _counted(head: str, x: Expr) -> Expr | None:
    """The trace of the identity, the sum of ones, and that of what is centred: x - sum(x) / n."""
    if (head, x.head) in (("tr", "eye"), ("total", "ones")):
        return scale(*(size(n) for n in (x.shape[:1] if head == "tr" else x.shape)))
    if head == "tr" or x.head != "sum" or not any(parts(t)[2].head == "ones" for t in x.args):
        return None
    each = add([total(t) for t in x.args], SCALAR)
    return ZERO if abs(parts(each)[0]) < ROUNDING else None


def _unsummed(x: Expr) -> Expr:
    """The sum of all elements of sums of rows, or of columns, is that of all elements."""
    if x.head != "mul":
        return x
    own = list(x.args)
    if own[-1].head == "ones" and own[-1].shape[1] == 1:
        own = own[:-1]
    if own and own[0].head == "ones" and own[0].shape[0] == 1:
        own = own[1:]
    return mul(*own) if own else x


def trace(x: Expr) -> Expr:
    return unary("tr", x)


def total(x: Expr) -> Expr:
    return unary("total", x)


def inverse(x: Expr) -> Expr:
    if x.head == "inv":
        return x.args[0]
    if x.head == "fn" and x.attr == "kron" and all(a.shape[0] == a.shape[1] for a in x.args):
        return function("kron", x.shape, *(inverse(a) for a in x.args))
    if x.head == "scale" and not x.is_scalar:
        value, scalars, rest = parts(x)
        return scale(number(1 / value), *(power(s, -1) for s in scalars), inverse(rest))
    return power(x, -1) if x.is_scalar else Expr("inv", x.shape, (x,))


def diag(x: Expr) -> Expr:
    """The diagonal matrix of a column."""
    if x.is_scalar:
        return x
    value, scalars, rest = parts(x)
    n = x.shape[0]
    inner = Expr("eye", (n, n)) if rest.head == "ones" else Expr("diag", (n, n), (rest,))
    return scale(number(value), *scalars, inner)


def rebuilt(x: Expr, args: tuple[Expr, ...]) -> Expr:
    """The same expression of other arguments."""
    if args == x.args:
        return x
    if x.head == "sum":
        return add(args, x.shape)
    if x.head == "pow":
        return power(args[0], x.attr)
    if x.head == "fn" and x.attr in LINEAR:
        value, scalars, inner = parts(args[-1])
        return scale(number(value), *scalars, function(x.attr, x.shape, *args[:-1], inner))
    if x.head in MAKERS:
        return MAKERS[x.head](*args)
    return Expr(x.head, x.shape, args, x.attr)


LINEAR = ("diagonal", "low", "expm_frechet", "vec")  # functions, in their last argument


MAKERS: Mapping[str, Callable[..., Expr]] = {
    "scale": scale, "mul": mul, "had": had, "T": turn, "tr": trace, "total": total,
    "inv": inverse, "diag": diag,
}  # fmt: skip
