"""Kernels under other names: their statements with variables, scalars, sizes, places replaced.

Loops that run once are left out, and places that are scalars become names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from staticflow.compiler.ir.loops import (
    Apply,
    Assign,
    Call,
    Code,
    Combined,
    Draw,
    For,
    If,
    Index,
    Initial,
    Let,
    Literal,
    Load,
    Local,
    Position,
    Room,
    Scalar,
    Size,
    SizeValue,
    Stmt,
    StoreElement,
    WrapIndex,
)


def loaded(load: Load, scalars: frozenset[str]) -> Scalar | Load:
    """An element, or the scalar that its pointer stands for."""
    return load.pointer if load.pointer in scalars else load


def stored(store: StoreElement, scalars: frozenset[str]) -> Stmt:
    """A store, or what gives the scalar that its pointer stands for its next value."""
    name = store.target.pointer
    if name not in scalars:
        return store
    value, combine = store.value, store.combine
    return Assign(name, value if combine is None else Combined(combine, name, value))


@dataclass(frozen=True)
class Renaming:
    """Other names for what statements name, other sizes, and where an element lies instead."""

    names: Callable[[str], str]  # of loop variables and scalars
    sizes: Mapping[str, Size]
    place: Callable[[Load], Load]  # of an element whose index is renamed already
    scalars: frozenset[str] = frozenset()  # the pointers that stand for a scalar
    single: frozenset[str] = frozenset()  # the variables of loops that run once

    def body(self, statements: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """The statements, renamed."""
        return tuple(renamed for each in statements for renamed in self._statement(each))

    def _statement(self, statement: Stmt) -> Iterator[Stmt]:
        match statement:
            case Let():
                name, value = self.names(statement.name), self._value(statement.value)
                yield Let(name, value, statement.dtype)
            case Assign():
                yield Assign(self.names(statement.name), self._scalar(statement.value))
            case StoreElement():
                yield stored(
                    replace(
                        statement,
                        target=self._load(statement.target),
                        value=self._scalar(statement.value),
                    ),
                    self.scalars,
                )
            case For():
                yield from self._loop(statement)
            case If():
                then, otherwise = self.body(statement.then), self.body(statement.otherwise)
                yield If(self._code(statement.condition), then, otherwise)
            case Call():
                raise AssertionError(f"a call of {statement.routine} is not renamed")
            case _:
                assert_never(statement)

    def _loop(self, loop: For) -> Iterator[Stmt]:
        extent = loop.extent
        extent = self._code(extent) if isinstance(extent, Code) else self._size(extent)
        if (extent, loop.start) == (1, 0):
            yield from replace(self, single=self.single | {loop.variable}).body(loop.body)
            return
        inner, start = self.body(loop.body), self._size(loop.start)
        yield replace(
            loop, variable=self.names(loop.variable), extent=extent, start=start, body=inner,
            level=None,
        )  # fmt: skip

    def _value(self, value: Scalar | Load) -> Scalar | Load:
        return (
            loaded(self._load(value), self.scalars)
            if isinstance(value, Load)
            else (self._scalar(value))
        )

    def _load(self, load: Load) -> Load:
        index, dynamic = self._index(load.index), self._index(load.dynamic)
        return self.place(Load(load.pointer, index, dynamic))

    def _scalar(self, value: Scalar) -> Scalar:
        match value:
            case str():
                return self.names(value)
            case Literal() | Initial():
                return value
            case SizeValue():
                return replace(value, size=self._size(value.size))
            case Position():
                offset = None if value.offset is None else self._size(value.offset)
                return replace(value, index=self._index(value.index), offset=offset)
            case Apply():
                return replace(value, args=tuple(map(self._scalar, value.args)))
            case Draw():
                position = self._scalar(value.position)
                assert isinstance(position, Position)
                return replace(value, args=tuple(map(self._scalar, value.args)), position=position)
            case WrapIndex():
                return WrapIndex(self._scalar(value.position), self._size(value.extent))
            case Combined():
                accumulator = self.names(value.accumulator)
                return replace(value, accumulator=accumulator, value=self._scalar(value.value))
            case Code():
                return self._code(value)
            case Room() | Local():
                raise AssertionError("memory of the stack comes after renaming")
        assert_never(value)

    def _code(self, code: Code) -> Code:
        return Code(code.template, tuple((hole, self._size(size)) for hole, size in code.args))

    def _index(self, index: Index) -> Index:
        terms = [(v, factors) for v, factors in index.terms if v not in self.single]
        return Index(tuple((self.names(v), tuple(map(self._size, f))) for v, f in terms))

    def _size(self, size: Size) -> Size:
        if isinstance(size, int):
            return size
        return self.sizes[size] if size in self.sizes else self.names(size)
