"""The kernels of a model with their time, each linked to its call in the source and its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError
from staticflow.graph.dims import Dim, evaluate, names_of
from staticflow.graph.node import Node

ROWS, OTHERS = 32, 16  # sizes of the random data that kernels are timed on
REPEAT = 50
OPS, INNER = ' class="ops"', ' class="ops inner"'


@dataclass(frozen=True)
class Kernel:
    """A row of the table."""

    us: float
    what: str  # ops and type
    where: str  # the user's line
    inner: bool  # within a loop, which has a row of its own

    @property
    def ops(self) -> list[str]:
        return self.what.split(":")[0].split(", ")

    @property
    def line(self) -> str:
        """The file and the number of the line, without its text."""
        return self.where.split(": ")[0]

    @property
    def shown_line(self) -> str:
        """The same; the update is declared where a session is first asked to train: here."""
        return "the update" if self.line.startswith(f"{Path(__file__).name}:") else self.line


def measured(session: Any) -> list[Kernel] | str:
    """The kernels of a training step, or of the outputs, on random data; or why there are none."""
    try:
        found = session.profile(example_feeds(session), REPEAT)
    except (GraphError, ShapeError, DTypeError, NumericsError) as error:
        return f"not measured: {str(error).splitlines()[0]}"
    return [_kernel(us, text) for us, text in found.rows]


def _kernel(us: float, text: str) -> Kernel:
    what, _, where = text.strip().partition("  # ")
    return Kernel(us, what, where, text.startswith(" "))


def example_feeds(session: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Random numbers for floats, and zeros, of a batch of rows."""
    rng = np.random.default_rng(0)
    leading = {str(x.shape[0]) for x in session.inputs.values() if x.shape}
    feeds = {}
    for name, node in session.inputs.items():
        env = {n: ROWS if n in leading else OTHERS for n in names_of(node.shape)}
        shape = [evaluate(n, env) if isinstance(n, Dim) else n for n in node.shape]
        values = rng.normal(size=shape) if node.type.is_float else np.zeros(shape)
        feeds[name] = values.astype(node.dtype)
    return feeds


def anchor(number: int) -> str:
    """The name of a kernel's row in the page."""
    return f"kernel-{number}"


def kernel_of(node: Node, kernels: Sequence[Kernel]) -> int | None:
    """The kernel that computes a node: of its line, with its op, and of its type if one is."""
    place, type_ = str(node.where).split(": ")[0], str(node.type)
    having = [k for k, x in enumerate(kernels) if x.line == place and node.op.name in x.ops]
    return next((k for k in having if kernels[k].what.endswith(type_)), next(iter(having), None))


def noted(kernels: Sequence[Kernel], calls: Mapping[str, Sequence[int]]) -> Iterator[int | None]:
    """The line of each kernel's call in the source: equal ones follow one after the other."""
    used: dict[str, int] = {}
    for kernel in kernels:
        text = f"{kernel.where}  ->  {kernel.what}"
        place = used.get(text, 0)
        used[text] = place + 1
        lines = calls.get(text, [])
        yield lines[min(place, len(lines) - 1)] if lines else None


def kernel_table(
    kernels: Sequence[Kernel], lines: Sequence[int | None], nodes: Mapping[int, str]
) -> str:
    """A row for each kernel; `nodes` has the names of their boxes in the page's graph."""
    total = max(sum(k.us for k in kernels if not k.inner), 1e-9)
    largest = max((k.us for k in kernels), default=1.0) or 1.0
    rows = "".join(
        f'<tr id="{anchor(k)}"><td class="number">{kernel.us:.3f}</td>'
        f'<td><span class="bar" style="width:{80 * kernel.us / largest:.1f}px"></span> '
        f"{kernel.us / total:.1%}</td><td{INNER if kernel.inner else OPS}>"
        f"{_led(escape(kernel.what), nodes.get(k, ''))}</td><td>{escape(kernel.shown_line)}</td>"
        f"<td>{_led(f'line {line}', f'L{line}') if line else ''}</td></tr>"
        for k, (kernel, line) in enumerate(zip(kernels, lines, strict=True))
    )
    return (
        '<div class="wide"><table><thead><tr><th class="number">us</th><th>share</th>'
        "<th>ops and type</th><th>your line</th><th>source</th></tr></thead>"
        f"<tbody>{rows}</tbody><tfoot><tr><td>{total:.3f}</td>"
        '<td colspan="4">in all kernels</td></tr></tfoot></table></div>'
    )


def _led(text: str, target: str) -> str:
    """A link, if there is something to lead to."""
    return f'<a href="#{target}">{text}</a>' if target else text
