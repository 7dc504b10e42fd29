"""What families of ops share: maps, reductions, views, gathers, assemblies, parts of outputs.

A map or a reduction is a row of the op table; a view says where its elements lie.

The compiler knows these kinds and never one op by name:

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
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, Op, OutType, apply
from staticflow.graph.require import require, require_axes, require_operands
from staticflow.graph.strides import StridedView
from staticflow.graph.types import TensorType


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
    def over_integers(self) -> Op | None:
        if self.row.integers is not None:
            return Map(self.row.integers)
        return None if self.row.domain == "float" else self

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

    def batched(self, length: AnyDim) -> Op | None:
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
    adds: bool = False  # whether it is the sum of its inputs
    formula: str = ""  # the derivative as people write it
    whole: bool = False  # whether integers and booleans are their own results
    converts: bool = False  # whether the row, not the inputs, says what the result's dtype is
    integers: MapRow | None = None  # what computes it of integers
    large: MapRow | None = None  # what computes it in float64 for arguments of 2^50 and beyond


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
    def over_integers(self) -> Op | None:
        return None if self.row.domain == "float" else self

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
        if not self.row.linear:
            return NotImplemented  # type: ignore[no-any-return]
        return apply(self, tangents[0]) if tangents[0] is not None else None

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return tuple(n for axis, n in enumerate(xs[0]) if axis not in self.axes)

    def batched(self, length: AnyDim) -> Op | None:
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


class IndexMap(Op):
    """An elementwise op of the index along an axis, or of a size: computed where it is read."""

    kind = Kind.MAP
    counts: ClassVar[bool] = False  # whether it is the index itself

    @property
    def implicit(self) -> bool:
        return True


class FlatMap(Op):
    """An elementwise op of the row-major position."""

    kind = Kind.MAP
    letters: ClassVar[tuple[str, ...]] = ()  # the holes for inputs

    @property
    def body(self) -> str:
        """The expression of one element, over `letters`, {flat} and {stream}."""
        raise NotImplementedError


class View(Op):
    """Another look at the same elements: strides and an offset, never a copy of its own."""

    kind = Kind.VIEW
    repeats = False  # whether elements are seen more than once
    keeps_order = False  # whether elements stay neighbours in row-major order

    @property
    def keeps_weak(self) -> bool:
        return True

    @property
    def over_integers(self) -> Op | None:
        return self

    @property
    def new_axes(self) -> tuple[int, ...]:
        """The axes of the result along which the input is repeated."""
        return ()

    def of_one_element(self) -> View:
        """The view of each element along the leading axis, which this view repeats."""
        raise NotImplementedError

    def region(self, shape: tuple[AnyDim, ...]) -> tuple[tuple[AnyDim, AnyDim], ...] | None:
        """Where the elements begin and end along each axis of the input; None if they do not lie
        side by side, in the order of the input.
        """
        return None

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
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
        return apply(self, tangents[0]) if tangents[0] is not None else None


class Gather(Op):
    """Elements of a table, the first input, at run-time indices along `axis`, the second."""

    kind = Kind.GATHER
    axis: int
    along: ClassVar[bool] = False  # whether each row of the table has indices of its own

    def loop_strides(self, strides: Axes, index_rank: int) -> Axes:
        """The strides of the table along the axes of the result, 0 where the index decides."""
        raise NotImplementedError

    def index_strides(self, strides: Axes, rank: int) -> Axes:
        """The strides of the index along the `rank` loops, 0 along those that it does not have."""
        raise NotImplementedError


class Scatter(Op):
    """The transpose of a gather: zeros with `size` along `axis`, to which the input is added."""

    kind = Kind.SCATTER
    axis: int
    size: AnyDim
    along: ClassVar[bool] = False

    def loop_strides(self, strides: Axes, index_rank: int) -> Axes:
        """The strides of the result along the axes of the input, 0 where the index decides."""
        raise NotImplementedError

    def index_strides(self, strides: Axes, rank: int) -> Axes:
        """The strides of the index along the `rank` loops, 0 along those that it does not have."""
        raise NotImplementedError


class Assemble(Op):
    """The inputs stored into regions of one array."""

    kind = Kind.ASSEMBLE

    @property
    def fill(self) -> float | None:
        """What stands outside of all regions; None where these cover everything."""
        return None

    @property
    def joined(self) -> int | None:
        """The axis along which the inputs lie one after the other; None if they lie otherwise."""
        return None

    def regions(self, ins: tuple[Axes, ...], sizes: Axes) -> tuple[Axes, ...]:
        """For each input, where it starts along each axis."""
        raise NotImplementedError


@dataclass(frozen=True)
class Part(Op):
    """Output number `index` of an op that has several."""

    index: int
    kind = Kind.PART

    def check(self, *xs: TensorType) -> None:
        many: Any = xs
        inside = len(xs) == 1 and isinstance(xs[0], tuple) and 0 <= self.index < len(many[0])
        require(inside, f"there is no part {self.index}")

    def infer(self, *xs: Any) -> TensorType:
        type_: TensorType = xs[0][self.index]
        return type_

    def reference(self, *xs: Any) -> Any:
        return xs[0][self.index]

    def relate(self, classes: Classes, out: OutType, *xs: Any) -> Any:
        return xs[0][self.index]

    def key(self) -> tuple[Any, ...]:
        return ("part", self.index)

    def attributes(self) -> str:
        return str(self.index)


def parts(node: Node) -> tuple[Node, ...]:
    """The outputs of an op that has several, as nodes."""
    return tuple(apply(Part(i), node, where=node.where) for i in range(len(node.type)))
