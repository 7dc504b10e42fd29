"""A node of a graph, what an op is, and `apply`, which makes the one of the other.

    %0:float32[batch, 784] = input 'x'
    %1:float32[784, 10]    = param 'w'
    %2:float32[batch, 10]  = dot(%0, %1)              # model.py:12

There is no global graph: a graph is what some outputs reach. Nodes are immutable, and compare and
hash by identity. An op is one frozen value with its type rule, loop body, derivative and NumPy
reference.

The compiler knows the KINDS of ops (`kinds`) and never one op by name. Ops are declared in
`staticflow.ops`, each once, and stand in the op table (`op_table`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from numbers import Number
from typing import Any, ClassVar, NoReturn

import numpy as np

from staticflow.errors import Where, user_line
from staticflow.graph import refusals
from staticflow.graph.dims import AnyDim
from staticflow.graph.no_array import NoArray
from staticflow.graph.operators import FUNCTIONS, OPERATORS
from staticflow.graph.require import require
from staticflow.graph.types import Shape, TensorType

Array = np.ndarray[Any, Any]
OutType = TensorType | tuple[TensorType, ...]
Axes = tuple[AnyDim, ...]  # the size classes of a value's axes; a structural 1 is the int 1

SERIALS = itertools.count()  # of nodes and leaves, in the order in which they are made


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
    """Which axes must have equal sizes, found by unification; see the compiler's `size_classes`.

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
    is_random: ClassVar[bool] = False  # whether its value is drawn
    whole_size: ClassVar[bool] = False  # whether its sizes are those of the unsharded value
    again: ClassVar[bool] = False  # whether it is computed once more, where it is read

    @property
    def implicit(self) -> bool:
        """Whether its value needs no buffer: a scalar constant, an index, a size."""
        return False

    @property
    def keeps_weak(self) -> bool:
        """Whether what it makes of Python's numbers is one, as far as dtypes go."""
        return False

    @property
    def asked_by(self) -> str:
        """Who asks for what `size_guards` says, by the name that users know."""
        return self.name

    @property
    def over_integers(self) -> Op | None:
        """The op that does with integers what this one does with floats; None if there is none."""
        return None

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    def given_name(self) -> str | None:
        """The name that a user gave it; None for an op that has none."""
        return None

    @property
    def limit_of_labels(self) -> AnyDim | None:
        """What its first input must stay below, from 0 on; None where anything goes."""
        return None

    def select(self, training: bool) -> int | None:
        """Which input is the value, in a training step or elsewhere; None if that is all the same.

        An op that selects is resolved before it is compiled.
        """
        return None

    def drawn(self) -> Any:
        """What tells this random draw from others: equal draws have the same object."""
        raise NotImplementedError(f"{self.name} draws nothing")

    def repeated(self, count: AnyDim) -> Op:
        """A random draw for each of `count` steps of a loop, along a new leading axis."""
        raise NotImplementedError(f"{self.name} draws nothing")

    def check(self, *xs: TensorType) -> None:
        """Refuse attributes and inputs that no function of `ops` would make; raises GraphError.

        A graph that such a function makes holds by itself; one from a file holds if this passes and
        every size that `infer` and `size_guards` give is one. The fields have their types already.
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

    def batched(self, length: AnyDim) -> Op | None:
        """The op over a new leading axis of all inputs, of size `length`; None if there is none."""
        return None

    def sizes(self) -> tuple[AnyDim, ...]:
        """Attributes that are sizes, in the order in which `relate` and `view` ask for them."""
        return ()

    def size_guards(self, *xs: TensorType) -> tuple[AnyDim, ...]:
        """What must not be negative, so that the op stays within its operands."""
        return ()

    def key(self) -> tuple[Any, ...]:
        """What distinguishes this op in generated code: its name and attributes but for sizes."""
        return (self.name,)

    def attributes(self) -> str:
        """The attributes as printed in a graph."""
        return ""


Binary = Callable[["Node", Any], "Node"]


def operator(symbol: str) -> Callable[..., Node]:
    """The function behind an operator, as bound by `staticflow.ops`."""
    return OPERATORS[symbol]


def _operator(symbol: str) -> tuple[Binary, Binary]:
    """The methods behind `node + other` and `other + node`; `ops` says what they do."""

    def forward(self: Node, other: Any) -> Node:
        return operator(symbol)(self, other)

    def backward(self: Node, other: Any) -> Node:
        return operator(symbol)(other, self)

    return forward, backward


def _method(name: str) -> Callable[..., Node]:
    """The method `node.name(...)` behind the op of that name, which says what its options are."""

    def method(self: Node, *args: Any, **options: Any) -> Node:
        result: Node = FUNCTIONS[name](self, *args, **options)
        return result

    method.__name__ = name
    method.__doc__ = f"`ops.{name}` of this node."
    return method


class Node(NoArray):
    """A value in the graph: an op applied to input nodes, with a type and the line that made it.

    `weak` is what Python's numbers leave: the number, of a scalar constant; True, of what ops make
    of such numbers alone. A weak node has yet to meet the dtype that it is computed in.
    """

    __slots__ = ("__weakref__", "inputs", "label", "op", "serial", "type", "weak", "where")
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
            ("serial", next(SERIALS)),
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
        refusals.refuse_pickling(self)

    @property
    def shape(self) -> Shape:
        """The sizes of the axes: ints and named dimensions."""
        shape: Shape = self.type.shape
        return shape

    @property
    def dtype(self) -> str:
        dtype: str = self.type.dtype
        return dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def name(self) -> str:
        """The declared name of a leaf, else the op's name."""
        return self.label or self.op.given_name or self.op.name

    @property
    def T(self) -> Node:
        """The node with its axes reversed."""
        return operator("transpose")(self)

    def named(self, label: str) -> Node:
        """The same value under a name, for fetching and for messages."""
        return Node(self.op, self.inputs, self.type, self.where, label)

    def eval(self, **feeds: Any) -> Array:
        """Its value by NumPy, for arrays by the names of its leaves: `(x @ w).eval(x=.., w=..)`."""
        value: Array = OPERATORS["eval"](self, feeds)
        return value

    def _repr_html_(self) -> str:
        """A notebook shows a node as the picture of its graph; see `sf.draw`."""
        picture: str = OPERATORS["picture"](self)
        return picture

    def __repr__(self) -> str:
        return f"<{self.name}: {self.type}>"

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Whether it is the same node. Its value is not compared: `ops.equal` makes a node."""
        if isinstance(other, Node):
            return self is other
        if isinstance(other, Number | np.bool_ | np.ndarray):
            refusals.refuse_comparison(self, other)
        return NotImplemented

    def __iter__(self) -> Iterator[Node]:
        if not self.shape or not isinstance(self.shape[0], int):
            refusals.refuse_unpacking(self)
        return (self[i] for i in range(self.shape[0]))

    def __len__(self) -> int:
        if not self.shape or not isinstance(self.shape[0], int):
            refusals.refuse_length(self)
        return self.shape[0]

    def __getitem__(self, index: Any) -> Node:
        return operator("getitem")(self, index)

    sum, prod, mean, std, var = map(_method, ("sum", "prod", "mean", "std", "var"))
    max, min, argmax, argmin = map(_method, ("max", "min", "argmax", "argmin"))
    any, all, cumsum, cumprod = map(_method, ("any", "all", "cumsum", "cumprod"))
    dot, round, clip, argsort = map(_method, ("dot", "round", "clip", "argsort"))
    take, repeat, trace, diagonal = map(_method, ("take", "repeat", "trace", "diagonal"))
    ravel, squeeze, swapaxes = map(_method, ("ravel", "squeeze", "swapaxes"))
    flatten = ravel

    def reshape(self, *shape: Any, order: str = "C") -> Node:
        target = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        return operator("reshape")(self, target, order)

    def transpose(self, *axes: Any) -> Node:
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes
        return operator("transpose")(self, order or None)

    def astype(self, dtype: Any) -> Node:
        return operator("astype")(self, dtype)

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
        return operator("neg")(self)

    def __invert__(self) -> Node:
        return operator("invert")(self)

    def __pos__(self) -> Node:
        return self

    def __abs__(self) -> Node:
        return operator("abs")(self)

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
