"""Make float64's sin, cos and tan right for every argument, and fast where none is huge.

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

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from staticflow.loops import Assign, Call, Expr, For, If, Kernel, Let, Stmt, Store, walk
from staticflow.schedule import KernelStep, Step, map_kernels

LIMIT = 2.0**50
_FUNCTION = re.compile(r"(sin|cos|tan)_f8\((\w+)\)")


def guard_far(steps: Sequence[Step]) -> list[Step]:
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
    return (*head, Let("far", "0", "i8"), *search, If("far > 0", tuple(map(_far, rest)), rest))


def _function(statement: Stmt) -> re.Match[str] | None:
    if isinstance(statement, Let) and isinstance(statement.value, Expr):
        return _FUNCTION.fullmatch(str(statement.value))
    return None


def _searching(body: Sequence[Stmt], totals: frozenset[str]) -> Iterator[Stmt]:
    """The same loops, which count huge arguments and leave nothing else behind."""
    for statement in body:
        if isinstance(statement, For):
            inner = tuple(_searching(statement.body, totals))
            if inner:
                yield replace(statement, body=inner)
        elif isinstance(statement, Store | Call):
            continue
        elif not (isinstance(statement, Assign) and statement.name in totals):
            yield statement
            found = _function(statement)
            if found:
                count = f"(far + (1 if abs({{x}}) >= f8({LIMIT!r}) else 0))"
                yield Assign("far", Expr(count, (("x", found[2]),)))


def _far(statement: Stmt) -> Stmt:
    """A statement with the functions for all arguments."""
    if isinstance(statement, For):
        return replace(statement, body=tuple(map(_far, statement.body)), over="range")
    found = _function(statement)
    if found and isinstance(statement, Let):
        return replace(statement, value=Expr(f"{found[1]}_far_f8({{x}})", (("x", found[2]),)))
    return statement
