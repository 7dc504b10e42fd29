"""Rules for random compositions with loops and branches, nested in each other."""

from __future__ import annotations

from typing import Any

from tests.fuzz.compositions.rules import (
    BINARY,
    ROW,
    SQUARE,
    TALL,
    UNARY,
    Choose,
    Function,
    Rule,
    Shape,
    one_of,
)

NAMES = sorted(set(UNARY) - {"remainder", "floor"})  # without jumps that a rounding error may cross


def _unary(choose: Choose) -> Function:
    return UNARY[one_of(choose, NAMES)]


def _binary(choose: Choose) -> Function:
    return BINARY[one_of(choose, sorted(BINARY))]


def _cell(choose: Choose) -> Function:
    """A carry of three numbers, a matrix and a row to the next carry."""
    first, second, join = _unary(choose), _unary(choose), _binary(choose)
    kind = choose(4)

    def cell(m: Any, h: Any, a: Any, row: Any) -> Any:
        row = m.tanh(row)  # a carry multiplied by large numbers would be chaotic
        if kind == 0:
            return m.tanh(join(m, first(m, h), second(m, row)))
        if kind == 1:
            return m.tanh(0.5 * (h @ a) + first(m, row))
        if kind == 2:
            return m.tanh(first(m, join(m, h, row)) @ a)
        return m.sin(join(m, h, m.sum(second(m, row)) * row))

    return cell


def _scanned(choose: Choose, *_: Shape) -> Function:
    cell, output, reverse, last = _cell(choose), _unary(choose), bool(choose(2)), choose(2)

    def scan(m: Any, xs: Any, a: Any, h: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            new = cell(m, carry, a, row)
            return new, output(m, new) * row

        found = m.scan(step, h, xs, reverse=reverse)
        return found[0] if last else found[1]

    return scan


def _nested_scan(choose: Choose, *_: Shape) -> Function:
    outer, inner = _cell(choose), _cell(choose)

    def scan(m: Any, xs: Any, a: Any, h: Any) -> Any:
        def within(carry: Any, column: Any) -> Any:
            return inner(m, carry, a, column), m.sin(carry)

        def step(carry: Any, row: Any) -> Any:
            last, ys = m.scan(within, m.sin(row), a)
            new = outer(m, carry, a, last)
            return new, m.sum(ys, 0) + new

        return m.scan(step, h, xs)[1]

    return scan


def _branch(choose: Choose, *_: Shape) -> Function:
    one, other, shared, low = _unary(choose), _unary(choose), _unary(choose), choose(2)

    def branch(m: Any, x: Any, y: Any) -> Any:
        both = shared(m, x)
        taken = m.sum(x) > (0.0123 if low else 1.0123)
        return m.cond(taken, lambda: one(m, both) * y, lambda: other(m, y) + both)

    return branch


def _branch_in_scan(choose: Choose, *_: Shape) -> Function:
    cell, other = _cell(choose), _cell(choose)

    def scan(m: Any, xs: Any, a: Any, h: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            new = m.cond(
                row[0] > 0.0123,
                lambda: cell(m, carry, a, row),
                lambda: other(m, row, a, carry),
            )
            return new, new * row

        return m.scan(step, h, xs)[1]

    return scan


def _repeated(choose: Choose, *_: Shape) -> Function:
    body, bound = _unary(choose), 3 + choose(4)

    def loop(m: Any, x: Any, y: Any) -> Any:
        return m.while_loop(
            lambda v: m.sum(v * v) < 20.123,
            lambda v: 1.4 * v + 0.1 * body(m, v * y) + 0.2,
            x,
            max_steps=bound,
        )

    return loop


def _loop_in_scan(choose: Choose, *_: Shape) -> Function:
    cell, body = _cell(choose), _unary(choose)

    def scan(m: Any, xs: Any, a: Any, h: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            grown = m.while_loop(
                lambda v: m.max(v) < 2.123, lambda v: 1.5 * v + 0.6 + 0.1 * body(m, row * v),
                m.sin(row), max_steps=4,
            )  # fmt: skip
            return cell(m, carry, a, 0.3 * grown), 0.3 * grown

        last, ys = m.scan(step, h, xs)
        return ys + last

    return scan


def _algebra_in_scan(choose: Choose, *_: Shape) -> Function:
    """A filter: a matrix is carried and factored in every step."""
    first, kind = _unary(choose), choose(3)

    def scan(m: Any, xs: Any, a: Any) -> Any:
        transition = 0.3 * m.tanh(a)

        def step(carry: Any, row: Any) -> Any:
            noise = m.diag(1.5 + m.sin(row))
            new = transition @ carry @ transition.T + noise
            if kind == 0:
                gain = m.solve(new, first(m, row))
            elif kind == 1:
                gain = m.cholesky(new) @ row
            else:
                gain = m.inv(new)[0] * m.logdet(new)
            return new, gain

        last, ys = m.scan(step, m.diag(m.exp(m.sin(xs[0]))), xs)
        return ys @ last * 0.2

    return scan


def _scan_in_branch(choose: Choose, *_: Shape) -> Function:
    scan, other = _scanned(choose), _unary(choose)

    def branch(m: Any, xs: Any, a: Any, h: Any) -> Any:
        return m.cond(
            m.sum(h) > 0.0123,
            lambda: m.sum(scan(m, xs, a, h)),
            lambda: m.sum(other(m, a @ h)),
        )

    return branch


LOOPS = (
    Rule("scan", (TALL, SQUARE, ROW), _scanned),
    Rule("scan again", (TALL, SQUARE, ROW), _scanned),
    Rule("nested scan", (TALL, SQUARE, ROW), _nested_scan),
    Rule("cond", (ROW, ROW), _branch),
    Rule("cond in scan", (TALL, SQUARE, ROW), _branch_in_scan),
    Rule("while_loop", (ROW, ROW), _repeated),
    Rule("while_loop in scan", (TALL, SQUARE, ROW), _loop_in_scan),
    Rule("linear algebra in scan", (TALL, SQUARE), _algebra_in_scan),
    Rule("scan in cond", (TALL, SQUARE, ROW), _scan_in_branch),
)
