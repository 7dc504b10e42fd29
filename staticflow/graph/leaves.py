"""The leaves of a graph: inputs, parameters, states, hyperparameters and constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, ShapeError, fail, user_line
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.node import SERIALS, Array, Axes, Classes, Kind, Node, Op, OutType
from staticflow.graph.require import require
from staticflow.graph.types import DTYPES, INTEGERS, TensorType, as_dtype

METADATA = "__metadata__"  # the only name that no tensor of a file can have


@dataclass(frozen=True, eq=False)
class Leaf(Op):
    """A value that comes from outside the graph; each is itself only.

    `followers` collects the states whose updates are computed from it.
    """

    label: str
    type: TensorType
    serial: int = field(kw_only=True, default_factory=lambda: next(SERIALS))
    followers: list[Node] = field(init=False, repr=False, default_factory=list)
    kind = Kind.LEAF

    @property
    def given_name(self) -> str:
        return self.label

    def check(self, *xs: TensorType) -> None:
        require(not xs and self.label, f"{self.name} has a name, and takes no arrays")
        require(self.type.dtype in DTYPES, f"there is no dtype {self.type.dtype!r}")
        require(all(map(self._is_size, self.type.shape)), f"{self.label!r} is {self.type}")

    def _is_size(self, n: AnyDim) -> bool:
        """Whether an axis may have that size, which for most leaves is an integer."""
        return isinstance(n, int) and n >= 0

    def infer(self, *xs: TensorType) -> TensorType:
        return self.type

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return tuple(classes.fresh(n) for n in self.type.shape)

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__.lower(), self.type.ndim, self.type.dtype)

    def attributes(self) -> str:
        return repr(self.label)


@dataclass(frozen=True, eq=False)
class Input(Leaf):
    """A value that is fed at each call."""

    def _is_size(self, n: AnyDim) -> bool:
        return n.name is not None if isinstance(n, Dim) else n >= 0


@dataclass(frozen=True, eq=False)
class Param(Leaf):
    """A value that a session owns and, if trainable, trains.

    `declare.freeze` may make it untrainable for the sessions that are made afterwards.
    """

    init: Any
    trainable: bool
    lr_scale: float
    decay: bool


@dataclass(frozen=True, eq=False)
class State(Leaf):
    """A value that a session owns and that a training step carries along.

    `updates` collects what `update` declared for it; it grows while the graph is declared.
    """

    init: Any
    updates: list[Node]


@dataclass(frozen=True, eq=False)
class Hyper(Leaf):
    """A scalar that the session sets between or during steps: seed, step count, learning rate."""

    def check(self, *xs: TensorType) -> None:
        super().check(*xs)
        known = self.label in ("seed", "step") and self.type == TensorType((), "int64")
        require(known, f"there is no {self.label!r} of type {self.type}")


@dataclass(frozen=True, eq=False)
class Const(Leaf):
    """A constant array. A scalar is part of the generated code, an array is a buffer."""

    value: Array

    def check(self, *xs: TensorType) -> None:
        super().check(*xs)
        given = TensorType(self.value.shape, self.value.dtype.name)
        require(given == self.type, f"a constant of {self.type} is {given}")
        require(self.value.flags.c_contiguous, "a constant is not in one piece")

    @property
    def is_scalar(self) -> bool:
        return self.value.ndim == 0

    @property
    def implicit(self) -> bool:
        return self.is_scalar

    def key(self) -> tuple[Any, ...]:
        if self.is_scalar:
            return ("const", self.type.dtype, self.value.tobytes())
        return ("const", self.type.ndim, self.type.dtype)

    def attributes(self) -> str:
        return str(self.value[()]) if self.is_scalar else "array"


def const(value: Any, dtype: Any = None) -> Node:
    """Make a constant of an array or a scalar."""
    return _constant(value, dtype)


def weak_const(number: int | float, dtype: str) -> Node:
    """A scalar constant that is a number of Python's, for the time being of `dtype`."""
    return _constant(number, dtype, number)


def _constant(value: Any, dtype: Any, weak: int | float | None = None) -> Node:
    given = np.asarray(value)
    if given.dtype.kind not in "fiub":
        fail(DTypeError, "a constant must be numeric, and not complex", got=f"dtype {given.dtype}")
    target = None if dtype is None else as_dtype(dtype)
    if target in INTEGERS and given.size:
        _check_range(given, target)
    with np.errstate(all="ignore"):  # whatever NumPy is set to do at what a float cannot hold
        array = np.array(given, dtype=target)
    array = np.ascontiguousarray(array).astype(as_dtype(array.dtype)).reshape(array.shape)
    array.flags.writeable = False
    type_ = TensorType(array.shape, array.dtype.name)
    return Node(Const("const", type_, array), (), type_, user_line(), weak=weak)


def _check_range(given: Array, dtype: str) -> None:
    """Refuse numbers that no integer of a dtype is, and NaN."""
    low, high = given.min(), given.max()
    bounds = np.iinfo(dtype)
    if not (np.isfinite(low) and np.isfinite(high)):
        outside = True
    else:
        outside = int(low) < bounds.min or int(high) > bounds.max
    if outside:
        fail(
            DTypeError,
            f"a constant is beyond what {dtype} holds",
            got=str(low if low == high else f"numbers from {low} to {high}"),
            do="compute in int64 or in a float dtype, with .astype",
        )


def as_node(value: Any, scalar_dtype: str = "float32") -> Node:
    """Take a node as it is, make a constant of anything else; a Python scalar gets `scalar_dtype`.

    A Python scalar never promotes: beside an integer node, only a float scalar becomes a float.
    True and False are 1 and 0 beside numbers.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, bool) and scalar_dtype == "bool":
        return const(value, scalar_dtype)
    if isinstance(value, bool | int | float):
        number = int(value) if isinstance(value, bool) else value
        if isinstance(number, float) and scalar_dtype in (*INTEGERS, "bool"):
            scalar_dtype = "float32"
        return weak_const(number, "int64" if scalar_dtype == "bool" else scalar_dtype)
    if isinstance(value, complex):
        fail(DTypeError, "complex numbers are not supported", got=repr(value))
    try:
        array = np.asarray(value)
    except ValueError as error:
        fail(ShapeError, f"not an array: {error}")
    if array.dtype.kind not in "fiub":
        fail(DTypeError, "only numbers can stand in an expression", got=repr(value)[:80])
    return const(array)


def is_scalar_const(x: Node) -> bool:
    """Whether `x` is a constant that stands in the generated code."""
    return isinstance(x.op, Const) and x.op.is_scalar


def fold(op: Op, inputs: Sequence[Node]) -> Node:
    """The constant that an op makes of constants; of Python's numbers, such a number."""
    type_ = op.infer(*(x.type for x in inputs))
    assert isinstance(type_, TensorType)
    with np.errstate(all="ignore"):
        value = op.reference(*(x.op.value for x in inputs if isinstance(x.op, Const)))
        numbers = [x.weak for x in inputs]
        if op.keeps_weak and type_.is_float and all(n is not None for n in numbers):
            return weak_const(_number(op, numbers), type_.dtype)
    return const(value, type_.dtype)


def _number(op: Op, numbers: Sequence[int | float | None]) -> int | float:
    """What an op makes of numbers, an integer where they are and its value is one."""
    exact = float(op.reference(*(np.asarray(n, "float64") for n in numbers)))
    if op.over_integers is None or not all(isinstance(n, int) for n in numbers):
        return exact
    whole = int(op.over_integers.reference(*(np.asarray(n, "int64") for n in numbers)))
    return whole if float(whole) == exact else exact
