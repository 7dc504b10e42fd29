"""The function `draw`: which nodes of a graph are shown, and what is written into each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from staticflow.autodiff.accumulate import cotangents_of
from staticflow.errors import GraphError, fail
from staticflow.graph.kinds import Part
from staticflow.graph.leaves import Const, Leaf
from staticflow.graph.node import Array, Kind, Node
from staticflow.graph.traversal import toposort
from staticflow.ops import ones
from staticflow.ops.views import Broadcast, Expand, Squeeze
from staticflow.runtime.interpreter import interpret
from staticflow.session.calculator import environment
from staticflow.session.drawing.picture import RED, Box, Link, svg
from staticflow.session.session import Session

SIGNS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "negative": "-", "dot": "@",
    "power": "**", "integer_power": "**",
}  # fmt: skip
FEW = 6  # elements of an array that are written out
MOST = 400  # nodes of a drawing


class Drawing(str):
    """An SVG document, which a notebook shows as a picture."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<div>{self}</div>"

    def __repr__(self) -> str:
        return f"<drawing: {len(self)} characters of SVG>"

    def save(self, path: Any) -> None:
        """Write the picture to an .svg file."""
        Path(path).write_text(self, encoding="utf-8")


def draw(what: Node | Session, feeds: Mapping[Any, Any] | None = None) -> Drawing:
    """The graph of a node or session as SVG: values flow down, cotangents up.

    Each box has a node's name or op, its shape and the line that made it; with `feeds` (arrays by
    the names of leaves) also its value and, below a float scalar, its cotangent: the derivative of
    that scalar by it. A session gives its parameters' values itself. Views that only insert axes
    are not drawn. Raises GraphError for feeds that do not fit and for graphs of over 400 nodes.

        sf.draw(((y + x) * x).named("z"), {"x": 1.0, "y": 2.0}).save("z.svg")
    """
    return linked(what, feeds, lambda node: Link())


def shown(what: Node | Session) -> str:
    """What a notebook shows: the picture, or a word on a graph that is too large for one."""
    try:
        return draw(what)._repr_html_()
    except GraphError as error:
        about = what if isinstance(what, Node) else f"session of {len(what.params)} parameters"
        return f"<code>{escape(str(about))}</code>: {escape(str(error).splitlines()[0])}"


def linked(
    what: Node | Session, feeds: Mapping[Any, Any] | None, link: Callable[[Node], Link]
) -> Drawing:
    """As `draw`, with names and targets of links, as a page has them, for the boxes."""
    if isinstance(what, Session):
        roots = what.roots
        feeds = None if feeds is None else {**what.params, **what.states, **feeds}
    elif isinstance(what, Node):
        roots = [what]
    else:
        fail(GraphError, "draw: takes a node or a session", repr(what)[:80])
    shown = [n for n in toposort(roots) if not _is_hidden(n) or n in roots]
    if len(shown) > MOST:
        fail(GraphError, "draw: the graph is too large to look at", f"{len(shown)} nodes",
             "draw a node further up")  # fmt: skip
    inputs = {n: [_source(x) for x in n.inputs] for n in shown}
    cotangents = _cotangents(roots[0], shown)
    values, derivatives = _values(shown, cotangents, feeds, roots)
    boxes = [replace(_box(n, n in roots, values, derivatives), link=link(n)) for n in shown]
    number = {n: k for k, n in enumerate(shown)}
    edges = [[number[x] for x in inputs[n]] for n in shown]
    return Drawing(svg(edges, boxes, {number[n] for n in cotangents}))


def _is_hidden(node: Node) -> bool:
    """Whether a node only says where axes are, or what its input means."""
    alias = node.op.kind is Kind.ALIAS and len(node.inputs) == 1 and not node.label
    return alias or (isinstance(node.op, Expand | Squeeze | Broadcast) and not node.label)


def _source(node: Node) -> Node:
    while _is_hidden(node):
        node = node.inputs[0]
    return node


def _cotangents(root: Node, shown: Sequence[Node]) -> dict[Node, Node]:
    """The derivatives of a scalar by all that it depends on; none for what is no float scalar."""
    if root.ndim or not root.type.is_float:
        return {}
    floats = [n for n in shown if not isinstance(n.type, tuple) and n.type.is_float]
    moving: set[Node] = set()
    for node in toposort([root]):
        if isinstance(node.op, Leaf):
            moving |= set() if isinstance(node.op, Const) else {node}
        elif any(x in moving for x in node.inputs):
            moving.add(node)
    floats = [n for n in floats if n in moving]
    found = cotangents_of(floats, [root], [ones((), root.dtype)])
    return {n: g for n, g in zip(floats, found, strict=True) if g is not None}


def _values(
    shown: Sequence[Node],
    cotangents: Mapping[Node, Node],
    feeds: Mapping[Any, Any] | None,
    roots: Sequence[Node],
) -> tuple[dict[Node, Array], dict[Node, Array]]:
    if feeds is None:
        return {}, {}
    env = environment(roots, feeds)
    plain = [n for n in shown if not isinstance(n.type, tuple)]
    found = interpret([*plain, *cotangents.values()], env, training=False)
    values = dict(zip(plain, found, strict=False))
    return values, dict(zip(cotangents, found[len(plain) :], strict=True))


def _box(
    node: Node, is_root: bool, values: Mapping[Node, Array], derivatives: Mapping[Node, Array]
) -> Box:
    lines = [(_title(node), "#000"), (_type(node), "#555")]
    if not isinstance(node.op, Leaf):
        lines.append((_line(node), "#999"))
    if node in values:
        lines.append((f"= {_written(values[node])}", "#1a5276"))
    if node in derivatives:
        lines.append((f"d = {_written(derivatives[node])}", RED))
    kind = "root" if is_root else "leaf" if isinstance(node.op, Leaf) else "op"
    return Box(tuple(lines), kind, f"{node.name}: {node.type}\n{node.where}")


def _title(node: Node) -> str:
    if isinstance(node.op, Const):
        return _written(node.op.value)
    op = node.op.given_name or node.op.name
    sign = SIGNS.get(op, op)
    if isinstance(node.op, Part):
        sign = f"{node.inputs[0].op.name} [{node.op.index}]"
    return f"{node.label} = {sign}" if node.label and not isinstance(node.op, Leaf) else sign


def _type(node: Node) -> str:
    return str(node.type) if not isinstance(node.type, tuple) else f"{len(node.type)} outputs"


def _line(node: Node) -> str:
    return str(node.where).split(": ")[0]


def _written(value: Array) -> str:
    """A scalar or a few elements, else the shape and the mean."""
    array = np.asarray(value)
    if not array.ndim:
        return f"{array:.5g}" if array.dtype.kind == "f" else str(array)
    if array.size <= FEW:
        text = np.array2string(array, precision=4, separator=", ", suppress_small=True)
        return " ".join(text.split()).replace("[ ", "[").replace(" ]", "]").replace(" ,", ",")
    shape = "x".join(map(str, array.shape))
    return f"{shape}, mean {array.mean():.4g}"
