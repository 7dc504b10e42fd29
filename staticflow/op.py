"""What an op is: one frozen value with its type rule, loop body, derivative and NumPy reference.

The compiler knows the KINDS below and never one op by name:

    kind        what the compiler does with it            examples
    ---------   ---------------------------------------   --------------------------------
    LEAF        binds a buffer from outside               input, param, const, state
    MAP         one expression in a fused loop            add, tanh, where, iota, random
    REDUCE      an accumulator in a fused loop            sum, max
    VIEW        strides and an offset, no code            transpose, slice, reshape
    CONTRACT    a matrix product                          dot
    ASSEMBLE    parts stored into regions of one buffer   concatenate, pad
    GATHER      a loop that loads at run-time indices     take
    SCATTER     a loop that adds at run-time indices      the derivative of take
    CALL        one call of a native routine              cholesky, solve
    LOOP        kernels inside a run-time loop            scan, while_loop, cond
    ALIAS       its first input, with a meaning           stop_gradient, update
    PART        one output of an op that has several      the carry of a scan

Ops are declared in `staticflow.ops`, each once, and stand in the op table (`op_table`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from staticflow.access import Access
from staticflow.dims import AnyDim
from staticflow.require import require, require_axes, require_operands
from staticflow.types import TensorType

if TYPE_CHECKING:
    from staticflow.graph import Node

Array = np.ndarray[Any, Any]
OutType = TensorType | tuple[TensorType, ...]
Axes = tuple[AnyDim, ...]  # the size classes of a value's axes; a structural 1 is the int 1


class Kind(Enum):
    """What the compiler does with an op."""

    LEAF = auto()
    MAP = auto()
    REDUCE = auto()
    VIEW = auto()
    CONTRACT = auto()
    ASSEMBLE = auto()
    GATHER = auto()
    SCATTER = auto()
    CALL = auto()
    LOOP = auto()
    ALIAS = auto()
    PART = auto()


class Classes:
    """Which axes must have equal sizes, found by unification; see `generalise.py`.

    `same` merges two classes, `fresh` makes one for a size that follows from nothing else.
    """

    def same(self, a: AnyDim, b: AnyDim) -> AnyDim:
        raise NotImplementedError

    def fresh(self, value: AnyDim) -> AnyDim:
        raise NotImplementedError


class Op:
    """The base of all ops. Instances are immutable, hashable and compare by value.

    Attributes that are sizes (slice bounds, a target shape) are reported by `sizes`; all others
    are part of `key`, and so of the generated code.
    """

    kind: Kind
    stops_derivatives: ClassVar[bool] = False  # whatever it is applied to

    @property
    def keeps_weak(self) -> bool:
        """Whether what it makes of Python's numbers is one, as far as dtypes go."""
        return False

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    def check(self, *xs: TensorType) -> None:
        """Refuse attributes and inputs that no function of `ops` would make; raises GraphError.

        A graph that such a function makes holds by itself; one from a file holds if this passes and
        every size that `infer` and `demands` give is a size. The fields have their types already.
        """
        require(False, f"{self.name} is no op that data may hold")

    def infer(self, *xs: TensorType) -> OutType:
        """The type of the result; raises ShapeError or DTypeError at the user's line."""
        raise NotImplementedError(f"{self.name} has no type rule")

    def reference(self, *xs: Array) -> Any:
        """The value, computed by NumPy: the oracle for the compiled code."""
        raise NotImplementedError(f"{self.name} has no NumPy reference")

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        """Cotangents of the inputs, given the output's; None where there is none."""
        return (None,) * len(xs)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        """The output's tangent; NotImplemented asks for the transpose of `vjp`."""
        return NotImplemented  # type: ignore[no-any-return]

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        """Size classes of the result's axes from those of the inputs."""
        raise NotImplementedError(f"{self.name} does not relate its axes")

    def lifted(self, length: AnyDim) -> Op | None:
        """The op over a new leading axis of all inputs, of size `length`; None if there is none."""
        return None

    def sizes(self) -> tuple[AnyDim, ...]:
        """Attributes that are sizes, in the order in which `relate` and `view` ask for them."""
        return ()

    def demands(self, *xs: TensorType) -> tuple[AnyDim, ...]:
        """What must not be negative, so that the op stays within its operands."""
        return ()

    def key(self) -> tuple[Any, ...]:
        """What distinguishes this op in generated code: its name and attributes but for sizes."""
        return (self.name,)

    def attributes(self) -> str:
        """The attributes as printed in a graph."""
        return ""


@dataclass(frozen=True)
class Map(Op):
    """An elementwise op: one row of the op table.

    All inputs have the shape of the result, or are scalars (rank 0).
    """

    row: MapRow
    kind = Kind.MAP

    @property
    def keeps_weak(self) -> bool:
        return not self.row.converts

    @property
    def name(self) -> str:
        return self.row.name

    def check(self, *xs: TensorType) -> None:
        letters = self.row.inputs
        require(len(xs) == len(letters), f"{self.name} takes {len(letters)} arrays, not {len(xs)}")
        of_letters = list(zip(letters, xs, strict=True))
        conditions = [x for letter, x in of_letters if letter == "c"]
        require_operands(self.name, conditions, len(conditions), "bool")
        numbers = [x for letter, x in of_letters if letter != "c"]
        require_operands(self.name, numbers, len(numbers), self.row.domain)
        shapes = {x.shape for x in xs if x.ndim}
        require(len(shapes) < 2, f"{self.name}: {', '.join(map(str, xs))}")

    def infer(self, *xs: TensorType) -> TensorType:
        shape = next((x.shape for x in xs if x.ndim), ())
        return TensorType(shape, self.row.result(*(x.dtype for x in xs)))

    def reference(self, *xs: Array) -> Any:
        return self.row.reference(*xs)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        if self.row.vjp is None:
            return (None,) * len(xs)
        return self.row.vjp(g, y, *xs)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        terms = [self.vjp(t, y, *xs)[k] for k, t in enumerate(tangents) if t is not None]
        present = [term for term in terms if term is not None]
        return _total(present) if present else None

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        shapes = [x for x in xs if x]
        merged = shapes[0] if shapes else ()
        for other in shapes[1:]:
            merged = tuple(classes.same(a, b) for a, b in zip(merged, other, strict=True))
        return merged

    def lifted(self, length: AnyDim) -> Op | None:
        return self

    def key(self) -> tuple[Any, ...]:
        return (self.name,)


