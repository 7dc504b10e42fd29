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

So arguments must not come from what the loops themselves store, or from a sum that began before
them. Where they do, as behind the first pass over a row, only the inner loops are gone through
twice; where no loop is left, the function is the one for all arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from staticflow.compiler.ir.loops import (
    Apply,
    Assign,
    Call,
    Code,
    For,
    If,
    Let,
    Load,
    Local,
    Room,
    Stmt,
    StoreElement,
    bodies,
    names_in,
    walk,
)
from staticflow.compiler.ir.map_kernels import map_kernels
from staticflow.compiler.ir.steps import KernelStep, Step
from staticflow.graph.kinds import MapRow

LIMIT = 2.0**50
HUGE = Code("far > 0")
_COUNT = f"(far + (1 if abs({{x}}) >= f8({LIMIT!r}) else 0))"


def guard_large_arguments(steps: Sequence[Step]) -> list[Step]:
    """Every kernel with such a function in a form that looks for huge arguments first."""
    return map_kernels(steps, _guarded, whole_loops=True)


def _guarded(step: KernelStep) -> KernelStep:
    kernel = step.kernel
    if not any(_function(statement) for statement in walk(kernel.body)):
        return step
    return replace(step, kernel=replace(kernel, body=_Guard(step).kernel_body(kernel.body)))


@dataclass(frozen=True)
class _Guard:
    """Puts searches into a step's kernel."""

    step: KernelStep

    @cached_property
    def buffers(self) -> dict[str, int]:
        """The buffers of pointers, those with room for narrow rows among them."""
        kernel = self.step.kernel
        names = (name for name, _ in kernel.pointers)
        found = {name: place[0] for name, place in zip(names, self.step.pointers, strict=True)}
        for s in walk(kernel.body):
            if isinstance(s, Let) and isinstance(s.value, Room):
                found[s.name] = found[s.value.pointer]
            elif isinstance(s, Let) and isinstance(s.value, Local):
                found[s.name] = -1 - len(found)  # no buffer
        return found

    def kernel_body(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """What comes before the first loop is done once."""
        loops = [at for at, s in enumerate(body) if isinstance(s, For)]
        first = loops[0] if loops else 0
        head, rest = body[:first], body[first:]
        before = _named(head)
        if self._may_search(rest, before):
            return (*head, *_searched(rest, before))
        return (*head, *self._each(rest, before))

    def _each(self, body: tuple[Stmt, ...], before: frozenset[str]) -> Iterator[Stmt]:
        """Each statement with a search of its own, or within its loops, or for all arguments."""
        for at, statement in enumerate(body):
            known = before | _named(body[:at])
            if not any(_function(s) for s in walk((statement,))):
                yield statement
            elif isinstance(statement, Let):
                yield _for_large(statement)
            elif self._may_search((statement,), known):
                yield from _searched((statement,), known)
            else:
                yield self._within(statement, known)

    def _within(self, statement: Stmt, before: frozenset[str]) -> Stmt:
        """A loop or a choice with searches in its bodies."""
        if isinstance(statement, If):
            then, otherwise = (tuple(self._each(body, before)) for body in bodies(statement))
            return replace(statement, then=then, otherwise=otherwise)
        assert isinstance(statement, For)
        return replace(statement, body=tuple(self._each(statement.body, before)), over="range")

    def _may_search(self, body: tuple[Stmt, ...], before: frozenset[str]) -> bool:
        """Whether the arguments are known without what the statements store or sum up."""
        changed = [s for s in walk(body) if isinstance(s, Let | Assign) and s.name in before]
        unknown, stored = {s.name for s in changed}, set[int]()
        for s in walk(body):
            if isinstance(s, StoreElement):
                stored.add(self.buffers[s.target.pointer])
            elif isinstance(s, Call):
                stored |= {self.buffers[x] for x in s.args if x in self.buffers}
            elif isinstance(s, Let | Assign):
                found = _function(s)
                if found and found[1] in unknown:
                    return False
                value = s.value
                again = isinstance(value, Load) and self.buffers[value.pointer] in stored
                if again or not unknown.isdisjoint(names_in(value)):
                    unknown.add(s.name)
        return True


def _named(body: Sequence[Stmt]) -> frozenset[str]:
    """What statements name, outside of their loops."""
    return frozenset(s.name for s in body if isinstance(s, Let))


def _searched(body: Sequence[Stmt], before: frozenset[str]) -> tuple[Stmt, ...]:
    """A search, and both forms of the statements; they leave what was named `before` alone."""
    count, search = Let("far", Code("0"), "i8"), _searching(body, before)
    return (count, *search, If(HUGE, tuple(map(_for_large, body)), tuple(body)))


def _function(statement: Stmt) -> tuple[MapRow, str] | None:
    """What a statement applies that has another row for large arguments, and to what."""
    if not isinstance(statement, Let) or not isinstance(statement.value, Apply):
        return None
    value = statement.value
    if value.row.large is None or value.dtype != "f8" or not isinstance(value.args[0], str):
        return None
    return value.row.large, value.args[0]


def _searching(body: Sequence[Stmt], before: frozenset[str]) -> Iterator[Stmt]:
    """The same loops, which count huge arguments and leave nothing else behind."""
    for statement in body:
        if isinstance(statement, For):
            inner = tuple(_searching(statement.body, before))
            if inner:
                yield replace(statement, body=inner)
        elif isinstance(statement, If):
            then, otherwise = (tuple(_searching(inner, before)) for inner in bodies(statement))
            if then:  # `otherwise` sums up the same, or is nothing
                yield replace(statement, then=then, otherwise=otherwise)
        elif isinstance(statement, Let | Assign) and statement.name not in before:
            yield statement
            found = _function(statement)
            if found:
                yield Assign("far", Code(_COUNT, (("x", found[1]),)))


def _for_large(statement: Stmt) -> Stmt:
    """A statement with the functions for all arguments."""
    if isinstance(statement, For):
        return replace(statement, body=tuple(map(_for_large, statement.body)), over="range")
    if isinstance(statement, If):
        then, otherwise = (tuple(map(_for_large, inner)) for inner in bodies(statement))
        return replace(statement, then=then, otherwise=otherwise)
    found = _function(statement)
    if found and isinstance(statement, Let):
        row, x = found
        return replace(statement, value=Apply(row, (x,), "f8", "f8"))
    return statement
