"""Make float64's sin, cos and tan right for every argument, and fast where none is huge: those ops
whose row has another for large arguments.

Before:  for i: y[i] = sin_f8(x[i])                        NaN from 2^50 on
After:   far = 0
         for i: far += 1 if abs(x[i]) >= 2^50 else 0       ... of which LLVM keeps only this
         if far > 0:
             for i: y[i] = sin_far_f8(x[i])                one by one
         else:
             for i: y[i] = sin_f8(x[i])                    vectors

A reduction of all arguments in vectors would cost every call some hundred instructions, and a
vector loop cannot branch. The loops are therefore gone through twice, the first time without
storing anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from staticflow.compiler.ir.loops import (
    Apply,
    Assign,
    Call,
    Code,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    StoreElement,
    walk,
)
from staticflow.compiler.ir.steps import KernelStep, Step, map_kernels
from staticflow.graph.kinds import MapRow

LIMIT = 2.0**50
HUGE = Code("far > 0")
_COUNT = f"(far + (1 if abs({{x}}) >= f8({LIMIT!r}) else 0))"


def guard_large_arguments(steps: Sequence[Step]) -> list[Step]:
    """Every kernel with such a function in a form that looks for huge arguments first."""
    return map_kernels(steps, _guarded)


def _guarded(step: KernelStep) -> KernelStep:
    kernel = step.kernel
    if not any(_function(statement) for statement in walk(kernel.body)):
        return step
    return replace(step, kernel=replace(kernel, body=_body(kernel)))


def _body(kernel: Kernel) -> tuple[Stmt, ...]:
    """What comes before the first loop is done once."""
    loops = [at for at, s in enumerate(kernel.body) if isinstance(s, For)]
    first = loops[0] if loops else 0
    head, rest = kernel.body[:first], kernel.body[first:]
    totals = frozenset(s.name for s in head if isinstance(s, Let))
    search = tuple(_searching(rest, totals))
    count = Let("far", Code("0"), "i8")
    return (*head, count, *search, If(HUGE, tuple(map(_for_large, rest)), rest))


def _function(statement: Stmt) -> tuple[MapRow, str] | None:
    """What a statement applies that has another row for large arguments, and to what."""
    if not isinstance(statement, Let) or not isinstance(statement.value, Apply):
        return None
    value = statement.value
    if value.row.large is None or value.dtype != "f8" or not isinstance(value.args[0], str):
        return None
    return value.row.large, value.args[0]


def _searching(body: Sequence[Stmt], totals: frozenset[str]) -> Iterator[Stmt]:
    """The same loops, which count huge arguments and leave nothing else behind."""
    for statement in body:
        if isinstance(statement, For):
            inner = tuple(_searching(statement.body, totals))
            if inner:
                yield replace(statement, body=inner)
        elif isinstance(statement, StoreElement | Call):
            continue
        elif not (isinstance(statement, Assign) and statement.name in totals):
            yield statement
            found = _function(statement)
            if found:
                yield Assign("far", Code(_COUNT, (("x", found[1]),)))


def _for_large(statement: Stmt) -> Stmt:
    """A statement with the functions for all arguments."""
    if isinstance(statement, For):
        return replace(statement, body=tuple(map(_for_large, statement.body)), over="range")
    found = _function(statement)
    if found and isinstance(statement, Let):
        row, x = found
        return replace(statement, value=Apply(row, (x,), "f8", "f8"))
    return statement
