"""Terms as LaTeX, with the names for shared parts that the text has.

X.T @ (X @ w - b)            X^T (X w - b), matrices and vectors bold
x @ A @ y                    x^T A y
outer(x, y), inv(A) * B      x y^T, A^{-1} . B
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from staticflow.compiler.formula.notation import (
    SIGNS,
    bold,
    called,
    name_latex,
    number_latex,
    verbatim,
)
from staticflow.compiler.formula.terms import ALL, Cut, Term, split
from staticflow.compiler.formula.writer import Written, number_text

SUM, PRODUCT, POWER, ATOM = range(4)
Shown = tuple[str, int]  # LaTeX, and how strongly its outermost operator binds


def latex(written: Written) -> str:
    """The lines under each other, as an `aligned` environment; those of loops as they are typed."""
    if any(term.head == "loop" for term in written.terms):
        rows = [rf"& {verbatim(line)}" for line in written.lines]
        return _aligned(rows)
    shown: dict[Term, Shown] = {}
    own: dict[Term, str] = {}
    for term in written.terms:
        own[term], strength = _shown(term, [shown[x] for x in term.args])
        shown[term] = (own[term], strength)
        if term in written.names:
            shown[term] = (_symbol(written.names[term], term), ATOM)
    roots = {term: name for name, term in written.roots}
    lines = [(name, term) for term, name in written.names.items() if roots.get(term) != name]
    pairs = [(_symbol(name, term), own[term]) for name, term in lines]
    for name, term in written.roots:
        whole = own[term] if written.names.get(term) in (name, None) else shown[term][0]
        pairs.append((_fraction(name, term) if name else "", whole))
    if len(pairs) == 1 and not pairs[0][0]:
        return pairs[0][1]
    return _aligned([rf"{left} &= {right}" if left else rf"& {right}" for left, right in pairs])


def _aligned(rows: Sequence[str]) -> str:
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _fraction(name: str, term: Term) -> str:
    """The name of a formula: dL/dW as a fraction."""
    above, slash, below = name.partition("/")
    if slash and above[:1] == below[:1] == "d" and above[1:] and below[1:]:
        top, bottom = (rf"\partial {name_latex(x[1:])}" for x in (above, below))
        return rf"\frac{{{top}}}{{{bottom}}}"
    return _symbol(name, term) if name.isidentifier() else verbatim(name)


def _symbol(name: str, term: Term) -> str:
    shown = name_latex(name)
    return bold(shown) if term.ndim else shown


def _in(x: Shown, strength: int) -> str:
    return x[0] if x[1] >= strength else rf"\left({x[0]}\right)"


def _shown(term: Term, args: Sequence[Shown]) -> Shown:
    head = term.head
    if head == "name":
        return (_symbol(term.name, term) if term.name.isidentifier() else verbatim(term.name)), ATOM
    if head == "size":
        text = str(term.attrs[0])
        return text.replace("*", " "), ATOM if text.isalnum() else SUM
    if head in ("number", "product"):
        return _product(term, args)
    if head == "sum":
        return _signed([_in(x, SUM) for x in args]), SUM
    if head == "compare":
        sign = str(term.attrs[0])
        return rf"\left[{args[0][0]} {SIGNS.get(sign, sign)} {args[1][0]}\right]", ATOM
    if head == "power":
        return rf"{_in(args[0], ATOM)}^{{{args[1][0]}}}", POWER
    if head == "reduce":
        axes = "" if len(term.axes) == term.args[0].ndim else _axes(term.axes)
        return rf"\operatorname{{{term.name}}}{axes}\left({args[0][0]}\right)", ATOM
    return OF_HEADS[head](term, args)


def _axes(axes: Sequence[int]) -> str:
    return f"_{{{', '.join(map(str, axes))}}}"


def _signed(pieces: Sequence[str]) -> str:
    found = pieces[0]
    for piece in pieces[1:]:
        found += f" - {piece[1:].lstrip()}" if piece.startswith("-") else f" + {piece}"
    return found


def _product(term: Term, args: Sequence[Shown]) -> Shown:
    """Scalars in front, over what divides; arrays elementwise."""
    coefficient, factors = split(term)
    sign, size = "-" if coefficient < 0 else "", abs(coefficient)
    pairs = [(base, _power(base, x, abs(e)), e > 0) for (base, e), x in
             zip(factors, args, strict=True)]  # fmt: skip
    over = [x for base, x, above in pairs if above and not base.ndim]
    divisors = [x for base, x, above in pairs if not above and not base.ndim]
    under = [_in(x, SUM if len(divisors) == 1 else PRODUCT) for x in divisors]
    arrays = [x for base, x, above in pairs if above and base.ndim]
    below = [x for base, x, above in pairs if not above and base.ndim]
    scalars = [_in(x, PRODUCT) for x in over]
    if size != 1 or not (over or arrays or below):
        scalars.insert(0, number_latex(number_text(size)))
    front = " ".join(scalars)
    if under:
        front = rf"\frac{{{front or '1'}}}{{{' '.join(under)}}}"
    if not arrays and not below:
        alone = not under and len(scalars) == 1 and not sign
        return f"{sign}{front}", over[0][1] if alone and over else PRODUCT if sign else ATOM
    whole = len(arrays) == 1 and not below
    matrix = r" \odot ".join(_in(x, PRODUCT if whole else POWER) for x in arrays)
    if not matrix:
        matrix, front = front or "1", ""
    for x in below:
        matrix += rf" \oslash {_in(x, ATOM)}"
    if front and not whole:
        matrix = rf"\left({matrix}\right)"
    joined = " ".join(x for x in (front, matrix) if x)
    return f"{sign}{joined}", PRODUCT if whole or front else SUM


def _power(base: Term, x: Shown, exponent: float) -> Shown:
    if exponent == 1:
        return x
    if exponent == 0.5:
        return rf"\sqrt{{{x[0]}}}", ATOM
    sign = r"\odot " if base.ndim else ""
    return rf"{_in(x, ATOM)}^{{{sign}{number_text(exponent)}}}", POWER


def _matmul(term: Term, args: Sequence[Shown]) -> Shown:
    left = _in(args[0], PRODUCT)
    if term.args[0].ndim == 1:
        left = rf"{_in(args[0], ATOM)}^{{T}}"
    return f"{left} {_in(args[1], PRODUCT)}", PRODUCT


def _transposed(x: Shown) -> Shown:
    return rf"{_in(x, ATOM)}^{{T}}", POWER


def _transpose(term: Term, args: Sequence[Shown]) -> Shown:
    if term.order[-2:] == (term.ndim - 1, term.ndim - 2):
        return _transposed(args[0])
    return rf"{_in(args[0], ATOM)}^{{{', '.join(map(str, term.order))}}}", POWER


def _index(term: Term, args: Sequence[Shown]) -> Shown:
    """A vector is a column as it is, and x[None] a row."""
    row = term.ndim == 2 and term.attrs == (0,)
    return _transposed(args[0]) if row else args[0]


def _part(term: Term, args: Sequence[Shown]) -> Shown:
    taken = [x for x, _ in args[1:]] or [_entry(entry) for entry in term.attrs]
    return rf"{_in(args[0], ATOM)}_{{{', '.join(taken)}}}", POWER


def _entry(entry: object) -> str:
    return str(entry) if isinstance(entry, Cut) and entry != ALL else str(entry).replace("*", " ")


def _call(term: Term, args: Sequence[Shown]) -> Shown:
    name = term.name
    inner = [x for x, _ in args]
    if name == "inv":
        return rf"{_in(args[0], ATOM)}^{{-1}}", POWER
    if name == "solve":
        return rf"{_in(args[0], ATOM)}^{{-1}} {_in(args[1], PRODUCT)}", PRODUCT
    if name == "outer":
        return rf"{_in(args[0], PRODUCT)} {_in(args[1], ATOM)}^{{T}}", PRODUCT
    if name == "kron":
        return r" \otimes ".join(_in(x, POWER) for x in args), SUM
    if name in ("ones", "zeros", "eye"):
        return bold({"ones": "1", "zeros": "0", "eye": "I"}[name]), ATOM
    if name == "broadcast_to":
        return args[0]
    if name in ("abs", "diagflat"):
        return called({"abs": "det", "diagflat": "diag"}[name], inner), ATOM
    if name == "trace":
        return called("tr", inner), ATOM
    found = called(name, inner)
    options = str(term.attrs[2])
    if name == "norm" and options:
        kind = {"'nuc'": "*"}.get(options, options)
        return rf"{found}_{{{kind}}}", POWER
    return found, POWER if found.endswith("}") else ATOM


OF_HEADS: Mapping[str, Callable[[Term, Sequence[Shown]], Shown]] = {
    "matmul": _matmul, "transpose": _transpose, "index": _index, "part": _part, "call": _call,
}  # fmt: skip
