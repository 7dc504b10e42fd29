"""The rules for differentials: what d(...) of an expression is, each under its name.

d(A + B) = dA + dB                 sum
d(A @ B) = dA @ B + A @ dB         product
d(A * B) = dA * B + A * dB         Hadamard product
d(A.T) = dA.T                      transpose
d(inv(A)) = -inv(A) @ dA @ inv(A)  inverse
d(f(A)) = f'(A) * dA               elementwise function

Those of functions of whole matrices (determinant, norm, softmax) are in `functions`.
"""

from __future__ import annotations

from staticflow.compiler.formula.closed_forms import SLOPES
from staticflow.compiler.formula.columns import is_elementwise
from staticflow.graph.kinds import MapRow
from staticflow.graph.op_table import table
from staticflow.session.derivation.expr import (
    Expr,
    add,
    d,
    function,
    number,
    power,
    scale,
    zero,
)
from staticflow.session.derivation.functions import (
    FUNCTIONS,
    kronecker,
    layer_norm,
    with_parameters,
)
from staticflow.session.derivation.matrix import (
    diag,
    had,
    mul,
    rebuilt,
    total,
    trace,
    turn,
)
from staticflow.session.derivation.slopes import slopes

SUM, PRODUCT, HADAMARD = "sum", "product", "Hadamard product"
TRANSPOSE, INVERSE, KRONECKER = "transpose", "inverse", "Kronecker product"
ELEMENTWISE, TRACE, ELEMENTS = "elementwise function", "trace", "sum of elements"
FACTOR = "a constant factor"  # named only where nothing else happens
LINEAR = (SUM, TRANSPOSE, TRACE, ELEMENTS, "diagonal matrix", FACTOR)
MASKS = ("positive",)  # of choices; their slope is zero wherever it is


def constant(x: Expr, of: Expr) -> bool:
    """Whether an expression does not change with `of`."""
    if x.head == "fn" and (x.attr in MASKS or _is_flat(x.attr)):
        return True
    if x.head == "d":
        return False
    return x != of and all(constant(a, of) for a in x.args)


def _is_flat(name: str) -> bool:
    """Whether a function is constant between its jumps: sign, floor."""
    row = table()[name].row if is_elementwise(name) else None
    return isinstance(row, MapRow) and row.vjp is None


def differential(x: Expr, of: Expr) -> tuple[Expr, str]:
    """d(x), in differentials of its parts, and the name of the rule."""
    if x.head in ("scale", "mul", "had"):
        return _product(x, of)
    if x.head == "sum":
        return add([_d(a, of) for a in x.args], x.shape), SUM
    if x.head == "T":
        return turn(_d(x.args[0], of)), TRANSPOSE
    if x.head in ("tr", "total"):
        whole = kronecker(x)
        if whole is not None:
            return whole
        own = _d(x.args[0], of)
        return (trace(own), TRACE) if x.head == "tr" else (total(own), ELEMENTS)
    if x.head == "diag":
        return diag(_d(x.args[0], of)), "diagonal matrix"
    if x.head == "inv":
        return scale(number(-1), mul(x, _d(x.args[0], of), x)), INVERSE
    if x.head == "pow":
        (base,), e = x.args, x.attr
        return had(scale(number(e), power(base, e - 1)), _d(base, of)), ELEMENTWISE
    return _function(x, of)


def _function(x: Expr, of: Expr) -> tuple[Expr, str]:
    assert x.head == "fn"
    if x.attr in SLOPES:
        return with_parameters(x, _d(x.args[0], of))
    if x.attr == "layer_norm":
        return layer_norm(x, x.args[0], _d(x.args[0], of))
    if is_elementwise(x.attr):
        pairs = zip(slopes(x.attr, x.args, x), x.args, strict=True)
        return add([had(s, _d(a, of)) for s, a in pairs], x.shape), ELEMENTWISE
    if x.attr == "kron":
        a, b = x.args
        both = [function("kron", x.shape, _d(a, of), b), function("kron", x.shape, a, _d(b, of))]
        return add([k for k in both if k.moves], x.shape), KRONECKER
    (y,) = x.args
    return FUNCTIONS[x.attr](x, y, _d(y, of))


def _d(x: Expr, of: Expr) -> Expr:
    return zero(x.shape) if constant(x, of) else d(x)


def _product(x: Expr, of: Expr) -> tuple[Expr, str]:
    """The factors that change, each in turn; constant ones next to each other stay together."""
    terms = []
    for k, factor in enumerate(x.args):
        if not constant(factor, of):
            terms.append(rebuilt(x, (*x.args[:k], d(factor), *x.args[k + 1 :])))
    if len(terms) == 1 and x.head == "scale":
        return terms[0], FACTOR
    return add(terms, x.shape), HADAMARD if x.head == "had" else PRODUCT


def _is_linear(x: Expr, rule: str, of: Expr) -> bool:
    """Whether d(x) is linear in one d(...), or a sum of such: a person does it at once."""
    if x.head in ("mul", "had"):
        return sum(not constant(a, of) for a in x.args) == 1
    return rule in LINEAR


def worked_out(x: Expr, of: Expr, rules: list[str]) -> Expr:
    """The same with each d(...) taken one rule further, linear ones at once; notes the rules."""
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
        return worked_out(found, of, rules) if _is_linear(inner, rule, of) else found
    if not x.moves:
        return x
    return rebuilt(x, tuple(worked_out(a, of, rules) for a in x.args))
