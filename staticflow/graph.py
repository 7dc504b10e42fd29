"""The graph: immutable nodes, their leaves, and the order in which they can be computed.

    %0:float32[batch, 784] = input 'x'
    %1:float32[784, 10]    = param 'w'
    %2:float32[batch, 10]  = dot(%0, %1)              # model.py:12

There is no global graph: a graph is what some outputs reach. Nodes compare and hash by identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from staticflow.dims import AnyDim, Dim
from staticflow.errors import DTypeError, GraphError, ShapeError, Where, fail, user_line
from staticflow.op import Array, Axes, Classes, Kind, Op, OutType
from staticflow.op_table import OPS
from staticflow.require import require
from staticflow.types import DTYPES, Shape, TensorType, as_dtype

Binary = Callable[["Node", Any], "Node"]


def _operator(symbol: str) -> tuple[Binary, Binary]:
    """The methods behind `node + other` and `other + node`; `ops` says what they do."""

    def forward(self: Node, other: Any) -> Node:
        return OPS.operator(symbol)(self, other)

    def backward(self: Node, other: Any) -> Node:
        return OPS.operator(symbol)(other, self)

    return forward, backward


def _method(name: str) -> Callable[..., Node]:
    """The method `node.name(...)` behind the op of that name, which says what its options are."""

    def method(self: Node, *args: Any, **options: Any) -> Node:
        result: Node = OPS.rows[name].function(self, *args, **options)
        return result

    method.__name__ = name
    method.__doc__ = f"`ops.{name}` of this node."
    return method


class Node:
    """A value in the graph: an op applied to input nodes, with a type and the line that made it.

    `weak` is what Python's numbers leave: the number, of a scalar constant; True, of what ops make
    of such numbers alone. A weak node has yet to meet the dtype that it is computed in.
    """

    __slots__ = ("__weakref__", "inputs", "label", "op", "serial", "type", "weak", "where")
    __array_ufunc__ = None  # so that `array + node` calls Node.__radd__
    op: Op
    inputs: tuple[Node, ...]
    type: Any  # TensorType, or a tuple of them for an op with several outputs
    where: Where
    label: str | None
    serial: int  # grows from node to node; tells what was there before something was declared
    weak: int | float | None

    def __init__(
        self,
        op: Op,
        inputs: tuple[Node, ...],
        type: OutType,
        where: Where,
        label: str | None = None,
        weak: int | float | None = None,
    ) -> None:
        for slot, value in (
            ("op", op),
            ("inputs", inputs),
            ("type", type),
            ("where", where),
            ("label", label),
            ("serial", next(OPS.serials)),
            ("weak", _weakness(op, inputs, type) if inputs else weak),
        ):
            object.__setattr__(self, slot, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a node cannot be changed")

    def __copy__(self) -> Node:
        return self  # it is what it is by identity, and cannot change

    def __deepcopy__(self, memo: object) -> Node:
        return self

    def __reduce__(self) -> NoReturn:
        fail(
            GraphError,
            "a node cannot be pickled by itself, as it would no longer be the same node",
            got=str(self),
            do="pickle the session or the sf.function that computes it",
        )

    @property
    def shape(self) -> Shape:
        """The sizes of the axes: ints and named dimensions."""
        return self.type.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> str:
        return self.type.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def name(self) -> str:
        """The declared name of a leaf, else the op's name."""
        return self.label or getattr(self.op, "label", None) or self.op.name

    @property
    def T(self) -> Node:
        """The node with its axes reversed."""
        return OPS.operator("transpose")(self)

    def named(self, label: str) -> Node:
        """The same value under a name, for fetching and for messages."""
        return Node(self.op, self.inputs, self.type, self.where, label)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.type}>"

    def __bool__(self) -> bool:
        fail(
            GraphError,
            "a node has no truth value while the graph is declared",
            do="use ops.where or sf.cond to choose by a value",
        )

    def __iter__(self) -> Iterator[Node]:
        if not self.shape or not isinstance(self.shape[0], int):
            fail(ShapeError, "only a node with an integer leading size can be unpacked", str(self))
        return (self[i] for i in range(self.shape[0]))

    def __len__(self) -> int:
        if not self.shape or not isinstance(self.shape[0], int):
            fail(ShapeError, "this node has no length while the graph is declared", str(self))
        return self.shape[0]

    def __getitem__(self, index: Any) -> Node:
        return OPS.operator("getitem")(self, index)

    sum, prod, mean, std, var = map(_method, ("sum", "prod", "mean", "std", "var"))
    max, min, argmax, argmin = map(_method, ("max", "min", "argmax", "argmin"))
    any, all, cumsum, cumprod = map(_method, ("any", "all", "cumsum", "cumprod"))
    dot, round, clip, argsort = map(_method, ("dot", "round", "clip", "argsort"))
    take, repeat, trace, diagonal = map(_method, ("take", "repeat", "trace", "diagonal"))
    ravel, squeeze, swapaxes = map(_method, ("ravel", "squeeze", "swapaxes"))
    flatten = ravel

    def reshape(self, *shape: Any, order: str = "C") -> Node:
        target = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        return OPS.operator("reshape")(self, target, order)

    def transpose(self, *axes: Any) -> Node:
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes
        return OPS.operator("transpose")(self, order or None)

    def astype(self, dtype: Any) -> Node:
        return OPS.operator("astype")(self, dtype)

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("sub")
    __mul__, __rmul__ = _operator("mul")
    __truediv__, __rtruediv__ = _operator("truediv")
    __floordiv__, __rfloordiv__ = _operator("floordiv")
    __mod__, __rmod__ = _operator("mod")
    __pow__, __rpow__ = _operator("pow")
    __matmul__, __rmatmul__ = _operator("matmul")
    __and__, __rand__ = _operator("and")
    __or__, __ror__ = _operator("or")
    __xor__, __rxor__ = _operator("xor")
    __lshift__, __rlshift__ = _operator("lshift")
    __rshift__, __rrshift__ = _operator("rshift")
    __lt__, __gt__ = _operator("lt")[0], _operator("gt")[0]
    __le__, __ge__ = _operator("le")[0], _operator("ge")[0]

    def __neg__(self) -> Node:
        return OPS.operator("neg")(self)

    def __invert__(self) -> Node:
        return OPS.operator("invert")(self)

    def __pos__(self) -> Node:
        return self

    def __abs__(self) -> Node:
        return OPS.operator("abs")(self)

    def __divmod__(self, other: Any) -> tuple[Node, Node]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Node, Node]:
        return other // self, other % self

    def __round__(self, ndigits: int | None = None) -> Node:
        return self.round(ndigits or 0)


