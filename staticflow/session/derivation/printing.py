"""Matrix expressions as text, which is Python over columns and matrices, and as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.formula.map_rules import COMPARISONS
from staticflow.compiler.formula.terms import Cut
from staticflow.graph.dims import AnyDim
from staticflow.session.derivation.expr import (
    Expr,
)

SUM, PRODUCT, POWER, ATOM = range(4)
Text = tuple[str, int]  # and how strongly its outermost operator binds
COMPARED = {name: f"({{}} {sign} {{}})" for name, sign in COMPARISONS.items()}
# How functions are written that are one part of a decomposition, or a comparison.
WRITTEN = {
    **COMPARED,
    "eigenvalues": "eigh({})[0]", "eigenvectors": "eigh({})[1]", "left_vectors": "svd({})[0]",
    "singular_values": "svd({})[1]", "right_vectors": "svd({})[2]", "positive": "({} > 0)",
    "trace_expm": "tr(expm({}))", "norm_2": "norm({}, 2)",
    "norm_nuc": "norm({}, 'nuc')", "expm_frechet": "expm_frechet({}, {}, compute_expm=False)",
}  # fmt: skip
SIGNS = {"==": "=", "!=": r"\neq", "<=": r"\leq", ">=": r"\geq"}
# The same as mathematics: parts of a decomposition by their usual letters.
AS_LATEX = {
    **{name: rf"\left[{{}} {SIGNS.get(sign, sign)} {{}}\right]"
       for name, sign in COMPARISONS.items()},
    "positive": r"\left[{} > 0\right]",
    "eigenvalues": r"\boldsymbol{{\lambda}}\left({}\right)",
    "eigenvectors": r"\boldsymbol{{V}}\left({}\right)",
    "left_vectors": r"\boldsymbol{{U}}\left({}\right)",
    "singular_values": r"\boldsymbol{{\sigma}}\left({}\right)",
    "right_vectors": r"\boldsymbol{{V}}^{{T}}\left({}\right)",
    "norm_2": r"\left\|{}\right\|_{{2}}",
    "norm_nuc": r"\left\|{}\right\|_{{*}}",
    "trace_expm": r"\operatorname{{tr}}\left(e^{{{}}}\right)",
    "expm": r"e^{{{}}}",
    "expm_frechet": r"L\left({}, {}\right)",
    "pinv": r"\left({}\right)^{{+}}",
}  # fmt: skip
PLAIN = {"det", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan"}


def text(x: Expr) -> str:
    """`tr((a * exp(X @ b)).T @ dX @ b)`: NumPy, with tr for the trace."""
    return _text(x)[0]


def latex(x: Expr) -> str:
    """The same in the notation of a textbook."""
    return _latex(x)[0]


def _in(x: Text, strength: int, left: str = "(", right: str = ")") -> str:
    return x[0] if x[1] >= strength else f"{left}{x[0]}{right}"


def number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _signed(pieces: Sequence[str]) -> str:
    written = pieces[0]
    for piece in pieces[1:]:
        written += f" - {piece[1:].lstrip()}" if piece.startswith("-") else f" + {piece}"
    return written


def _size(n: AnyDim) -> str:
    return str(n).replace("*", " * ")


def _text(x: Expr) -> Text:
    head, args = x.head, x.args
    if head in ("symbol", "known"):
        return str(x.attr), ATOM
    if head == "size":
        return _size(x.attr), ATOM if str(x.attr).isalnum() else SUM
    if head == "sum_t":
        return f"sum({_text(args[0])[0]} for t in range(1, {_size(x.attr)} + 1))", ATOM
    if head == "chain":
        return "".join(f"({a.attr})" for a in args), ATOM
    if head == "number":
        return number_text(x.attr), ATOM if x.attr >= 0 else SUM
    if head in ("ones", "zero"):
        name = "ones" if head == "ones" else "zeros"
        return f"{name}(({_size(x.shape[0])}, {_size(x.shape[1])}))", ATOM
    if head == "eye":
        return f"eye({_size(x.shape[0])})", ATOM
    if head == "select":
        taken = str(x.attr).replace("*", " * ")
        shown = taken if isinstance(x.attr, Cut) else f"[{taken}]"
        return f"eye({_size(x.shape[1])})[{shown}]", ATOM
    if head == "permutation":
        return f"commutation({_size(x.attr[0])}, {_size(x.attr[1])})", ATOM
    if head == "d":
        inner = _text(args[0])[0]
        return (f"d{inner}" if args[0].head == "symbol" else f"d({inner})"), ATOM
    if head == "sum":
        return _sum_text(x)
    if head == "scale":
        return _scaled(x)
    if head == "mul" and not x.moves and (part := _taken_text(args)) is not None:
        return part, ATOM
    if head in ("mul", "had"):
        sign = " @ " if head == "mul" else " * "
        return _factors([_text(a) for a in args], sign), PRODUCT
    if head == "pow":
        return _power(_in(_text(args[0]), ATOM), x.attr)
    if head == "T":
        return f"{_in(_text(args[0]), ATOM)}.T", ATOM
    name = {"tr": "tr", "total": "sum", "fn": x.attr}.get(head, head)
    if name in WRITTEN:
        return WRITTEN[name].format(*(_constant_text(a) or _text(a)[0] for a in args)), ATOM
    return f"{name}({', '.join(_text(a)[0] for a in args)})", ATOM


def _sum_text(x: Expr) -> Text:
    """`1 - h ** 2`: numbers for constant matrices beside others, as NumPy broadcasts."""
    bare = [_constant_text(a) for a in x.args]
    if None not in bare:
        bare = [None] * len(bare)
    texts = [_in(_text(a), SUM) if b is None else b for a, b in zip(x.args, bare, strict=True)]
    return _signed(texts), SUM


def _constant_text(x: Expr) -> str | None:
    """The number that is repeated all over a matrix."""
    if x.head in ("ones", "zero"):
        return "1" if x.head == "ones" else "0"
    repeated = x.head == "scale" and x.args[1].head == "ones" and x.args[0].head == "number"
    return number_text(x.args[0].attr) if repeated else None


def _taken_text(args: Sequence[Expr]) -> str | None:
    """X[1:] of a product with rows of the identity, and X[:, 1:] of one with their transpose."""
    first, last = args[0], args[-1]
    if first.head == "select" and isinstance(first.attr, Cut):
        return f"{_product_text(args[1:])}[{_cut_text(first)}]"
    if last.head == "T" and last.args[0].head == "select" and isinstance(last.args[0].attr, Cut):
        return f"{_product_text(args[:-1])}[:, {_cut_text(last.args[0])}]"
    return None


def _product_text(args: Sequence[Expr]) -> str:
    return _in(_text(args[0] if len(args) == 1 else Expr("mul", args[0].shape, tuple(args))), ATOM)


def _cut_text(x: Expr) -> str:
    return str(x.attr).replace("*", " * ")


def _power(base: str, exponent: float) -> Text:
    if exponent == 0.5:
        return f"sqrt({base.removeprefix('(').removesuffix(')')})", ATOM
    shown = number_text(exponent)
    return f"{base} ** {shown if exponent >= 0 else f'({shown})'}", POWER


def _factors(items: Sequence[Text], sign: str) -> str:
    return sign.join(_in(item, POWER) for item in items)


def _flat(x: Expr) -> list[Expr]:
    return [*_flat(x.args[0]), *_flat(x.args[1])] if x.head == "scale" else [x]


def _scaled(x: Expr) -> Text:
    """`-2 * c * A @ B / n`: scalars in front, what divides under them."""
    items = _flat(x)
    sign = ""
    if items[0].head == "number" and items[0].attr < 0:
        sign = "-"
        value = -items[0].attr
        items[0] = Expr("number", (1, 1), (), value)
        items = items[1:] if value == 1 else items
    over = [a for a in items if not _divides(a)]
    under = [_inverted(a) for a in items if _divides(a)]
    texts = [_text(a) for a in over] or [("1", ATOM)]
    last = texts[-1]
    alone = len(texts) == 1 or over[-1].head == "mul"
    matrix = [_in(last, PRODUCT if alone else POWER)]
    written = " * ".join([*(_in(t, POWER) for t in texts[:-1]), *matrix])
    if under:
        below = " * ".join(_in(item, POWER) for item in under)
        written += f" / {below}" if len(under) == 1 else f" / ({below})"
    return f"{sign}{written}", PRODUCT


def _divides(x: Expr) -> bool:
    return x.head == "pow" and x.attr < 0 and x.is_scalar


def _inverted(x: Expr) -> Text:
    if x.attr == -1:
        return _text(x.args[0])
    return _power(_in(_text(x.args[0]), ATOM), -x.attr)


def symbol_latex(x: Expr) -> str:
    """Matrices and vectors bold, scalars not; `W_1` and `labels` as names."""
    name = str(x.attr)
    if "/" in name:  # the derivative of one quantity by another
        above, below = (part[1:] for part in name.split("/"))
        return rf"\frac{{\partial {_name_latex(above)}}}{{\partial {_name_latex(below)}}}"
    shown = _name_latex(name)
    return shown if x.is_scalar else rf"\boldsymbol{{{shown}}}"


def _name_latex(name: str) -> str:
    base, bracket, index = name.partition("[")
    if bracket:  # one step of a recurrence: h[t-1]
        base = r"\delta" if base == "delta" else _name_latex(base)
        return f"{base}_{{{index.removesuffix(']')}}}"
    shown = name if len(name) == 1 else rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}"
    return shown


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
        return rf"\mathtt{{{_escaped(str(x.attr))}}}", ATOM
    if head == "number":
        return number_text(x.attr), ATOM if x.attr >= 0 else SUM
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
        return f"d{_in(_latex(args[0]), ATOM, '(', ')')}", ATOM
    if head == "sum":
        return _signed([_in(_latex(a), SUM) for a in args]), SUM
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
    inner = ", ".join(_latex(a)[0] for a in args)
    if name == "det":
        return rf"\left|{inner}\right|", ATOM
    if name in AS_LATEX:
        return AS_LATEX[name].format(*(_latex(a)[0] for a in args)), POWER
    if name == "kron":
        left, right = (_bracketed(a, POWER) for a in args)
        return rf"{left} \otimes {right}", SUM
    if name == "norm":
        return rf"\left\|{inner}\right\|", ATOM
    shown = rf"\{name}" if name in PLAIN else rf"\operatorname{{{_escaped(str(name))}}}"
    return rf"{shown}\left({inner}\right)", ATOM


def _bracketed(x: Expr, strength: int) -> str:
    return _in(_latex(x), strength, r"\left(", r"\right)")


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")


def _scaled_latex(x: Expr) -> Text:
    items = _flat(x)
    sign = ""
    if items[0].head == "number" and items[0].attr < 0:
        sign = "-"
        value = -items[0].attr
        items[0] = Expr("number", (1, 1), (), value)
        items = items[1:] if value == 1 else items
    under = [_inverted_latex(a) for a in items if _divides(a)]
    over = [a for a in items if not _divides(a)]
    front, matrix = ([*over[:-1]], [over[-1]]) if over and over[-1].moves else (over, [])
    top = " ".join(_bracketed(a, PRODUCT) for a in front)
    if under:
        top = rf"\frac{{{top or '1'}}}{{{' '.join(under)}}}"
    rest = " ".join(_bracketed(a, PRODUCT) for a in matrix)
    return f"{sign}{' '.join(t for t in (top, rest) if t)}", PRODUCT


def _inverted_latex(x: Expr) -> str:
    base = _bracketed(x.args[0], PRODUCT if x.attr == -1 else ATOM)
    return base if x.attr == -1 else f"{base}^{{{number_text(-x.attr)}}}"
