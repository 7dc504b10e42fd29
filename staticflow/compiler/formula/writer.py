"""Terms as text: operators with as few brackets as Python needs, and names for what occurs twice.

G = X @ W - y
dL/dW = 2 / n * X.T @ G
dL/db = 2 / n * sum(G, axis=0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from staticflow.compiler.formula.terms import ALL, Factors, LoopBody, Term, split

COMPARE, SUM, PRODUCT, MATMUL, POWER, ATOM = range(6)
LONG = 72  # from this many characters on, a part of a formula has a line of its own
LETTERS = "GHPQRSUVABCDEF"
MINUS = "-1 * "  # of choices, for which NumPy has no minus
MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
Text = tuple[str, int]  # and how strongly its outermost operator binds


def write(
    roots: Sequence[tuple[str, Term]], labels: Mapping[Term, str], taken: Iterable[str]
) -> str:
    """The formulas of named terms, after those of the parts that they share."""
    return "\n".join(written(roots, labels, taken).lines)


@dataclass(frozen=True)
class Written:
    """The lines of formulas, and what they are of: all terms in order, and those with a name."""

    lines: Sequence[str]
    roots: Sequence[tuple[str, Term]]
    terms: Sequence[Term]
    names: Mapping[Term, str]


def written(
    roots: Sequence[tuple[str, Term]], labels: Mapping[Term, str], taken: Iterable[str]
) -> Written:
    """The same, with the names that shared parts were given."""
    writer = _Writer(roots, labels, taken)
    return Written(writer.lines, roots, _order([t for _, t in roots], ()), writer.names)


class _Writer:
    def __init__(
        self, roots: Sequence[tuple[str, Term]], labels: Mapping[Term, str], taken: Iterable[str]
    ) -> None:
        taken = set(taken)
        self.taken = {*taken, *(name for name, _ in roots)}
        self.names: dict[Term, str] = {}
        self.lines: list[str] = []
        free = [pair for pair in roots if pair[0].isidentifier() and pair[0] not in taken]
        self.wanted = {**labels, **{term: name for name, term in reversed(free)}}
        texts: dict[Term, Text] = {}
        self._write([term for _, term in roots], texts, self.lines)
        self._write_roots(roots, texts)

    def _write(self, roots: Sequence[Term], texts: dict[Term, Text], lines: list[str]) -> None:
        """The texts of terms; what they share goes into lines before them."""
        order = [term for term in _order(roots, texts) if term not in texts]
        uses = Counter(x for term in order for x in term.args)
        for term in order:
            if term.head == "loop":
                lines += self._loop(term.body, [texts[x][0] for x in term.args], texts)
                texts[term] = ("", ATOM)
                continue
            text = _text(term, [texts[x] for x in term.args])
            known = self.wanted.get(term) if term.args else None
            often = uses[term] > 2 and bool(term.args) and term.head == "call"
            shared = (uses[term] > 1 and not _is_plain(term)) or often
            if uses[term] and (known or shared or len(text[0]) > LONG):
                name = known or self._new_name(term)
                self.names[term] = name
                lines.append(f"{name} = {text[0]}")
                text = (name, ATOM)
            texts[term] = text

    def _loop(self, body: LoopBody, args: Sequence[str], texts: Mapping[Term, Text]) -> list[str]:
        """The statements of a loop."""
        inner: list[str] = []
        own = dict(texts)
        before = [] if body.test is None else [body.test]
        self._write(before, own, inner)
        test = own[body.test][0] if body.test is not None else ""
        heads = inner if before else []
        inner = []
        self._write([*body.next, *body.ys], own, inner)
        for stack, y in zip(body.stacks, body.ys, strict=True):
            if y not in body.next:
                inner.append(f"{stack}.append({own[y][0]})")
        following = ", ".join(own[term][0] for term in body.next)
        if body.names:
            inner.append(f"{', '.join(body.names)} = {following}")
        for stack, y in zip(body.stacks, body.ys, strict=True):
            if y in body.next:
                inner.append(f"{stack}.append({body.names[body.next.index(y)]})")
        start = [f"{name} = {x}" for name, x in zip(body.names, args, strict=False)]
        start += [f"{stack} = []" for stack in body.stacks]
        turned = "[::-1]" if body.reverse else ""
        end = [f"{stack} = stack({stack}{turned})" for stack in body.stacks]
        return [*start, *heads, _head(body, test), *(f"    {line}" for line in inner), *end]

    def _write_roots(self, roots: Sequence[tuple[str, Term]], texts: Mapping[Term, Text]) -> None:
        for name, term in roots:
            if self.names.get(term) != name:
                text = texts[term][0]
                self.lines.append(f"{name} = {text}" if name else text)

    def _new_name(self, term: Term) -> str:
        letters = "P" + LETTERS if term.calls("softmax") else LETTERS
        letters = letters if term.ndim > 1 else letters.lower()
        numbers = ["", *map(str, range(2, 2 + len(self.names)))]
        name = next(x + k for k in numbers for x in letters if x + k not in self.taken)
        self.taken.add(name)
        return name


def _head(body: LoopBody, test: str) -> str:
    """`for t in range(T):` or `while h < 10:`"""
    if body.test is not None:
        return f"while {test}:"
    length = str(body.length).replace("*", " * ")
    steps = f"range({length})"
    return f"for {body.index} in {f'reversed({steps})' if body.reverse else steps}:"


def _order(roots: Sequence[Term], known: Iterable[Term]) -> list[Term]:
    """All terms, arguments first, but for what known ones are made of; without recursion."""
    done: dict[Term, None] = dict.fromkeys(known)
    stack = list(reversed(roots))
    while stack:
        waiting = [x for x in stack[-1].args if x not in done]
        if waiting:
            stack += reversed(waiting)
        else:
            done.setdefault(stack.pop())
    return list(done)


def _is_plain(term: Term) -> bool:
    """Whether it reads as well as a name: a leaf, its transpose, a function of it alone."""
    if not term.args:
        return True
    leaves = not any(x.args for x in term.args)
    return leaves and len(term.args) == 1 and term.head not in ("sum", "matmul")


def _text(term: Term, args: Sequence[Text]) -> Text:
    head, attrs = term.head, term.attrs
    if head == "name":
        return term.name, ATOM
    if head == "size":
        text = str(attrs[0]).replace("*", " * ")
        return text, ATOM if text.isalnum() else (SUM if "+" in text or "-" in text else PRODUCT)
    if head in ("number", "product"):
        coefficient, factors = split(term)
        return _product(coefficient, factors, args)
    if head == "sum":
        return _sum(term, args), SUM
    if head == "matmul":
        left = _in(args[0], MATMUL)
        return f"{left} @ {_in(args[1], POWER)}", MATMUL
    if head == "power":
        return f"{_in(args[0], ATOM)} ** {_in(args[1], POWER)}", POWER
    if head == "compare":
        return _comparison(term, args), COMPARE
    if head == "reduce":
        return _reduction(term, args[0][0]), ATOM
    return _postfix(term, args), ATOM


def _comparison(term: Term, args: Sequence[Text]) -> str:
    """x < 1, rather than 1 > x."""
    sign, (first, other) = str(term.attrs[0]), (_in(x, SUM) for x in args)
    if term.args[0].head == "number" and term.args[1].head != "number":
        return f"{other} {MIRRORED.get(sign, sign)} {first}"
    return f"{first} {sign} {other}"


def _output(term: Term) -> str:
    """The name of one of a loop's outputs: the last carries, then what its steps gave."""
    body, (number,) = term.args[0].body, term.attrs
    assert isinstance(number, int)
    return (*body.names, *body.stacks)[number]


