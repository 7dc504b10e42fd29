"""`vmap`: a function of one element, for all elements along an axis.

    ys = sf.vmap(f)(xs)                     # what ys = stack([f(x) for x in xs]) computes

It is a scan without a carry. What of its body needs no loop is moved out of it by the compiler: of
most functions no loop is left, and products become one product.

No module but the package itself imports this one, whose name is that of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node
from staticflow.graph.pytree import flatten, map_structure
from staticflow.ops.coerce import entry
from staticflow.ops.control_flow.scan import scan
from staticflow.ops.shape import moveaxis

Axes = int | Sequence[int | None] | None


def vmap(f: Callable[..., Any], in_axes: Axes = 0, out_axes: int = 0) -> Callable[..., Any]:
    """The function that computes `f` for each element along an axis of its arguments.

    Arguments and results are nodes, or tuples, lists or dicts of nodes. `in_axes` says along which
    axis an argument is taken apart, one for all or one for each; None hands it over whole. The
    results have the new axis at `out_axes`. What `f` draws at random is drawn anew for each
    element. The names are those of JAX.

    Raises GraphError if no argument is taken apart, if there are more or fewer axes than arguments,
    and if `f` returns nothing; ShapeError if lengths differ, or an argument lacks the axis.
    """

    def mapped(*args: Any) -> Any:
        axes = _axes(in_axes, len(args))
        given = [map_structure(entry, arg) for arg in args]
        pairs = zip(given, axes, strict=True)
        taken = [map_structure(_moved(axis, 0), arg) for arg, axis in pairs if axis is not None]

        def step(carry: Any, rows: Any) -> tuple[Any, Any]:
            row = iter(rows)
            whole = zip(given, axes, strict=True)
            return carry, f(*(arg if axis is None else next(row) for arg, axis in whole))

        _, found = scan(step, (), taken)
        if not flatten(found):
            fail(GraphError, "vmap: the function returns nothing", got=repr(found))
        return map_structure(_moved(0, out_axes), found)

    return mapped


def _moved(axis: int, to: int) -> Callable[[Node], Node]:
    return lambda x: x if axis == to else moveaxis(x, axis, to)


def _axes(in_axes: Axes, count: int) -> list[int | None]:
    """The axis of each argument."""
    axes = [in_axes] * count if in_axes is None or isinstance(in_axes, int) else list(in_axes)
    if len(axes) != count:
        fail(
            GraphError, "vmap: an axis for each argument", f"{len(axes)} axes, {count} arguments",
            "give one number for all, or a list with a number or None for each",
        )  # fmt: skip
    if all(axis is None for axis in axes):
        fail(
            GraphError, "vmap: no argument is taken apart", f"in_axes={in_axes!r}",
            "name the axis of one argument at least",
        )  # fmt: skip
    return axes
