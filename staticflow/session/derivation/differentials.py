"""The rules for differentials: what d(...) of an expression is, each under its name.

d(A + B) = dA + dB                 sum
d(A @ B) = dA @ B + A @ dB         product
d(A * B) = dA * B + A * dB         Hadamard product
d(A.T) = dA.T                      transpose
d(inv(A)) = -inv(A) @ dA @ inv(A)  inverse
d(det(A)) = det(A) tr(inv(A) @ dA) determinant
d(f(A)) = f'(A) * dA               elementwise function
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from staticflow.session.derivation.matrix import (
    Expr,
    add,
    d,
    diag,
    function,
    had,
    inverse,
    mul,
    number,
    ones,
    power,
    rebuilt,
    scale,
    total,
    trace,
    turn,
    zero,
)

SUM, PRODUCT, HADAMARD = "sum", "product", "Hadamard product"
TRANSPOSE, INVERSE, DETERMINANT = "transpose", "inverse", "determinant"
ELEMENTWISE, TRACE, ELEMENTS = "elementwise function", "trace", "sum of elements"


def _same(name: str) -> Callable[[Expr], Expr]:
    return lambda x: function(name, x.shape, x)


def _one_minus(x: Expr) -> Expr:
    return add([ones(*x.shape), scale(number(-1), x)], x.shape)


def _times(x: Expr, value: float) -> Expr:
    return scale(number(value), x)


# The derivatives of elementwise functions: of the argument, and the value.
SLOPES: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "exp": lambda x, y: y,
    "log": lambda x, y: power(x, -1),
    "sin": lambda x, y: _same("cos")(x),
    "cos": lambda x, y: _times(_same("sin")(x), -1),
    "tan": lambda x, y: add([ones(*x.shape), power(y, 2)], x.shape),
    "sinh": lambda x, y: _same("cosh")(x),
    "cosh": lambda x, y: _same("sinh")(x),
    "tanh": lambda x, y: _one_minus(power(y, 2)),
    "sigmoid": lambda x, y: had(y, _one_minus(y)),
    "softplus": lambda x, y: _same("sigmoid")(x),
    "relu": lambda x, y: function("positive", x.shape, x),
    "abs": lambda x, y: _same("sign")(x),
    "log1p": lambda x, y: power(add([ones(*x.shape), x], x.shape), -1),
    "expm1": lambda x, y: _same("exp")(x),
    "arctan": lambda x, y: power(add([ones(*x.shape), power(x, 2)], x.shape), -1),
}
CONSTANT = ("sign", "positive", "floor", "ceil", "round")  # their slope is zero wherever it is


def constant(x: Expr, of: Expr) -> bool:
    """Whether an expression does not change with `of`."""
    if x.head == "fn" and x.attr in CONSTANT:
        return True
    if x.head == "d":
        return False
    return x != of and all(constant(a, of) for a in x.args)


def differential(x: Expr, of: Expr) -> tuple[Expr, str]:
    """d(x), in differentials of its parts, and the name of the rule."""
    if x.head in ("scale", "mul", "had"):
        return _product(x, of)
    if x.head == "sum":
        return add([_d(a, of) for a in x.args], x.shape), SUM
    if x.head == "T":
        return turn(_d(x.args[0], of)), TRANSPOSE
    if x.head == "tr":
        return trace(_d(x.args[0], of)), TRACE
    if x.head == "total":
        return total(_d(x.args[0], of)), ELEMENTS
    if x.head == "diag":
        return diag(_d(x.args[0], of)), "diagonal matrix"
    if x.head == "inv":
        return scale(number(-1), mul(x, _d(x.args[0], of), x)), INVERSE
    if x.head == "pow":
        (base,), e = x.args, x.attr
        return had(scale(number(e), power(base, e - 1)), _d(base, of)), ELEMENTWISE
    assert x.head == "fn"
    (y,) = x.args
    if x.attr in SLOPES:
        return had(SLOPES[x.attr](y, x), _d(y, of)), ELEMENTWISE
    return CLOSED[x.attr](x, y, _d(y, of))


def _d(x: Expr, of: Expr) -> Expr:
    return zero(x.shape) if constant(x, of) else d(x)


def _product(x: Expr, of: Expr) -> tuple[Expr, str]:
    """The factors that change, each in turn; constant ones next to each other stay together."""
    terms = []
    for k, factor in enumerate(x.args):
        if not constant(factor, of):
            terms.append(rebuilt(x, (*x.args[:k], d(factor), *x.args[k + 1 :])))
    return add(terms, x.shape), HADAMARD if x.head == "had" else PRODUCT


def _det(x: Expr, a: Expr, da: Expr) -> tuple[Expr, str]:
    return scale(x, trace(mul(inverse(a), da))), DETERMINANT


def _logdet(x: Expr, a: Expr, da: Expr) -> tuple[Expr, str]:
    return trace(mul(inverse(a), da)), "logarithm of a determinant"


def _norm(x: Expr, a: Expr, da: Expr) -> tuple[Expr, str]:
    return scale(power(x, -1), total(had(a, da))), "norm"


def _expm_trace(x: Expr, a: Expr, da: Expr) -> tuple[Expr, str]:
    return trace(mul(function("expm", a.shape, a), da)), "trace of a function of a matrix"


def _logsumexp(x: Expr, a: Expr, da: Expr) -> tuple[Expr, str]:
    """Along the last axis: of a column, or of each row of a matrix."""
    p = function("softmax", a.shape, a)
    if a.shape[1] == 1:
        return mul(turn(p), da), "logsumexp"
    return mul(had(p, da), ones(a.shape[1], 1)), "logsumexp"


def _softmax(x: Expr, a: Expr, da: Expr) -> tuple[Expr, str]:
    if a.shape[1] == 1:
        slope = add([diag(x), scale(number(-1), mul(x, turn(x)))], (a.shape[0], a.shape[0]))
        return mul(slope, da), "softmax"
    n = a.shape[1]
    means = mul(had(x, da), ones(n, 1), ones(1, n))
    return add([had(x, da), scale(number(-1), had(x, means))], a.shape), "softmax"


def _log_softmax(x: Expr, a: Expr, da: Expr) -> tuple[Expr, str]:
    p = function("softmax", a.shape, a)
    if a.shape[1] == 1:
        mean = mul(ones(a.shape[0], 1), turn(p), da)
    else:
        n = a.shape[1]
        mean = mul(had(p, da), ones(n, 1), ones(1, n))
    return add([da, scale(number(-1), mean)], a.shape), "log_softmax"


# Closed forms: of the value, its argument and the argument's differential.
CLOSED: Mapping[str, Callable[[Expr, Expr, Expr], tuple[Expr, str]]] = {
    "det": _det,
    "logdet": _logdet,
    "norm": _norm,
    "trace_expm": _expm_trace,
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}


def worked_out(x: Expr, of: Expr, rules: list[str]) -> Expr:
    """The same with each d(...) taken one rule further; notes the rules."""
    if x.head == "d":
        inner = x.args[0]
        if inner == of:
            return x
        if constant(inner, of):
            rules.append("constant")
            return zero(inner.shape)
        found, rule = differential(inner, of)
        if rule not in rules:
            rules.append(rule)
        return found
    if not x.moves:
        return x
    return rebuilt(x, tuple(worked_out(a, of, rules) for a in x.args))
