"""Functions of matrices by name: what is computed by parts is read as a whole.

    det(A)                            not the diagonal of an LU decomposition
    det(A) * inv(A).T                 its derivative, which is computed by singular values
    expm_frechet(A.T, G)              not a corner of the exponential of a matrix twice as wide

An op with a rule for its derivative tells which function it is (`Rule.of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.compiler.formula.algebra import Algebra
from staticflow.compiler.formula.closed_forms import CLOSED_FORMS, built
from staticflow.compiler.formula.reader import Reader, Rules, Seen, full
from staticflow.compiler.formula.terms import Term
from staticflow.compiler.passes.loop_walk import map_bodies
from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Kind, Node, Op
from staticflow.graph.traversal import rebuild, with_inputs
from staticflow.graph.types import TensorType
from staticflow.ops.linalg_native import Svd
from staticflow.ops.linalg_triangular import Triangular
from staticflow.ops.native_call import Ruled

Form = Callable[[Algebra, Sequence[Term]], Term]


@dataclass(frozen=True)
class Function(Op):
    """A function of which only the name is looked at."""

    of: str
    type: TensorType
    kind = Kind.CALL

    def infer(self, *xs: TensorType) -> TensorType:
        return self.type

    def lifted(self, length: AnyDim) -> Function:
        return Function(self.of, TensorType((length, *self.type.shape), self.type.dtype))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.of)


def whole_functions(roots: Sequence[Node]) -> list[Node]:
    """The same graph with a function in place of each value that has a name."""
    return map_bodies(_replaced(roots), lambda op, body: _replaced(body))


def _replaced(roots: Sequence[Node]) -> list[Node]:
    def replace(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Ruled) and node.op.rule.of in FORMS:
            assert isinstance(node.type, TensorType)
            op = Function(node.op.rule.of, node.type)
            return Node(op, inputs[1:], node.type, node.where, node.label)
        return with_inputs(node, inputs)

    return rebuild(roots, replace)


def by_rule(reader: Reader, node: Node) -> Seen:
    """Of an op with a derivative of its own: the function, or its value."""
    assert isinstance(node.op, Ruled)
    name, (value, *operands) = node.op.rule.of, node.inputs
    return _read(reader, name, operands, node) if name in FORMS else reader.seen[value]


def function(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Function)
    return _read(reader, node.op.of, node.inputs, node)


def _read(reader: Reader, name: str, operands: Sequence[Node], node: Node) -> Seen:
    if name.startswith("solve"):
        return _solve(reader, name != "solve", operands, node)
    return full(FORMS[name](reader.m, [reader.whole(x) for x in operands]))


def _solve(reader: Reader, turned: bool, operands: Sequence[Node], node: Node) -> Seen:
    """A system of equations with a vector, or with columns."""
    a = reader.whole(operands[0])
    a = _turned(reader.m, a) if turned else a
    right, last = reader.seen[operands[1]], node.ndim - 1
    if right.axes[-1] is None and node.shape[-1] == 1 and node.ndim == 2:
        vector = reader.whole_of(Seen(right.term, right.axes[:-1]), node.shape[:-1])
        return Seen(solved(reader.m, a, vector), (*range(last), None))
    return full(solved(reader.m, a, reader.whole(operands[1])))


def solved(m: Algebra, a: Term, b: Term) -> Term:
    scalars, b = m.unscaled(b)
    if b.calls("eye"):
        return m.times(scalars, _inv(m, [a]))
    return m.times(scalars, m.call("solve", b.shape, [a, b]))


def _turned(m: Algebra, a: Term) -> Term:
    rank = a.ndim
    return m.transpose(a, (*range(rank - 2), rank - 1, rank - 2))


def _inv(m: Algebra, args: Sequence[Term]) -> Term:
    scalars, a = m.unscaled(args[0])
    found = a.args[0] if a.calls("inv") else m.call("inv", a.shape, [a])
    return m.product([(scalars, -1), (found, 1)])


def _det(m: Algebra, args: Sequence[Term]) -> Term:
    (a,) = args
    return m.call("det", a.shape[:-2], [a])


def _slogdet(output: int) -> Form:
    def form(m: Algebra, args: Sequence[Term]) -> Term:
        (a,) = args
        return m.make("part", a.shape[:-2], [m.call("slogdet", (), [a])], (output,))

    return form


def _over(m: Algebra, scalar: Term, rank: int) -> Term:
    """One number for each matrix, repeated over it."""
    return m.place(scalar, range(rank - 2), rank)


def _cofactors(m: Algebra, args: Sequence[Term]) -> Term:
    """The derivative of the determinant."""
    rank = args[0].ndim
    make = {
        "det": lambda a: _over(m, _det(m, [a]), rank), "inv": lambda a: _inv(m, [a]),
        "T": lambda a: _turned(m, a), "Mult": m.times,
    }  # fmt: skip
    found: Term = built(CLOSED_FORMS["det"].gradient, {"a": args[0]}, make)
    return found


def _change(m: Algebra, args: Sequence[Term]) -> Term:
    """det(A) (tr(inv(A) T) inv(A)' - (inv(A) T inv(A))')"""
    a, t = args
    rank, y = a.ndim, _inv(m, [a])
    yt = m.matmul(y, t)
    trace = m.reduce("sum", m.call("diagonal", a.shape[:-1], [yt]), (rank - 2,))
    own = m.times(_over(m, trace, rank), _turned(m, y))
    both = m.total([own, m.scaled(-1, _turned(m, m.matmul(yt, y)))])
    return m.times(_over(m, _det(m, [a]), rank), both)


def _expm(m: Algebra, args: Sequence[Term]) -> Term:
    (a,) = args
    if a.head == "transpose" and a.ndim == 2:
        return m.transpose(_expm(m, a.args), (1, 0))
    return m.call("expm", a.shape, [a])


def _pinv(m: Algebra, args: Sequence[Term]) -> Term:
    (a,) = args
    return m.call("pinv", (*a.shape[:-2], a.shape[-1], a.shape[-2]), [a])


def triangular(reader: Reader, node: Node) -> Seen:
    """A system with a triangle of a matrix, as SciPy has it."""
    op = node.op
    assert isinstance(op, Triangular)
    given = {"trans": int(op.turned), "lower": op.lower, "unit_diagonal": op.unit}
    options = ", ".join(f"{name}={value}" for name, value in given.items() if value)
    args = [reader.whole(x) for x in node.inputs]
    return full(reader.m.call("solve_triangular", node.shape, args, options, op))


def svd(reader: Reader, node: Node) -> Seen:
    """Of a matrix that is not square, with as many vectors as there are values."""
    a = reader.whole(node.inputs[0])
    options = "" if a.shape[-1] == a.shape[-2] else "full_matrices=False"
    return full(reader.m.call("svd", (), [a], options, node.op))


FORMS: Mapping[str, Form] = {
    "solve": lambda m, args: solved(m, *args),
    "solve of the transpose": lambda m, args: solved(m, _turned(m, args[0]), args[1]),
    "inv": _inv,
    "det": _det,
    "cofactors": _cofactors,
    "change of the cofactors": _change,
    "sign of det": _slogdet(0),
    "logarithm of the size of det": _slogdet(1),
    "expm": _expm,
    "pinv": _pinv,
}
FUNCTION_RULES: Rules = {
    Function: function, Ruled: by_rule, Triangular: triangular, Svd: svd,
}  # fmt: skip