def _total(terms: Sequence[Node]) -> Node:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def same_dtype(*dtypes: str) -> str:
    """The result has the inputs' dtype."""
    return dtypes[0]


def boolean(*dtypes: str) -> str:
    """The result is boolean."""
    return "bool"


@dataclass(frozen=True, eq=False)
class MapRow:
    """One row of the table of elementwise ops.

    `body` is the expression of one element, in Python for Numba, with a `{letter}` for each input
    and `{t}` for the type suffix (`f4`, `f8`, `i4`, `i8`, `b1`) of the inputs' common dtype.
    `vjp(g, y, *inputs, **attributes)` returns the cotangents; since the Jacobian of an elementwise
    op is diagonal, the same rule applied to tangents gives the forward mode.
    """

    name: str
    inputs: str  # one letter for each input
    body: str
    reference: Callable[..., Any]
    vjp: Callable[..., Sequence[Node | None]] | None
    doc: str
    domain: str = "number"  # of the inputs: number, float, integer, bool, any
    result: Callable[..., str] = same_dtype
    points: tuple[Any, ...] = ()  # special values that every test visits
    sample: tuple[float, float] = (-3.0, 3.0)  # where random tests draw from
    cost: int = 1  # in additions; what is cheap is computed again rather than stored
    linear: str = ""  # "joint", "each" or "first": in which inputs, for partial sums
    formula: str = ""  # the derivative as people write it
    whole: bool = False  # whether integers and booleans are their own results
    converts: bool = False  # whether the row, not the inputs, says what the result's dtype is


@dataclass(frozen=True)
class Reduce(Op):
    """Combine the elements along axes with an associative operation."""

    row: ReduceRow
    axes: tuple[int, ...]
    kind = Kind.REDUCE

    @property
    def keeps_weak(self) -> bool:
        return True

    @property
    def name(self) -> str:
        return self.row.name

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, self.row.domain)
        require_axes(self.name, self.axes, xs[0].ndim)
        none = [k for k in self.axes if xs[0].shape[k] == 0]
        require(self.row.empty or not none, f"{self.name}: no element to choose from in {xs[0]}")

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        shape = tuple(n for axis, n in enumerate(x.shape) if axis not in self.axes)
        return TensorType(shape, self.row.result(x.dtype))

    def reference(self, *xs: Array) -> Any:
        return np.asarray(self.row.reference(xs[0], axis=self.axes))

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return self.row.vjp(g, y, xs[0], self.axes) if self.row.vjp else (None,)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        from staticflow.graph import apply

        if not self.row.linear:
            return NotImplemented  # type: ignore[no-any-return]
        return apply(self, tangents[0]) if tangents[0] is not None else None

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return tuple(n for axis, n in enumerate(xs[0]) if axis not in self.axes)

    def lifted(self, length: AnyDim) -> Op | None:
        return Reduce(self.row, tuple(axis + 1 for axis in self.axes))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axes)

    def attributes(self) -> str:
        return f"axes={self.axes}"


@dataclass(frozen=True, eq=False)
class ReduceRow:
    """One row of the table of reductions: `acc = combine(acc, x)` from `init`."""

    name: str
    combine: str  # over {acc} and {x}
    init: str  # a typed literal; {t} is the type suffix, lowest_{t} and highest_{t} are bounds
    reference: Callable[..., Any]
    vjp: Callable[..., Sequence[Node | None]] | None
    doc: str
    domain: str = "number"
    result: Callable[..., str] = same_dtype
    linear: bool = False
    empty: bool = True  # whether the reduction of no element has a value
    points: tuple[Any, ...] = ()
    formula: str = ""


class View(Op):
    """Another look at the same elements: strides and an offset, never a copy of its own."""

    kind = Kind.VIEW
    repeats = False  # whether elements are seen more than once
    keeps_order = False  # whether elements stay neighbours in row-major order

    @property
    def keeps_weak(self) -> bool:
        return True

    def view(self, access: Access, out: Axes, sizes: tuple[AnyDim, ...]) -> Access | None:
        """The access of the result; None where strides cannot express it and a copy is needed."""
        raise NotImplementedError

    def moves_axis(self, axis: int, shape: tuple[AnyDim, ...]) -> int | None:
        """Where an axis of the input, in outermost-first order, is in the result; None if nowhere.

        A reshape moves an axis if it leads its group, for then its blocks stay whole.
        """
        raise NotImplementedError

    def mixes_axis(
        self, axis: int, shape: tuple[AnyDim, ...]
    ) -> tuple[int, tuple[AnyDim, ...], tuple[AnyDim, ...]] | None:
        """The axis into which an axis is merged behind others; the sizes before and after it."""
        return None

    def parts_axis(
        self, axis: int, before: tuple[AnyDim, ...], after: tuple[AnyDim, ...]
    ) -> int | None:
        """Where the mixed axis is in the result, if that undoes such a merge."""
        return None

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        from staticflow.graph import apply

        return apply(self, tangents[0]) if tangents[0] is not None else None
