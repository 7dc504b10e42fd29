"""What functions are called in a derivation: parts of a graph that have a name of their own.

    minimum(maximum(x, 0), 1)                        clip(x, 0, 1)
    where(x >= 0, x, 0.01 * x)                       leaky_relu(x, 0.01)
    where(abs(x) < 1, x ** 2 / 2, abs(x) - 1 / 2)    huber(x, 1): of one element
    (X - mean(X)) / sqrt(var(X) + 1e-5)              layer_norm(X, 1e-5), along the last axis
    take_along_axis(x, argsort(x))                   sort(x)
    reshape(outer(x, y), (m * n,))                   kron(x, y)

What is an argument of these stays as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.axis_patterns import flattened, kron
from staticflow.compiler.formula.choice_patterns import (
    decided,
    logdet,
    matrix_norm,
    positive_size,
    sizes,
)
from staticflow.compiler.formula.elementwise_patterns import (
    clipped,
    kron_of_vectors,
    sorted_elements,
    triangle,
    uncentred,
)
from staticflow.compiler.formula.matrix_patterns import diagonal
from staticflow.compiler.formula.patterns import PATTERNS
from staticflow.compiler.formula.terms import Term, split


def leaky(m: Algebra, term: Term) -> Term | None:
    """where(x >= 0, x, c * x) is leaky_relu(x, c)."""
    if not term.calls("where"):
        return None
    condition, x, other = term.args
    above = condition.head == "compare" and condition.attrs[0] in (">", ">=")
    if not above or condition.args != (x, m.number(0)):
        return None
    coefficient, factors = split(other)
    if factors != split(x)[1] or split(x)[0] != 1:
        return None
    return m.call("leaky_relu", x.shape, [x, m.number(coefficient)])


def unstopped(m: Algebra, term: Term) -> Term | None:
    """where(c, stop_gradient(x), x) is x, of the first step of a scan."""
    if not term.calls("where"):
        return None
    _, stopped, x = term.args
    return x if stopped.calls("stop_gradient") and stopped.args[0] is x else None


def huber(m: Algebra, term: Term) -> Term | None:
    """where(abs(x) < c, x ** 2 / 2, c * (abs(x) - c / 2)) is huber(x, c)."""
    if not term.calls("where"):
        return None
    condition, near, far = term.args
    if condition.head != "compare" or condition.attrs[0] != "<":
        return None
    size, bound = condition.args
    if not size.calls("abs") or bound.head != "number":
        return None
    c, (x,) = bound.value, size.args
    square = m.product([(size, 2)], 0.5)
    line = m.scaled(c, m.total([size, m.number(-c / 2)]))
    return m.call("huber", x.shape, [x, bound]) if (near, far) == (square, line) else None


def layer_norm(m: Algebra, term: Term) -> Term | None:
    """(x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + c), along the last axis."""
    coefficient, factors = split(term)
    for distance, e in factors:
        own = uncentred(m, distance, frozenset((-1,))) if e == 1 else None
        if own is None:
            continue
        last = distance.ndim - 1
        variance = m.reduce("mean", m.product([(distance, 2)]), (last,))
        spread = m.place(variance, range(last), distance.ndim)
        for below, power in factors:
            number = next((x for x in below.args if x.head == "number"), None)
            if power != -0.5 or number is None or m.total([spread, number]) is not below:
                continue
            found = m.call("layer_norm", own.shape, [own, number])
            rest = [f for f in factors if f[0] is not distance and f[0] is not below]
            return m.product([(found, 1), *rest], coefficient)
    return None


NAMES: Mapping[str, Sequence[Pattern]] = {
    **PATTERNS,
    "call": (
        *PATTERNS["call"], logdet, sizes, unstopped, decided, clipped, leaky, huber,
        sorted_elements, kron_of_vectors, kron,
    ),
    "compare": (*PATTERNS["compare"], triangle),
    "product": (layer_norm, diagonal, positive_size, *PATTERNS["product"]),
    "reduce": (*PATTERNS["reduce"], matrix_norm),
    "matmul": (flattened,),
}  # fmt: skip
