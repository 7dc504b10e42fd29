"""Letters for parts of decompositions in long lines: Q and R rather than qr(A)[0] and qr(A)[1].

Q = qr(A)[0]                                             a letter of its own
df = tr(B.T @ Q @ (E * (Q.T @ dA @ inv(R))))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from staticflow.session.derivation.expr import Expr, symbol
from staticflow.session.derivation.latex import symbol_latex
from staticflow.session.derivation.matrix import rebuilt
from staticflow.session.derivation.steps import Step

LONG = 110  # characters of a line from which on letters are given
LETTERS = {
    "orthogonal_factor": "Q", "triangular_factor": "R", "eigenvectors": "V", "gaps": "F",
    "left_vectors": "U", "right_vectors": "Vt", "layer_norm": "Z", "spread": "s", "tril": "E",
}  # fmt: skip


def aliased(steps: Sequence[Step], taken: Iterable[str]) -> list[Step]:
    """The lines with letters for parts of decompositions, each with a line that says what it is."""
    if max(len(step.text) for step in steps) < LONG:
        return list(steps)
    taken = set(taken)
    letters: dict[Expr, Expr] = {}
    shown: list[Step] = []
    for part in dict.fromkeys(p for step in steps for p in _parts(step.expr)):
        own = LETTERS[part.attr]
        numbered = (own if k == 1 else f"{own}{k}" for k in range(1, len(taken) + 2))
        name = next(n for n in numbered if n not in taken)
        taken.add(name)
        letter = symbol(name, part.shape)
        value = rebuilt(part, tuple(_put_in(a, letters) for a in part.args))
        shown.append(Step(name, symbol_latex(letter), value, "a letter of its own", name))
        letters[part] = letter
    renamed = [
        Step(s.left, s.left_latex, _put_in(s.expr, letters), s.rule, s.quantity) for s in steps
    ]
    return [*shown, *renamed]


def _parts(x: Expr) -> Iterator[Expr]:
    """The parts that get letters, inner ones first."""
    for a in x.args:
        yield from _parts(a)
    if x.head == "fn" and x.attr in LETTERS:
        yield x


def _put_in(x: Expr, letters: Mapping[Expr, Expr]) -> Expr:
    """An expression with letters, but for what is yet to be differentiated."""
    if x in letters:
        return letters[x]
    if not x.args or (x.head == "d" and x.args[0].head != "symbol"):
        return x
    args = tuple(_put_in(a, letters) for a in x.args)
    return Expr("T", x.shape, args) if x.head == "T" else rebuilt(x, args)