def _weakness(op: Op, inputs: tuple[Node, ...], type: OutType) -> int | float | None:
    """Whether an op makes a number of weak nodes, and of conditions, alone."""
    if not op.keeps_weak or not any(x.weak is not None for x in inputs):
        return None
    given = all(x.weak is not None or x.dtype == "bool" for x in inputs)
    return True if given and isinstance(type, TensorType) and type.dtype != "bool" else None


def apply(op: Op, *inputs: Node, where: Where | None = None) -> Node:
    """Make the node `op(inputs)`; its type rule raises at the user's line."""
    return Node(op, inputs, op.infer(*(x.type for x in inputs)), where or user_line())


@dataclass(frozen=True, eq=False)
class Leaf(Op):
    """A value that comes from outside the graph; each is itself only.

    `followers` collects the states whose updates are computed from it.
    """

    label: str
    type: TensorType
    serial: int = field(kw_only=True, default_factory=lambda: next(OPS.serials))
    followers: list[Node] = field(init=False, repr=False, default_factory=list)
    kind = Kind.LEAF

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

    def key(self) -> tuple[Any, ...]:
        if self.is_scalar:
            return ("const", self.type.dtype, self.value.tobytes())
        return ("const", self.type.ndim, self.type.dtype)

    def attributes(self) -> str:
        return str(self.value[()]) if self.is_scalar else "array"


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
        return xs[0][self.index]  # type: ignore[no-any-return]

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
    with np.errstate(all="ignore"):  # whatever NumPy is set to do at what a dtype cannot hold
        array = np.array(given, dtype=None if dtype is None else as_dtype(dtype))
    array = np.ascontiguousarray(array).astype(as_dtype(array.dtype)).reshape(array.shape)
    array.flags.writeable = False
    type_ = TensorType(array.shape, array.dtype.name)
    return Node(Const("const", type_, array), (), type_, user_line(), weak=weak)


