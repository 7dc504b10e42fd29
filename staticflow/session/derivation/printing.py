"""Matrix expressions as text, which is Python over columns and matrices."""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.formula.map_rules import COMPARISONS
from staticflow.compiler.formula.terms import Cut
from staticflow.graph.dims import AnyDim
from staticflow.session.derivation.expr import Expr, parts, scale

SUM, PRODUCT, POWER, ATOM = range(4)
Text = tuple[str, int]  # and how strongly its outermost operator binds
EPSILON = 1e-5  # that of layer_norm, unless another is given
COMPARED = {name: f"({{}} {sign} {{}})" for name, sign in COMPARISONS.items()}
# How functions are written that are one part of a decomposition, or a comparison.
WRITTEN = {
    **COMPARED,
    "eigenvalues": "eigh({})[0]", "eigenvectors": "eigh({})[1]", "left_vectors": "svd({})[0]",
    "singular_values": "svd({})[1]", "right_vectors": "svd({})[2]", "positive": "({} > 0)",
    "trace_expm": "tr(expm({}))", "norm_2": "norm({}, 2)",
    "orthogonal_factor": "qr({})[0]", "triangular_factor": "qr({})[1]", "huber": "huber({1}, {0})",
    "gaps": "(1 / (eigh({0})[0] - eigh({0})[0][:, None] + eye({1})) - eye({1}))",
    "order": "eye({1})[argsort({0})]", "spread": "sqrt(var({}) + {})",
    "norm_nuc": "norm({}, 'nuc')", "expm_frechet": "expm_frechet({}, {}, compute_expm=False)",
}  # fmt: skip


def text(x: Expr) -> str:
    """`tr((a * exp(X @ b)).T @ dX @ b)`: NumPy, with tr for the trace."""
    return _text(x)[0]


def in_brackets(x: Text, strength: int, left: str = "(", right: str = ")") -> str:
    return x[0] if x[1] >= strength else f"{left}{x[0]}{right}"


def number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def signed(pieces: Sequence[str]) -> str:
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
    if head == "mul":
        return _factors([_text(a) for a in args], " @ "), PRODUCT
    if head == "had" or (head == "pow" and x.attr < 0):
        return _quotient(args if head == "had" else (x,)), PRODUCT
    if head == "pow":
        return _power(in_brackets(_text(args[0]), ATOM), x.attr)
    if head == "T":
        return f"{in_brackets(_text(args[0]), ATOM)}.T", ATOM
    name = {"tr": "tr", "total": "sum", "fn": x.attr}.get(head, head)
    if name in ("max", "min") and not x.is_scalar:
        return f"{name}({_text(args[0])[0]}, axis=1)[:, None]", ATOM
    if name == "power":
        base, exponent = (in_brackets(_text(a), ATOM) for a in args)
        return f"{base} ** {exponent}", POWER
    if name in WRITTEN or name == "where":
        written = [_constant_text(a) or _text(a)[0] for a in args]
        if name == "where":
            return f"where({written[0][1:-1]}, {written[1]}, {written[2]})", ATOM
        return WRITTEN[name].format(*written), ATOM
    if name == "layer_norm" and args[1].attr == EPSILON:
        return f"layer_norm({_text(args[0])[0]})", ATOM
    return f"{name}({', '.join(_text(a)[0] for a in args)})", ATOM


def _sum_text(x: Expr) -> Text:
    """`1 - h ** 2`: numbers for constant matrices beside others, as NumPy broadcasts."""
    bare = [_constant_text(a) for a in x.args]
    if None not in bare or any(parts(a)[2].head == "eye" for a in x.args):
        bare = [None] * len(bare)
    texts = [
        in_brackets(_text(a), SUM) if b is None else b for a, b in zip(x.args, bare, strict=True)
    ]
    return signed(texts), SUM


def _quotient(items: Sequence[Expr]) -> str:
    """`a * b / (c * d ** 2)`, elementwise."""
    over = [_text(a) for a in items if not _has_inverse(a)]
    under = [_inverted(a) for a in items if _has_inverse(a)]
    top = _factors(over, " * ") if over else "1"
    if not under:
        return top
    below = _factors(under, " * ")
    return f"{top} / {below}" if len(under) == 1 else f"{top} / ({below})"


def _has_inverse(x: Expr) -> bool:
    return x.head == "pow" and x.attr < 0


def _constant_text(x: Expr) -> str | None:
    """The scalar that is repeated all over a matrix."""
    if x.head in ("ones", "zero"):
        return "1" if x.head == "ones" else "0"
    items = flat(x)
    if x.head != "scale" or items[-1].head != "ones":
        return None
    written = _text(scale(*items[:-1]))
    return in_brackets(written, SUM)


def _taken_text(args: Sequence[Expr]) -> str | None:
    """X[1:] of a product with rows of the identity, and X[:, 1:] of one with their transpose."""
    first, last = args[0], args[-1]
    if first.head == "select" and isinstance(first.attr, Cut):
        return f"{_product_text(args[1:])}[{_cut_text(first)}]"
    if last.head == "T" and last.args[0].head == "select" and isinstance(last.args[0].attr, Cut):
        return f"{_product_text(args[:-1])}[:, {_cut_text(last.args[0])}]"
    return None


def _product_text(args: Sequence[Expr]) -> str:
    return in_brackets(
        _text(args[0] if len(args) == 1 else Expr("mul", args[0].shape, tuple(args))), ATOM
    )


def _cut_text(x: Expr) -> str:
    return str(x.attr).replace("*", " * ")


def _power(base: str, exponent: float) -> Text:
    if exponent == 0.5:
        return f"sqrt({base.removeprefix('(').removesuffix(')')})", ATOM
    shown = number_text(exponent)
    return f"{base} ** {shown if exponent >= 0 else f'({shown})'}", POWER


def _factors(items: Sequence[Text], sign: str) -> str:
    return sign.join(in_brackets(item, POWER) for item in items)


def flat(x: Expr) -> list[Expr]:
    return [*flat(x.args[0]), *flat(x.args[1])] if x.head == "scale" else [x]


def _scaled(x: Expr) -> Text:
    """`-2 * c * A @ B / n`: scalars in front, what divides under them."""
    items = flat(x)
    sign = ""
    if items[0].head == "number" and items[0].attr < 0:
        sign = "-"
        value = -items[0].attr
        items[0] = Expr("number", (1, 1), (), value)
        items = items[1:] if value == 1 else items
    over = [a for a in items if not _has_inverse(a)]
    under = [_inverted(a) for a in items if _has_inverse(a)]
    texts = [_text(a) for a in over] or [("1", ATOM)]
    last = texts[-1]
    alone = len(texts) == 1 or over[-1].head == "mul"
    matrix = [in_brackets(last, PRODUCT if alone else POWER)]
    written = " * ".join([*(in_brackets(t, POWER) for t in texts[:-1]), *matrix])
    if under:
        below = " * ".join(in_brackets(item, POWER) for item in under)
        written += f" / {below}" if len(under) == 1 else f" / ({below})"
    return f"{sign}{written}", PRODUCT


def divides(x: Expr) -> bool:
    return x.head == "pow" and x.attr < 0 and x.is_scalar


def _inverted(x: Expr) -> Text:
    if x.attr == -1:
        return _text(x.args[0])
    return _power(in_brackets(_text(x.args[0]), ATOM), -x.attr)
