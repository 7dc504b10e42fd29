"""Matrix expressions as LaTeX, in the notation of a textbook."""

from __future__ import annotations

from staticflow.compiler.formula.notation import bold, called, name_latex, number_latex, verbatim
from staticflow.compiler.formula.terms import Cut
from staticflow.session.derivation.expr import Expr
from staticflow.session.derivation.printing import (
    ATOM,
    POWER,
    PRODUCT,
    SUM,
    Text,
    divides,
    flat,
    in_brackets,
    number_text,
    signed,
)

# Parts of a decomposition by their usual letters; others are as `explain` writes them.
PARTS = {
    "positive": r"\left[{} > 0\right]",
    "eigenvalues": r"\boldsymbol{{\lambda}}\left({}\right)",
    "eigenvectors": r"\boldsymbol{{V}}\left({}\right)",
    "left_vectors": r"\boldsymbol{{U}}\left({}\right)",
    "singular_values": r"\boldsymbol{{\sigma}}\left({}\right)",
    "right_vectors": r"\boldsymbol{{V}}^{{T}}\left({}\right)",
    "norm_2": r"\left\|{}\right\|_{{2}}",
    "norm_nuc": r"\left\|{}\right\|_{{*}}",
    "trace_expm": r"\operatorname{{tr}}\left(e^{{{}}}\right)",
    "orthogonal_factor": r"\boldsymbol{{Q}}\left({}\right)",
    "triangular_factor": r"\boldsymbol{{R}}\left({}\right)",
    "gaps": r"\boldsymbol{{F}}\left({}\right)",
    "order": r"\boldsymbol{{P}}\left({}\right)",
    "spread": r"\sqrt{{\operatorname{{var}}\left({}\right) + {}}}",
    "huber": r"\operatorname{{huber}}_{{{1}}}\left({0}\right)",
    "layer_norm": r"\operatorname{{LN}}\left({}\right)",
}  # fmt: skip


def latex(x: Expr) -> str:
    """The same in the notation of a textbook."""
    return _latex(x)[0]


def symbol_latex(x: Expr) -> str:
    """Matrices and vectors bold, scalars not; `W_1` and `labels` as names."""
    name = str(x.attr)
    if "/" in name:  # the derivative of one quantity by another
        above, below = (part[1:] for part in name.split("/"))
        return rf"\frac{{\partial {_name_latex(above)}}}{{\partial {_name_latex(below)}}}"
    shown = _name_latex(name)
    return shown if x.is_scalar else bold(shown)


def _name_latex(name: str) -> str:
    base, bracket, index = name.partition("[")
    if bracket:  # one step of a recurrence: h[t-1]
        base = _name_latex(base)
        return f"{base}_{{{index.removesuffix(']')}}}"
    return name_latex(name)


def _latex(x: Expr) -> Text:
    head, args = x.head, x.args
    if head == "symbol":
        return symbol_latex(x), ATOM
    if head == "size":
        return str(x.attr).replace("*", " "), ATOM if str(x.attr).isalnum() else SUM
    if head == "sum_t":
        return rf"\sum_{{t=1}}^{{{x.attr}}} {_bracketed(args[0], PRODUCT)}", PRODUCT
    if head == "chain":
        return r" \, ".join(symbol_latex(a) for a in args), PRODUCT
    if head == "known":
        return verbatim(str(x.attr)), ATOM
    if head == "number":
        return number_latex(number_text(x.attr)), ATOM if x.attr >= 0 else SUM
    if head in ("ones", "zero"):
        sign = "1" if head == "ones" else "0"
        return rf"\boldsymbol{{{sign}}}_{{{x.shape[0]} \times {x.shape[1]}}}", ATOM
    if head == "eye":
        return r"\boldsymbol{I}", ATOM
    if head == "permutation":
        return rf"\boldsymbol{{K}}_{{{x.attr[0]} {x.attr[1]}}}", ATOM
    if head == "select":
        if isinstance(x.attr, Cut):
            return rf"\boldsymbol{{I}}_{{{x.attr}}}", ATOM
        return rf"\boldsymbol{{e}}_{{{x.attr}}}^{{T}}", POWER
    if head == "d":
        return f"d{in_brackets(_latex(args[0]), ATOM, '(', ')')}", ATOM
    if head == "sum":
        return signed([in_brackets(_latex(a), SUM) for a in args]), SUM
    if head == "scale":
        return _scaled_latex(x)
    if head == "mul":
        return r" ".join(_bracketed(a, PRODUCT) for a in args), PRODUCT
    if head == "had":
        return r" \odot ".join(_bracketed(a, POWER) for a in args), SUM
    if head == "pow":
        if x.attr == 0.5:
            return rf"\sqrt{{{_latex(args[0])[0]}}}", ATOM
        base = _bracketed(args[0], ATOM)
        sign = r"\odot " if not x.is_scalar else ""
        return rf"{base}^{{{sign}{number_text(x.attr)}}}", POWER
    if head == "T":
        return rf"{_bracketed(args[0], ATOM)}^{{T}}", POWER
    if head == "inv":
        return rf"{_bracketed(args[0], ATOM)}^{{-1}}", POWER
    name = {"tr": "tr", "total": "sum", "fn": x.attr}.get(head, head)
    inner = [_latex(a)[0] for a in args]
    if name in PARTS:
        return PARTS[name].format(*inner), POWER
    if name == "power":
        return rf"{_bracketed(args[0], ATOM)}^{{{inner[1]}}}", POWER
    if name == "kron":
        left, right = (_bracketed(a, POWER) for a in args)
        return rf"{left} \otimes {right}", SUM
    found = called(str(name), inner)
    return found, POWER if found.endswith("}") else ATOM


def _bracketed(x: Expr, strength: int) -> str:
    return in_brackets(_latex(x), strength, r"\left(", r"\right)")


def _scaled_latex(x: Expr) -> Text:
    items = flat(x)
    sign = ""
    if items[0].head == "number" and items[0].attr < 0:
        sign = "-"
        value = -items[0].attr
        items[0] = Expr("number", (1, 1), (), value)
        items = items[1:] if value == 1 else items
    under = [_inverted_latex(a) for a in items if divides(a)]
    over = [a for a in items if not divides(a)]
    front, matrix = ([*over[:-1]], [over[-1]]) if over and over[-1].moves else (over, [])
    top = " ".join(_bracketed(a, PRODUCT) for a in front)
    if under:
        top = rf"\frac{{{top or '1'}}}{{{' '.join(under)}}}"
    rest = " ".join(_bracketed(a, PRODUCT) for a in matrix)
    return f"{sign}{' '.join(t for t in (top, rest) if t)}", PRODUCT


def _inverted_latex(x: Expr) -> str:
    base = _bracketed(x.args[0], PRODUCT if x.attr == -1 else ATOM)
    return base if x.attr == -1 else f"{base}^{{{number_text(-x.attr)}}}"
