"""An ONNX graph under construction: entries by name, constants, and arithmetic on their values.

    b = Builder(opset=18)
    y = b.op("Tanh", x) * 0.5 + 1.0          # three entries and two constants

A loop's body is a `Scope` within that of the graph around it, whose values it may read.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.types import TensorType
from staticflow.native.memory import Array

ELEMENT = {"float32": 1, "int32": 6, "int64": 7, "bool": 9, "float64": 11}  # ONNX's numbers
_WORD = re.compile(r"[^\w.]+")


class Tensor:
    """A value of the graph under construction; operators add entries."""

    __slots__ = ("builder", "dtype", "name")

    def __init__(self, builder: Builder, name: str, dtype: str) -> None:
        self.builder, self.name, self.dtype = builder, name, dtype

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float32", "float64")

    def like(self, value: Any) -> Tensor:
        """A number as a scalar of this value's dtype; a tensor as it is."""
        return value if isinstance(value, Tensor) else self.builder.scalar(value, self.dtype)

    def op(self, kind: str, *others: Any, dtype: str = "", **attributes: Any) -> Tensor:
        """The value of an operator on this value and others, of this value's dtype."""
        operands = (self, *map(self.like, others))
        return self.builder.op(kind, *operands, dtype=dtype or self.dtype, **attributes)

    def cast(self, dtype: str) -> Tensor:
        if dtype == self.dtype:
            return self
        return self.op("Cast", dtype=dtype, to=ELEMENT[dtype])

    def __add__(self, other: Any) -> Tensor:
        return self.op("Add", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return self.op("Sub", other)

    def __rsub__(self, other: Any) -> Tensor:
        return self.like(other).op("Sub", self)

    def __mul__(self, other: Any) -> Tensor:
        return self.op("Mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return self.op("Div", other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self.like(other).op("Div", self)

    def __neg__(self) -> Tensor:
        return self.op("Neg")

    def __abs__(self) -> Tensor:
        return self.op("Abs")

    def __lt__(self, other: Any) -> Tensor:
        return self.op("Less", other, dtype="bool")

    def __le__(self, other: Any) -> Tensor:
        return self.op("LessOrEqual", other, dtype="bool")

    def __gt__(self, other: Any) -> Tensor:
        return self.op("Greater", other, dtype="bool")

    def __ge__(self, other: Any) -> Tensor:
        return self.op("GreaterOrEqual", other, dtype="bool")

    def equals(self, other: Any) -> Tensor:
        return self.op("Equal", other, dtype="bool")

    def copysign(self, other: Tensor) -> Tensor:
        """The magnitude of this value with the sign of another, -0 included."""
        size = abs(self)
        return self.builder.where(other.negative(), -size, size)

    def negative(self) -> Tensor:
        """Whether a float is below 0, or -0; false for NaN."""
        return (self < 0) | (self.equals(0) & (1.0 / self < 0))

    def __and__(self, other: Tensor) -> Tensor:
        return self.op("And", other)

    def __or__(self, other: Tensor) -> Tensor:
        return self.op("Or", other)

    def __invert__(self) -> Tensor:
        return self.op("Not")


@dataclass(frozen=True)
class Entry:
    """One operator of the graph."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    doc: str


@dataclass
class Scope:
    """The entries of a graph or of a loop's body; `known` are its values by what they stand for."""

    outer: Scope | None = None
    entries: list[Entry] = field(default_factory=list)
    known: dict[Any, Any] = field(default_factory=dict)

    def find(self, key: Any) -> Any:
        scope: Scope | None = self
        while scope is not None:
            if key in scope.known:
                return scope.known[key]
            scope = scope.outer
        return None


@dataclass(frozen=True)
class Body:
    """A finished graph within the graph: an attribute of a loop or a branch."""

    name: str
    entries: tuple[Entry, ...]
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]


class Builder:
    """The whole graph: its scopes, constants and names."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.main = Scope()
        self.scope = self.main
        self.constants: dict[str, Array] = {}
        self.doc = ""  # of entries from now on: the user's line
        self._shared: dict[Any, str] = {}
        self._names: dict[str, int] = {}

    # -- names and constants

    def fresh(self, hint: str) -> str:
        """A name that nothing has yet."""
        base = _WORD.sub("_", hint) or "value"
        name, count = base, self._names.get(base, 0)
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names[base] = count
        self._names.setdefault(name, 0)
        return name

    def take(self, name: str) -> str:
        """A name as it is, if nothing has it yet."""
        if name in self._names or not name:
            return self.fresh(name)
        self._names[name] = 0
        return name

    def constant(self, array: Array, name: str = "") -> Tensor:
        """An array that is part of the model; without a name, equal ones are one."""
        value = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (value.dtype.name, value.shape, value.tobytes())
        if name or key not in self._shared:
            made = self.take(name) if name else self.fresh("const")
            self.constants[made] = value
            if name:
                return Tensor(self, made, value.dtype.name)
            self._shared[key] = made
        return Tensor(self, self._shared[key], value.dtype.name)

    def scalar(self, value: Any, dtype: str) -> Tensor:
        return self.constant(np.array(value, dtype))

    def ints(self, values: Sequence[int]) -> Tensor:
        """A vector of int64, as axes and shapes are given."""
        return self.constant(np.array(values, np.int64).reshape(len(values)))

    # -- entries

    def op(
        self, kind: str, *inputs: Tensor | None, dtype: str, hint: str = "", **attributes: Any
    ) -> Tensor:
        """The value of an operator with one output."""
        return self.ops(kind, inputs, [dtype], hint, **attributes)[0]

    def ops(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        dtypes: Sequence[str],
        hint: str = "",
        **attributes: Any,
    ) -> list[Tensor]:
        """The values of an operator; an output of dtype "" is left out."""
        names = [self.fresh(hint or kind.lower()) if dtype else "" for dtype in dtypes]
        taken = ["" if x is None else x.name for x in inputs]
        while taken and not taken[-1]:
            taken.pop()
        entry = Entry(kind, tuple(taken), tuple(names), attributes, self.doc)
        self.scope.entries.append(entry)
        return [Tensor(self, name, dtype) for name, dtype in zip(names, dtypes, strict=True)]

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        """x where the condition holds, else y; booleans, for which some runtimes have no Where, by
        And and Or.
        """
        first: Tensor = y.like(x) if isinstance(y, Tensor) else x
        second = first.like(y)
        if first.dtype == "bool":
            return (condition & first) | (~condition & second)
        return self.op("Where", condition, first, second, dtype=first.dtype)

    # -- sizes, which are vectors of one int64

    def size(self, dim: AnyDim) -> Tensor:
        """A size as a vector of one int64, computed outside of all loops."""
        if not isinstance(dim, Dim):
            return self.ints([dim])
        if dim not in self.main.known:
            inner, self.scope = self.scope, self.main
            self.main.known[dim] = self._computed(dim)
            self.scope = inner
        found: Tensor = self.main.known[dim]
        return found

    def _computed(self, dim: Dim) -> Tensor:
        total: Tensor | None = None
        for monomial, coefficient in dim.terms:
            factors = [self._factor(name) for name in monomial]
            if coefficient != 1 or not factors:
                factors.append(self.ints([coefficient]))
            product = factors[0]
            for factor in factors[1:]:
                product = product * factor
            total = product if total is None else total + product
        assert total is not None
        return total

    def _factor(self, name: Any) -> Tensor:
        args = getattr(name, "args", None)
        if args is None:
            known: Tensor = self.main.known[Dim.named(name)]
            return known
        first = self.size(args[0])
        if len(args) == 2:
            return first / self.size(args[1])
        root = first.op("Max", 1).cast("float64").op("Sqrt").op("Floor")
        return root.cast("int64")

    def shape(self, dims: Sequence[AnyDim]) -> Tensor:
        """A shape as a vector of int64."""
        if all(not isinstance(n, Dim) for n in dims):
            return self.ints([int(n) for n in dims if not isinstance(n, Dim)])
        key = ("shape", *dims)
        if key not in self.main.known:
            parts = [self.size(n) for n in dims]
            inner, self.scope = self.scope, self.main
            joined = parts[0] if len(parts) == 1 else self.op(
                "Concat", *parts, dtype="int64", hint="shape", axis=0
            )  # fmt: skip
            self.main.known[key], self.scope = joined, inner
        found: Tensor = self.main.known[key]
        return found

    def number(self, dim: AnyDim, dtype: str) -> Tensor:
        """A size as a scalar."""
        if not isinstance(dim, Dim):
            return self.scalar(dim, dtype)
        return self.squeeze(self.size(dim), (0,)).cast(dtype)

    # -- operators whose form depends on the opset

    def squeeze(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return x.op("Squeeze", self.ints(axes)) if axes else x

    def unsqueeze(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return x.op("Unsqueeze", self.ints(axes)) if axes else x

    def flipped(self, x: Tensor) -> Tensor:
        """x backwards along its first axis."""
        bounds = ([-1], [np.iinfo(np.int64).min], [0], [-1])
        return x.op("Slice", *map(self.ints, bounds))

    def reduce(self, kind: str, x: Tensor, axes: Sequence[int], keepdims: bool = False) -> Tensor:
        if self.opset >= 18 or kind == "ReduceSum":
            return x.op(kind, self.ints(axes), keepdims=int(keepdims))
        return x.op(kind, axes=list(axes), keepdims=int(keepdims))


def onnx_module(name: str = "") -> Any:
    """A module of the onnx package, which is only needed here."""
    return importlib.import_module(f"onnx.{name}" if name else "onnx")