def as_node(value: Any, scalar_dtype: str = "float32") -> Node:
    """Take a node as it is, make a constant of anything else; a Python scalar gets `scalar_dtype`.

    A Python scalar never promotes: beside an integer node, only a float scalar becomes a float.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, bool | int | float):
        if isinstance(value, float) and scalar_dtype in ("int32", "int64", "bool"):
            scalar_dtype = "float32"
        if not isinstance(value, bool) and scalar_dtype == "bool":
            scalar_dtype = "int64"
        if isinstance(value, bool) or scalar_dtype == "bool":
            return const(value, scalar_dtype)
        return weak_const(value, scalar_dtype)
    if isinstance(value, complex):
        fail(DTypeError, "complex numbers are not supported", got=repr(value))
    try:
        array = np.asarray(value)
    except ValueError as error:
        fail(ShapeError, f"not an array: {error}")
    if array.dtype.kind not in "fiub":
        fail(DTypeError, "only numbers can stand in an expression", got=repr(value)[:80])
    return const(array)


def toposort(roots: Iterable[Node]) -> list[Node]:
    """All nodes that the roots reach, inputs before their users; without recursion."""
    order: list[Node] = []
    done: set[Node] = set()
    stack: list[tuple[Node, int]] = [(root, 0) for root in reversed(list(roots))]
    while stack:
        node, position = stack.pop()
        if node in done:
            continue
        if position < len(node.inputs):
            stack.append((node, position + 1))
            child = node.inputs[position]
            if child not in done:
                stack.append((child, 0))
        else:
            done.add(node)
            order.append(node)
    return order


def through_views(node: Node) -> tuple[Node, tuple[Node, ...]]:
    """The node whose elements a chain of views shows, and the views from it on."""
    views: list[Node] = []
    while node.op.kind in (Kind.VIEW, Kind.ALIAS):
        if node.op.kind is Kind.VIEW:
            views.append(node)
        node = node.inputs[0]
    return node, tuple(reversed(views))


def is_loop_part(node: Node) -> bool:
    """Whether a node is an output of a loop."""
    return node.op.kind is Kind.PART and node.inputs[0].op.kind is Kind.LOOP


def is_implicit(node: Node) -> bool:
    """Whether a value needs no buffer: a scalar constant, an index, a size."""
    if isinstance(node.op, Const):
        return node.op.is_scalar
    return getattr(node.op, "implicit", False)


def is_zero(node: Node) -> bool:
    """Whether a node is an array of zeros, by its form."""
    root, _ = through_views(node)
    return isinstance(root.op, Const) and not np.any(root.op.value)


def rebuild(roots: Sequence[Node], replace: Callable[[Node, tuple[Node, ...]], Node]) -> list[Node]:
    """Rebuild the graph bottom-up: `replace(node, new_inputs)` gives each node's successor."""
    new: dict[Node, Node] = {}
    for node in toposort(roots):
        new[node] = replace(node, tuple(new[x] for x in node.inputs))
    return [new[root] for root in roots]


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The node itself if its inputs are unchanged, else its op on the new inputs."""
    if inputs == node.inputs:
        return node
    return Node(node.op, inputs, node.type, node.where, node.label)


def leaves(roots: Iterable[Node], kind: type[Leaf]) -> list[Node]:
    """The leaves of one class, in order of first use."""
    return [node for node in toposort(roots) if isinstance(node.op, kind)]


def dims_of(node: Node) -> Sequence[AnyDim]:
    """The sizes of a node's axes, or of all outputs of an op that has several."""
    types = node.type if isinstance(node.type, tuple) else (node.type,)
    return [n for t in types for n in t.shape]
