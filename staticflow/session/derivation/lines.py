"""The lines of a derivation, from f to df to the derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from staticflow.errors import GraphError, fail
from staticflow.session.derivation import jacobian_rules, trace_rules
from staticflow.session.derivation.collect import collected
from staticflow.session.derivation.differentials import FACTOR, worked_out
from staticflow.session.derivation.expand import terms
from staticflow.session.derivation.expr import (
    Expr,
    add,
    d,
    is_zero,
    scale,
)
from staticflow.session.derivation.latex import symbol_latex
from staticflow.session.derivation.matrix import (
    flipped,
    mul,
    trace,
    turn,
)
from staticflow.session.derivation.printing import text
from staticflow.session.derivation.steps import Step

MOST_ROUNDS = 50
ROUNDS_OF_ONE_LINE = 3  # so many rules for differentials are applied in one line, as by hand
LINEAR = "tr(A) + tr(B) = tr(A + B)"
EXPANDED = "products of sums multiplied out"
TWICE = "(A')' = A, (AB)' = B'A'"
GRADIENT, JACOBIAN = "the gradient, denominator layout", "the Jacobian, numerator layout"
LineRule = Callable[[Expr], "tuple[Expr, str] | None"]


@dataclass(frozen=True)
class Names:
    """What the function is called, and what it is differentiated by."""

    f: str
    x: Expr
    f_latex: str

    @property
    def df(self) -> tuple[str, str]:
        return f"d{self.f}", f"d{self.f_latex}"

    @property
    def x_latex(self) -> str:
        return symbol_latex(self.x)

    def by(self, turned: str = "") -> tuple[str, str]:
        """df/dX; with `'` for the derivative in the other layout."""
        below = symbol_latex(self.x)
        latex = rf"\frac{{\partial {self.f_latex}}}{{\partial {below}{turned}}}"
        return f"d{self.f}/d{self.x.attr}{'.T' if turned else ''}", latex


class Lines:
    """Collects lines of equal values."""

    def __init__(self, left: tuple[str, str], quantity: str) -> None:
        self.left, self.quantity = left, quantity
        self.steps: list[Step] = []

    def add(self, expr: Expr, rule: str) -> None:
        if not self.steps or self.steps[-1].expr != expr:
            self.steps.append(Step(*self.left, expr, rule, self.quantity))


def differentials(f: Expr, x: Expr, lines: Lines) -> Expr:
    """The lines of df, until no d(...) is left but dX itself."""
    rounds: list[tuple[Expr, list[str]]] = []
    current = d(f)
    while True:
        rules: list[str] = []
        current = worked_out(current, x, rules)
        if not rules:
            break
        rounds.append((current, rules))
    if len(rounds) <= ROUNDS_OF_ONE_LINE and rounds:
        names = list(dict.fromkeys(rule for _, rules in rounds for rule in rules))
        rounds = [(rounds[-1][0], names)]
    for expr, rules in rounds:
        named = [r for r in rules if r != FACTOR] or [FACTOR]
        lines.add(expr, f"differential of {', '.join(named)}")
    if not rounds:
        lines.add(current, "differential of the variable itself")
    return current


def gradient(f: Expr, x: Expr, names: Names, quantity: str = "df") -> tuple[list[Step], Expr]:
    """The lines for a scalar f, and its gradient: of the shape of x."""
    lines = Lines(names.df, quantity)
    df = differentials(f, x, lines)
    return traced(df, x, names, lines)


def traced(df: Expr, x: Expr, names: Names, lines: Lines) -> tuple[list[Step], Expr]:
    """The lines from df on, through the trace rules."""
    each = _moved(df, trace_rules.moved, lines)
    if x.is_scalar:
        result = collected(add([_coefficient(t) for t in each], (1, 1)))
        return _compared(lines, names, result, "compare with df = g dx")
    if any(not _ended_by_dx(t) for t in each):
        refuse(df)
    lefts = [_left_of(t) for t in each]
    whole = any(_is_trace(t) for t in each)
    total = collected(add(lefts, (x.shape[1], x.shape[0])))
    if len(each) > 1:
        lines.add(_ended(total, x, whole), LINEAR if whole else "distributive law")
    result = collected(turn(total))
    lines.add(_ended(flipped(result), x, whole), TWICE)
    compared = "compare with df = tr(G' dX)" if whole else "compare with df = g' dx"
    return _compared(lines, names, result, f"{compared}: {GRADIENT}")


def jacobian(f: Expr, x: Expr, names: Names) -> tuple[list[Step], Expr]:
    """The lines for a vector f by a vector or scalar x, and its Jacobian in numerator layout."""
    lines = Lines(names.df, "df")
    df = differentials(f, x, lines)
    each = _moved(df, jacobian_rules.at_end, lines)
    if x.is_scalar:
        result = add([_coefficient(t) for t in each], f.shape)
    else:
        if any(not _ended_by_dx(t) for t in each):
            refuse(df)
        result = collected(add([_left_of(t) for t in each], (f.shape[0], x.shape[0])))
        lines.add(mul(result, d(x)), "distributive law")
    return _compared(lines, names, result, f"compare with df = J dx: {JACOBIAN}")


def _moved(df: Expr, rule: LineRule, lines: Lines) -> list[Expr]:
    """The terms of df with dX at the right end of each; a line for each round of rules."""
    each = [t for t in terms(df) if not is_zero(t)]
    shape = df.shape
    if len(each) > 1 and add(each, shape) != df:
        lines.add(add(each, shape), EXPANDED)
    for _ in range(MOST_ROUNDS):
        found = [rule(term) for term in each]
        if not any(found):
            return each
        rules = list(dict.fromkeys(step[1] for step in found if step is not None))
        each = [t if s is None else s[0] for t, s in zip(each, found, strict=True)]
        lines.add(add(each, shape), ", ".join(rules))
        each = [t for term in each for t in terms(term) if not is_zero(t)]
    refuse(add(each, shape))


def refuse(df: Expr) -> NoReturn:
    within = " of a Kronecker product" if _has_kronecker(df) else ""
    fail(
        GraphError,
        f"derive: no rule brings the differential{within} to the right end",
        got=text(df),
        do="use sf.explain(sf.grad(f, X)), which prints the result",
    )


def _has_kronecker(x: Expr) -> bool:
    """Whether a differential stands within a Kronecker product."""
    own = x.head == "fn" and x.attr == "kron"
    return x.moves and (own or any(_has_kronecker(a) for a in x.args))


def _compared(lines: Lines, names: Names, result: Expr, rule: str) -> tuple[list[Step], Expr]:
    return [*lines.steps, Step(*names.by(), result, rule, "derivative")], result


def _is_trace(term: Expr) -> bool:
    return trace_rules.split(term)[1].head == "tr"


def _coefficient(term: Expr) -> Expr:
    """What stands before a scalar dx."""
    return scale(*trace_rules.split(term)[0])


def _ended_by_dx(term: Expr) -> bool:
    core = trace_rules.split(term)[1]
    inner = core.args[0] if core.head == "tr" else core
    return trace_rules.factors(inner)[-1].head == "d"


def _left_of(term: Expr) -> Expr:
    """What stands before dX in a term that ends with it."""
    scalars, core = trace_rules.split(term)
    matrix = [x for x in scalars if not x.is_scalar]
    inner = core.args[0] if core.head == "tr" else core
    own = trace_rules.factors(inner)
    n = own[-1].shape[0]
    before = own[:-1] or (Expr("eye", (n, n)),)
    return scale(*(x for x in scalars if x.is_scalar), mul(*matrix, *before))


def _ended(left: Expr, x: Expr, under_trace: bool) -> Expr:
    """The product with dX at its right end."""
    product = mul(left, d(x))
    return trace(product) if under_trace else product


__all__ = ["Lines", "Names", "differentials", "gradient", "jacobian", "traced"]