def _postfix(term: Term, args: Sequence[Text]) -> str:
    head, attrs = term.head, term.attrs
    if head == "transpose":
        return f"{_in(args[0], ATOM)}{_transpose(term)}"
    if head == "index":
        return f"{_in(args[0], ATOM)}[{_inserted(term)}]"
    if head == "part" and term.args[0].head == "loop":
        return _output(term)
    if head == "part":
        taken = [text for text, _ in args[1:]] or [str(entry) for entry in _without_rest(attrs)]
        return f"{_in(args[0], ATOM)}[{', '.join(taken)}]"
    texts = [text for text, _ in args]
    if term.name in ("concatenate", "stack"):
        texts = [f"[{', '.join(texts)}]"]
    options = [str(attrs[2])] if attrs[2] else []
    return f"{term.name}({', '.join(texts + options)})"


def _without_rest(taken: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    """What is taken along axes, but for last ones that are taken whole."""
    while len(taken) > 1 and taken[-1] == ALL:
        taken = taken[:-1]
    return taken


def _in(text: Text, strength: int) -> str:
    """The text as an operand of an operator that needs this strength."""
    return text[0] if text[1] >= strength else f"({text[0]})"


def _is_boolean(x: Term) -> bool:
    """Whether a term is a choice, or a product of such: NumPy adds them as `or`."""
    coefficient, factors = split(x)
    return bool(factors) and coefficient == 1 and all(_is_choice(base) for base, _ in factors)


def _sum(term: Term, args: Sequence[Text]) -> str:
    choices = all(_is_boolean(x) for x in term.args)
    written = f"1 * {_in(args[0], PRODUCT)}" if choices else _in(args[0], SUM)
    for arg in args[1:]:
        text = _in(arg, SUM)
        if text.startswith(MINUS) and not _is_boolean(term.args[0]):
            text = f"-{text.removeprefix(MINUS)}"
        written += f" - {text[1:]}" if text.startswith("-") else f" + {text}"
    return written


def _product(coefficient: float, factors: Factors, args: Sequence[Text]) -> Text:
    pairs = list(zip(factors, args, strict=True))
    if coefficient == -1:
        pairs.sort(key=lambda pair: _is_choice(pair[0][0]))
    over = [(base, _power(text, e)) for (base, e), text in pairs if e > 0]
    under = [(base, _power(text, -e)) for (base, e), text in pairs if e < 0]
    sign = "-" if coefficient < 0 else ""
    if coefficient == -1 and all(_is_choice(base) for base, _ in factors):
        sign = MINUS
    scalars = [text for base, text in over if not base.ndim]
    if abs(coefficient) != 1:
        scalars.insert(0, (number_text(abs(coefficient)), ATOM))
    arrays = [text for base, text in over if base.ndim]
    if scalars and arrays:  # all scalars in front
        front = _quotient(scalars, [text for base, text in under if not base.ndim])
        back = _quotient(arrays, [text for base, text in under if base.ndim])
        return f"{sign}{front} * {back}", PRODUCT
    if not over and not under:
        return sign + number_text(abs(coefficient)), ATOM if not sign else PRODUCT
    top = scalars or arrays or [("1", ATOM)]
    text = _quotient(top, [text for _, text in under])
    alone = len(top) == 1 and not under
    return sign + text, top[0][1] if alone and not sign else PRODUCT


def _is_choice(x: Term) -> bool:
    """Whether NumPy has booleans for it: its + is `or`."""
    return x.head == "compare" or (x.head == "call" and x.name.startswith("logical_"))


def _quotient(over: Sequence[Text], under: Sequence[Text]) -> str:
    """`a * b / (c * d)`; a matrix product needs no brackets where it comes first."""
    first = over[0][0] if over[0][1] in (PRODUCT, MATMUL) else _in(over[0], MATMUL)
    top = " * ".join([first, *(_in(text, POWER) for text in over[1:])])
    if not under:
        return top
    below = " * ".join(_in(text, POWER) for text in under)
    return f"{top} / {below if len(under) == 1 else f'({below})'}"


def _power(base: Text, exponent: float) -> Text:
    if exponent == 1:
        return base
    if exponent == 0.5:
        return f"sqrt({base[0]})", ATOM
    return f"{_in(base, ATOM)} ** {number_text(exponent)}", POWER


def _reduction(term: Term, inner: str) -> str:
    name, rank = term.name, term.args[0].ndim
    if len(term.axes) == rank:
        return f"{name}({inner})"
    axis = str(term.axes[0]) if len(term.axes) == 1 else str(term.axes)
    return f"{name}({inner}, axis={axis})"


def _transpose(term: Term) -> str:
    perm, rank = term.attrs, term.ndim
    if perm == (1, 0):
        return ".T"
    if perm == (*range(rank - 2), rank - 1, rank - 2):
        return ".mT"
    return f".transpose{perm}"


def _inserted(term: Term) -> str:
    """`:, None` and the like."""
    return ", ".join("None" if k in term.attrs else ":" for k in range(term.ndim))


def number_text(value: float) -> str:
    """The shortest text that reads as the number, but for the last digits of rounding."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    short = f"{value:.12g}"
    return short if abs(float(short) - value) <= 1e-15 * abs(value) else repr(value)
