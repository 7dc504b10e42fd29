"""What a derivation needs to know of a scan: names for its carries, outputs and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staticflow.compiler.formula.names import identifier
from staticflow.graph.kinds import Part
from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import toposort
from staticflow.ops.views import Transpose
from staticflow.session.derivation.converter import size_of
from staticflow.session.derivation.expr import (
    Expr,
    symbol,
)
from staticflow.session.derivation.layers import is_layer

DEFAULTS = ("h", "c")  # what carries are called: of a cell with two, the hidden state comes first


@dataclass(frozen=True)
class Loop:
    """A scan, by names; indices are texts, as they are printed."""

    op: Scan
    init: Sequence[Node]
    consts: Sequence[Node]
    names: tuple[str, ...]  # of the carries
    reads_last: tuple[bool, ...]  # whether f sees the last of each carry
    stacks: tuple[str | None, ...]  # what the values of each carry at all steps are called
    outputs: tuple[tuple[str, Node], ...]  # other outputs of the steps
    ends: Mapping[Node, str]  # the nodes that the scan gives, by name
    over: Mapping[Node, str]  # what is scanned over, and one step of it
    within: Mapping[Node, str]  # the names within one step
    gates: Mapping[Node, str]  # of a cell: what elementwise functions give within one step

    @property
    def before(self) -> str:
        return "t+1" if self.op.reverse else "t-1"

    @property
    def end(self) -> str:
        return "1" if self.op.reverse else "T"

    @property
    def first(self) -> str:
        return "T+1" if self.op.reverse else "0"

    def at(self, k: int, index: str) -> Expr:
        return symbol(f"{self.names[k]}[{index}]", size_of(self.op.carries[k].shape))

    def delta(self, k: int, index: str) -> Expr:
        name = "delta" if len(self.names) == 1 else f"delta_{self.names[k]}"
        return symbol(f"{name}[{index}]", size_of(self.op.carries[k].shape))


def loop_of(f: Node, scan: Node) -> Loop:
    """The names of a scan's parts: those that they were given, or usual ones."""
    op = scan.op
    assert isinstance(op, Scan)
    init, xs, consts = op.split(scan.inputs)
    parts = {n.op.index: n for n in toposort([f])
             if isinstance(n.op, Part) and n.inputs[0] is scan}  # fmt: skip
    count = len(op.carries)
    names = _carry_names(parts, count)
    end = "1" if op.reverse else "T"
    ends = {parts[k]: f"{names[k]}[{end}]" for k in range(count) if k in parts}
    stacks: list[str | None] = [None] * count
    outputs = []
    for j, y in enumerate(op.ys):
        node = parts.get(count + j)
        if node is None:
            continue
        carry = next((k for k in range(count) if op.next[k] is y), None)
        name = node.label or (f"{names[carry]}s" if carry is not None else _numbered("y", j, op.ys))
        ends[node] = name
        if carry is None:
            outputs.append((name, y))
        else:
            stacks[carry] = name
    steps = {x: f"{outer_name(x, k)}[t]" for k, x in enumerate(xs)}
    before = "t+1" if op.reverse else "t-1"
    within = {own: f"{name}[{before}]" for own, name in zip(op.carries, names, strict=True)}
    within |= {own: steps[x] for own, x in zip(op.xs, xs, strict=True)}
    return Loop(op, list(init), list(consts), names, tuple(k in parts for k in range(count)),
                tuple(stacks), tuple(outputs), ends, steps, within, _gates(op))  # fmt: skip


def _gates(op: Scan) -> dict[Node, str]:
    """Names for the gates of a cell: f[t] = sigmoid(W @ h[t-1] + U @ x[t])."""
    found = [n for n in toposort(op.next) if is_layer(n) and n not in op.next
             and not set(n.inputs) & {*op.next, *op.carries, *op.xs}]  # fmt: skip
    return {n: f"{identifier(n.label or f'g{k}')}[t]" for k, n in enumerate(found, 1)}


def _numbered(name: str, k: int, among: Sequence[Node]) -> str:
    return f"{name}s" if len(among) == 1 else f"{name}s_{k + 1}"


def _carry_names(parts: Mapping[int, Node], count: int) -> tuple[str, ...]:
    usual = DEFAULTS[:count] if count <= len(DEFAULTS) else [f"h{k + 1}" for k in range(count)]
    labels = [parts[k].label if k in parts else None for k in range(count)]
    return tuple(label or name for label, name in zip(labels, usual, strict=True))


def outer_name(node: Node, k: int) -> str:
    """What an array that is scanned over is called; steps may have been its second axis."""
    inner = node.inputs[0] if isinstance(node.op, Transpose) else node
    own = inner.op.label if isinstance(inner.op, Leaf) else None
    return str(node.label or own or inner.label or f"x{k}")
