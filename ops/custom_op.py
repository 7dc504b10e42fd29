"""Ops from the user's own jitted functions.

    @numba.njit
    def softclip(x):
        return x / (1 + np.abs(x))

    @numba.njit
    def softclip_vjp(g, y, x):
        return g / (1 + np.abs(x)) ** 2

    clipped = sf.custom_op(softclip, vjp=softclip_vjp)
    y = clipped(x)                                         # a node like any other

The functions take arrays (a scalar comes as a number) and return an array, or a tuple of them. They
are compiled into the program and run without Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import parts
from staticflow.graph.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.graph.types import TensorType, as_dtype, as_shape
from staticflow.native.routines.custom import CallArgument, provide
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes
from staticflow.ops.creation import full, zeros
from staticflow.ops.native_call import NativeCall
from staticflow.ops.shape import node_of

Infer = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Definition:
    """What the user gave: the function, its derivatives, and the type of its result."""

    forward: Any
    vjp: Any
    jvp: Any
    infer: Infer | None

    @property
    def name(self) -> str:
        return str(getattr(self.forward, "__name__", "custom"))


@dataclass(frozen=True)
class CustomCall(NativeCall):
    """One call of the user's function on inputs of fixed dtypes and ranks."""

    definition: Definition
    routine_name: str
    shapes: tuple[tuple[AnyDim, ...], ...]
    dtypes: tuple[str, ...]
    single: bool
    fails = True

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def routine(self) -> str:  # type: ignore[override]
        return self.routine_name

    def infer(self, *xs: TensorType) -> OutType:
        types = tuple(map(TensorType, self.shapes, self.dtypes))
        return types[0] if self.single else types

    def reference(self, *xs: Array) -> Any:
        return self.definition.forward(*(x if x.ndim else x[()] for x in xs))

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        rule = self.definition.vjp
        if rule is None:
            self._no_rule("vjp", "backwards")
        outputs = y if self.single else parts(y)
        if not _is_jitted(rule):
            found = _as_tuple(rule(g, outputs, *xs))
            return self._typed("vjp", "cotangent", found, "input", xs)
        flat = (g, y) if self.single else (*g, *parts(y))
        return _call_rule(rule, xs, (*flat, *xs))

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Any:
        rule = self.definition.jvp
        if rule is None:
            if self.definition.vjp is None:
                self._no_rule("jvp", "forwards")
            return NotImplemented
        full = [
            zeros(x.shape, x.dtype) if t is None else t for t, x in zip(tangents, xs, strict=True)
        ]
        outputs = (y,) if self.single else parts(y)
        if _is_jitted(rule):
            moved: Sequence[Any] = _call_rule(rule, outputs, (*full, *outputs, *xs))
        else:
            found = _as_tuple(rule(tuple(full), y if self.single else outputs, *xs))
            moved = self._typed("jvp", "tangent", found, "result", outputs)
        return moved[0] if self.single else tuple(moved)

    def _typed(
        self, rule: str, role: str, found: Sequence[Any], of: str, like: Sequence[Node]
    ) -> Sequence[Node | None]:
        """Cotangents or tangents as the user's rule gives them, one of each type of `like`."""
        if len(found) != len(like):
            fail(
                GraphError,
                f"custom op {self.name}: its {rule} must return a {role} for every {of}",
                got=f"{len(found)} for {len(like)}",
                do=f"return a tuple of them, with None for a {of} that has none",
            )
        return [
            None if value is None else self._of_type(role, value, of, x)
            for value, x in zip(found, like, strict=True)
        ]

    def _of_type(self, role: str, value: Any, of: str, x: Node) -> Node:
        if isinstance(value, int | float):
            return full(x.shape, value, x.dtype)
        node = node_of(value)
        if node.shape != x.shape:
            fail(
                ShapeError,
                f"custom op {self.name}: a {role} must have the shape of its {of}",
                got=f"{node.type} for {x.type}",
            )
        return cast(node, x.dtype) if x.type.is_float else node

    def _no_rule(self, rule: str, direction: str) -> None:
        fail(
            GraphError,
            f"custom op {self.name} cannot be differentiated {direction}",
            do=f"give sf.custom_op a `{rule}`; a function of nodes can be differentiated again",
        )

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        axes = tuple(tuple(classes.fresh(n) for n in shape) for shape in self.shapes)
        return axes[0] if self.single else axes

    def sizes(self) -> tuple[AnyDim, ...]:
        return tuple(n for shape in self.shapes for n in shape)

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return tuple(n for shape in xs for n in shape)

    def batched(self, length: AnyDim) -> None:
        return None

    def key(self) -> tuple[Any, ...]:
        return (self.routine_name,)


