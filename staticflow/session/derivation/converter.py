"""What makes matrix expressions of terms, by a table of rules; vectors are columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from staticflow.compiler.formula.terms import Term
from staticflow.compiler.formula.writer import write
from staticflow.errors import GraphError, fail
from staticflow.graph.types import Shape
from staticflow.session.derivation.expr import (
    Expr,
    Size,
    number,
    ones,
    scale,
    symbol,
)
from staticflow.session.derivation.matrix import (
    mul,
    turn,
)


def size_of(shape: Shape) -> Size:
    """The shape as that of a matrix: vectors are columns."""
    if len(shape) > 2:
        fail(
            GraphError,
            "derive: writes matrices and vectors",
            got=f"a part of shape {shape}",
            do="use sf.grad and sf.explain for arrays of more axes",
        )
    return (1, 1) if not shape else (shape[0], shape[1] if len(shape) == 2 else 1)


CONSTANT = ("argmax", "argmin", "argsort", "stop_gradient")  # some but for jumps


class Converter:
    """Makes matrix expressions of terms; what it cannot take apart must not hold `moving`."""

    def __init__(self, moving: Sequence[Term], rules: Mapping[str, TermRule]) -> None:
        self.moving = frozenset(moving)
        self.rules = rules
        self.known: dict[Expr, Term] = {}  # what is not taken apart, for its value
        self._made: dict[Term, Expr] = {}
        self._moves: dict[Term, bool] = {}

    def expr(self, term: Term) -> Expr:
        if term not in self._made:
            self._made[term] = self._expr(term)
        return self._made[term]

    def moves(self, term: Term) -> bool:
        """Whether a term depends on what is differentiated by."""
        if term not in self._moves:
            found = term in self.moving or any(self.moves(x) for x in term.args)
            self._moves[term] = found
        return self._moves[term]

    def _expr(self, term: Term) -> Expr:
        if term.head == "name":
            found = symbol(term.name, size_of(term.shape))
            self.known[found] = term
            return found
        if term.head == "size":
            return Expr("size", (1, 1), (), term.attrs[0])
        if term.head == "number":
            return number(term.value)
        rule = self.rules.get(term.head)
        made = rule(self, term) if rule is not None else None
        return self._opaque(term) if made is None else made

    def _opaque(self, term: Term) -> Expr:
        if self.moves(term) and not (term.head == "call" and term.name in CONSTANT):
            fail(
                GraphError,
                "derive: has no rule for the differential of this",
                got=write([("", term)], {}, ())[:120],
                do="use sf.grad and sf.explain, which print the result",
            )
        found = Expr("known", size_of(term.shape), (), write([("", term)], {}, ()).split("\n")[-1])
        self.known[found] = term
        return found

    def spread(self, term: Term, shape: Shape) -> Expr:
        """A term broadcast to a shape as NumPy does."""
        found, target = self.expr(term), size_of(shape)
        if found.is_scalar and target != found.shape:
            return scale(found, ones(*target))
        if term.ndim == 1 and len(shape) == 2:
            found = turn(found)
        if found.shape == target:
            return found
        if found.shape[0] != target[0]:
            found = mul(ones(target[0], 1), found)
        return found if found.shape == target else mul(found, ones(1, target[1]))


TermRule = Callable[[Converter, Term], "Expr | None"]
