"""What formulas are better written as: a table of patterns, tried on every term that is made.

Each is an identity of values, in exact arithmetic and for finite numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.terms import ALL, Term, split
from staticflow.graph.dims import product


def masked(m: Algebra, term: Term) -> Term | None:
    """where(c, x, 0) = c * x, and max(x) where it is finite is taken as max(x)."""
    if not term.calls("where"):
        return None
    condition, x, other = term.args
    if other is not m.number(0):
        return None
    largest = _unstopped(x)
    if condition.calls("isfinite") and condition.args[0] is x and largest.reduces_by("max"):
        return largest
    return m.times(condition, x)


def one_hot(m: Algebra, term: Term) -> Term | None:
    """arange(n) == y[:, None] is one_hot(y), and arange(n)[:, None] == arange(n) is eye(n)."""
    if term.head != "compare" or term.attrs[0] != "==":
        return None
    for position, labels in (term.args, term.args[::-1]):
        last = term.ndim - 1
        if not position.calls("arange") or labels.head != "index" or labels.attrs != (last,):
            continue
        (y,) = labels.args
        if y.calls("arange"):
            return m.call("eye", term.shape, [m.size(term.shape[0])]) if y is position else None
        return m.call("one_hot", term.shape, [y])
    return None


def softmax(m: Algebra, term: Term) -> Term | None:
    """exp(x) / sum(exp(x)) along axes is softmax(x), also of x - max(x)."""
    coefficient, factors = split(term)
    for top in (base for base, e in factors if e == 1 and base.calls("exp")):
        for below in (base for base, e in factors if e == -1):
            axes = _reduced_along(m, "sum", top, below)
            if axes is None:
                continue
            x = _unshifted(m, top.args[0], axes)[0]
            found = m.call("softmax", x.shape, [x], _axis_option(x, axes), axes)
            rest = [f for f in factors if f not in ((top, 1), (below, -1))]
            return m.product([(found, 1), *rest], coefficient)
    return None


def logsumexp(m: Algebra, term: Term) -> Term | None:
    """log(sum(exp(x - max(x)))) is logsumexp(x) - max(x)."""
    if not term.calls("log") or not term.args[0].reduces_by("sum"):
        return None
    (total,) = term.args
    (powers,) = total.args
    if not powers.calls("exp"):
        return None
    x, shift = _unshifted(m, powers.args[0], total.axes)
    options = "" if len(total.axes) == x.ndim else f"axis={_axes_text(total.axes)}"
    found = m.call("logsumexp", term.shape, [x], options, total.axes)
    return found if shift is None else m.total([found, m.scaled(-1, shift)])


def log_softmax(m: Algebra, term: Term) -> Term | None:
    """x - logsumexp(x) is log_softmax(x)."""
    found = [(other, split(other)) for other in term.args]
    below = [(other, factors[0][0]) for other, (c, factors) in found
             if c == -1 and len(factors) == 1]  # fmt: skip
    below = [(other, shown) for other, shown in below if _uninserted(shown).calls("logsumexp")]
    for x in term.args if below else ():
        for other, shown in below:
            inner = _uninserted(shown)
            axes = inner.axes
            if inner.args[0] is x and shown is m.along(x, inner, axes):
                rest = [t for t in term.args if t is not x and t is not other]
                made = m.call("log_softmax", x.shape, [x], _axis_option(x, axes), axes)
                return m.total([made, *rest])
    return None


def chosen(m: Algebra, term: Term) -> Term | None:
    """sum(one_hot(y) * (x - c)) over the classes is sum(one_hot(y) * x) - c."""
    if not term.reduces_by("sum") or term.axes != (term.args[0].ndim - 1,):
        return None
    coefficient, factors = split(term.args[0])
    if len(factors) != 2 or any(e != 1 for _, e in factors):
        return None
    (mask, _), (values, _) = sorted(factors, key=lambda f: not f[0].calls("one_hot"))
    if not mask.calls("one_hot") or values.head != "sum":
        return None
    last = values.ndim - 1
    constant = [x for x in values.args if _repeats(x, last)]
    varying = [x for x in values.args if x not in constant]
    if not constant or not varying:
        return None
    part = m.reduce("sum", m.times(mask, m.total(varying)), (last,))
    return m.scaled(coefficient, m.total([part, *(_dropped(m, x) for x in constant)]))


def outer(m: Algebra, term: Term) -> Term | None:
    """x[:, None] * y is outer(x, y), of vectors."""
    coefficient, factors = split(term)
    columns = [base for base, _ in factors if base.head == "index" and base.attrs == (1,)]
    if len(factors) != 2 or len(columns) != 1 or any(e != 1 for _, e in factors):
        return None
    (x,) = columns[0].args
    (y,) = (base for base, _ in factors if base is not columns[0])
    if x.ndim != 1 or y.ndim != 1:
        return None
    return m.product([(m.call("outer", term.shape, [x, y]), 1)], coefficient)


def mean(m: Algebra, term: Term) -> Term | None:
    """sum(x) / n is mean(x), where n is the number of elements; also as a column."""
    coefficient, factors = split(term)
    if len(factors) != 2 or [e for _, e in factors] not in ([1, -1], [-1, 1]):
        return None
    (whole, _), (size, _) = sorted(factors, key=lambda f: -f[1])
    total = _uninserted(whole)
    if not total.reduces_by("sum") or size.head != "size":
        return None
    (x,) = total.args
    if product(x.shape[k] for k in total.axes) != size.attrs[0]:
        return None
    found = m.reduce("mean", x, total.axes)
    if whole is not total:
        found = m.make("index", whole.shape, [found], whole.attrs)
    return m.scaled(coefficient, found)


def norm(m: Algebra, term: Term) -> Term | None:
    """sqrt(sum(x ** 2)) is norm(x)."""
    coefficient, factors = split(term)
    for base, e in factors:
        if abs(e) != 0.5 or not base.reduces_by("sum") or base.ndim or base.args[0].ndim > 2:
            continue
        inner, squares = split(base.args[0])
        if inner == 1 and len(squares) == 1 and squares[0][1] == 2:
            found = m.call("norm", (), [squares[0][0]])
            rest = [f for f in factors if f[0] is not base]
            return m.product([(found, 2 * e), *rest], coefficient)
    return None


def trace(m: Algebra, term: Term) -> Term | None:
    """sum(eye(n) * A) and sum(diagonal(A)) are trace(A)."""
    if term.reduces_by("sum") and not term.ndim and term.args[0].calls("diagonal"):
        return m.call("trace", (), term.args[0].args)
    if not term.reduces_by("sum") or term.axes != (0, 1) or term.args[0].ndim != 2:
        return None
    coefficient, factors = split(term.args[0])
    if len(factors) == 2 and all(e == 1 for _, e in factors):
        turned = [x for x, _ in factors if x.head == "transpose" and x.args[0].calls("inv")]
        other = [x for x, _ in factors if x not in turned]
        if turned and other:
            whole = m.matmul(turned[0].args[0], other[0])
            return m.scaled(coefficient, m.call("trace", (), [whole]))
    rest = [f for f in factors if not f[0].calls("eye")]
    if len(rest) != len(factors) - 1 or not rest:
        return None
    matrix = m.product(rest, coefficient)
    return m.call("trace", (), [matrix]) if matrix.shape == term.args[0].shape else None


def stack(m: Algebra, term: Term) -> Term | None:
    """concatenate([x[None], y[None]]) is stack([x, y])."""
    if not term.calls("concatenate"):
        return None
    ranks = {x.attrs if x.head == "index" else () for x in term.args}
    if ranks != {term.axes}:
        return None
    rows = [x.args[0] for x in term.args]
    whole = _joined(rows)
    if whole is not None:
        (source,), (place,) = rows[0].args, term.axes
        rest = [k for k in range(term.ndim) if k != whole]
        return m.transpose(source, (*rest[:place], whole, *rest[place:]))
    return m.call("stack", term.shape, rows, f"axis={term.axes[0]}", term.axes)


def _joined(rows: Sequence[Term]) -> int | None:
    """The axis of x that x[..., 0], x[..., 1], ... run through, to its end."""
    first = rows[0]
    if first.head != "part" or len(first.args) != 1 or 0 not in first.attrs:
        return None
    (x,), axis = first.args, first.attrs.index(0)
    if first.ndim != x.ndim - 1 or len(rows) != x.shape[axis]:
        return None
    for k, row in enumerate(rows):
        taken = [(a, entry) for a, entry in enumerate(row.attrs) if entry != ALL]
        if row.head != "part" or row.args != (x,) or taken != [(axis, k)]:
            return None
    return axis


def sigmoid(m: Algebra, term: Term) -> Term | None:
    """1 / (1 + exp(-x)) is sigmoid(x)."""
    coefficient, factors = split(term)
    for base, e in factors:
        if e != -1 or base.head != "sum" or len(base.args) != 2:
            continue
        one, power = sorted(base.args, key=lambda x: x.head != "number")
        if one is m.number(1) and power.calls("exp"):
            x = m.scaled(-1, power.args[0])
            rest = [f for f in factors if f[0] is not base]
            return m.product([(m.call("sigmoid", x.shape, [x]), 1), *rest], coefficient)
    return None


def mirrored_sigmoid(m: Algebra, term: Term) -> Term | None:
    """sigmoid(x) * exp(-x) is sigmoid(-x)."""
    coefficient, factors = split(term)
    for base, e in factors:
        if e < 1 or not base.calls("sigmoid"):
            continue
        other = m.scaled(-1, base.args[0])
        power = m.call("exp", other.shape, [other])
        if (power, 1) in factors:
            found = m.call("sigmoid", other.shape, [other])
            rest = [f for f in factors if f[0] is not base and f[0] is not power]
            return m.product([(base, e - 1), (found, 1), *rest], coefficient)
    return None


def rectified(m: Algebra, term: Term) -> Term | None:
    """(x > 0) * relu(x) is relu(x)."""
    coefficient, factors = split(term)
    for base, e in factors:
        if not base.calls("relu") or e <= 0:
            continue
        mask = m.make("compare", base.shape, (base.args[0], m.number(0)), (">",))
        if (mask, 1) in factors:
            return m.product([f for f in factors if f[0] is not mask], coefficient)
    return None


def other_sigmoid(m: Algebra, term: Term) -> Term | None:
    """1 - sigmoid(-x) is sigmoid(x)."""
    one = m.number(1)
    for x in term.args:
        coefficient, factors = split(x)
        if coefficient != -1 or len(factors) != 1 or not factors[0][0].calls("sigmoid"):
            continue
        (inner,) = factors[0][0].args
        if one in term.args and split(inner)[0] < 0:
            found = m.call("sigmoid", inner.shape, [m.scaled(-1, inner)])
            return m.total([found, *(t for t in term.args if t is not one and t is not x)])
    return None


def _reduced_along(m: Algebra, name: str, x: Term, below: Term) -> tuple[int, ...] | None:
    """The axes, if `below` is the reduction of x along some, aligned with x."""
    shown = _uninserted(below)
    inner = _unstopped(shown)
    if not inner.reduces_by(name) or inner.args[0] is not x:
        return None
    return inner.axes if below is m.along(x, shown, inner.axes) else None


def positive(m: Algebra, term: Term) -> Term | None:
    """relu(x) > 0 where x > 0."""
    x, bound = term.args
    if term.attrs[0] != ">" or not x.calls("relu") or bound is not m.number(0):
        return None
    return m.make("compare", term.shape, (x.args[0], bound), (">",))


def position(m: Algebra, term: Term) -> Term | None:
    """The least index where x is max(x), or NaN, is argmax(x)."""
    if not term.reduces_by("min") or not term.args[0].calls("where"):
        return None
    found, index, _ = term.args[0].args
    here = found.args[0] if found.args and found.calls("bitwise_or") else found
    if here.head != "compare" or here.attrs[0] != "==" or not _uninserted(index).calls("arange"):
        return None
    x, extreme = here.args
    for name in ("max", "min"):
        if _reduced_along(m, name, x, extreme) == term.axes:
            return m.call(f"arg{name}", term.shape, [x], f"axis={_axes_text(term.axes)}")
    return None


def _unshifted(m: Algebra, x: Term, axes: tuple[int, ...]) -> tuple[Term, Term | None]:
    """y and max(y), if x is y - max(y) along the axes; else x itself."""
    if x.head != "sum":
        return x, None
    for term in x.args:
        coefficient, factors = split(term)
        inner = _uninserted(factors[0][0]) if len(factors) == 1 else term
        if coefficient == -1 and _unstopped(inner).reduces_by("max"):
            rest = m.total(t for t in x.args if t is not term)
            if _reduced_along(m, "max", rest, factors[0][0]) == axes:
                return rest, inner
    return x, None


def _unstopped(x: Term) -> Term:
    """x, of stop_gradient(x)."""
    return x.args[0] if x.calls("stop_gradient") else x


def _uninserted(x: Term) -> Term:
    return x.args[0] if x.head == "index" else x


def _repeats(x: Term, last: int) -> bool:
    """Whether a term is the same all along the last axis: x[:, None], or a number."""
    _, factors = split(x)
    return all(f.head == "index" and f.attrs == (last,) for f, _ in factors)


def _dropped(m: Algebra, x: Term) -> Term:
    """A term without the inserted last axis."""
    coefficient, factors = split(x)
    return m.product([(f.args[0], e) for f, e in factors], coefficient)


def _axis_option(x: Term, axes: Sequence[int]) -> str:
    """The option of functions that take the last axis by default."""
    return "" if tuple(axes) == (x.ndim - 1,) else f"axis={_axes_text(axes)}"


def _axes_text(axes: Sequence[int]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "call": (masked, logsumexp, stack),
    "compare": (one_hot, positive),
    "product": (rectified, softmax, sigmoid, mirrored_sigmoid, norm, mean, outer),
    "sum": (log_softmax, other_sigmoid),
    "reduce": (chosen, trace, position),
}