def custom_op(
    forward: Any, vjp: Any = None, jvp: Any = None, infer: Infer | None = None
) -> Callable[..., Any]:
    """Make an op of a jitted function; the result takes nodes and returns a node, or a tuple.

    `infer(*nodes)` gives the (shape, dtype) of the result, or a list of them for several results;
    by default the result is as the first input. `vjp(g, y, *xs)` returns the cotangent of every
    input, None for one that has none, and `jvp(tangents, y, *xs)` the result's tangent. Either may
    be a function of nodes, which can be differentiated again, or jitted: then it gets everything as
    separate arrays, `vjp(g, y, *xs)` and `jvp(*tangents, y, *xs)`, and returns arrays only.

    A jitted function is given the arrays themselves, the user's own if they are fed, and no copies:
    it must not write to them. One that works in place begins with `x = x.copy()`.
    """
    if not _is_jitted(forward):
        fail(GraphError, "custom_op: the function must be jitted", repr(forward)[:80],
             "decorate it with @numba.njit")  # fmt: skip
    for name, rule in (("vjp", vjp), ("jvp", jvp), ("infer", infer)):
        if rule is not None and not callable(rule):
            fail(GraphError, f"custom_op: `{name}` must be a function", repr(rule)[:80])
    definition = Definition(forward, vjp, jvp, infer)

    def function(*values: Any) -> Any:
        nodes = as_nodes(values)
        if not nodes:
            fail(GraphError, f"custom op {definition.name}: needs at least one input")
        node, single = _apply(definition, nodes)
        return node if single else parts(node)

    function.__name__ = function.__qualname__ = definition.name
    function.__doc__ = getattr(forward, "__doc__", None)
    return function


def _is_jitted(function: Any) -> bool:
    return hasattr(function, "py_func")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _apply(definition: Definition, nodes: Sequence[Node]) -> tuple[Node, bool]:
    given = nodes[0].type if definition.infer is None else definition.infer(*nodes)
    single = isinstance(given, TensorType) or not isinstance(given, list)
    types = [_type(definition, entry) for entry in ([given] if single else given)]
    inputs = [CallArgument(x.dtype, x.ndim) for x in nodes]
    outputs = [CallArgument(t.dtype, t.ndim) for t in types]
    label = f"custom op {definition.name}"
    name = provide(definition.forward, inputs, outputs, label)
    shapes, dtypes = tuple(t.shape for t in types), tuple(t.dtype for t in types)
    return apply(CustomCall(definition, name, shapes, dtypes, single), *nodes), single


def _type(definition: Definition, entry: Any) -> TensorType:
    if isinstance(entry, TensorType):
        return entry
    if not isinstance(entry, tuple) or len(entry) != 2:
        fail(
            DTypeError,
            f"custom op {definition.name}: `infer` must give (shape, dtype)",
            got=repr(entry),
            do="return a pair, or a list of pairs for several results",
        )
    return TensorType(as_shape(entry[0]), as_dtype(entry[1]))


def _call_rule(rule: Any, like: Sequence[Node], arguments: Sequence[Node]) -> list[Node | None]:
    """A jitted derivative: an op that returns arrays of the types of `like`, floats only."""
    floats = [x for x in like if x.type.is_float]
    types = [x.type for x in floats]
    infer = (lambda *_: types[0]) if len(types) == 1 else (lambda *_: types)
    made = custom_op(rule, infer=infer)(*arguments)
    results = iter(_as_tuple(made))
    return [next(results) if x.type.is_float else None for x in like]
