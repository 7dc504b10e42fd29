"""One page about a model, without a network: everything in it is linked to everything it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from staticflow.cli.inspect_page import kernels as of_kernels
from staticflow.cli.inspect_page import parameters as of_parameters
from staticflow.cli.inspect_page.kernels import Kernel, kernel_of, kernel_table, measured, noted
from staticflow.cli.inspect_page.parameters import parameter_table
from staticflow.cli.inspect_page.source import calls, listing
from staticflow.errors import GraphError
from staticflow.graph.leaves import Param
from staticflow.graph.node import Node
from staticflow.session.drawing.draw import linked
from staticflow.session.drawing.picture import Link
from staticflow.session.report.plot import svg

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: #222; background: #f6f7f9; }
nav { position: sticky; top: 0; background: #23364d; padding: 8px 20px; z-index: 1; }
nav a { color: #fff; margin-right: 18px; text-decoration: none; }
main { max-width: 1200px; margin: 0 auto; padding: 4px 20px 60px; }
section { background: #fff; border: 1px solid #dde2e8; border-radius: 8px; padding: 4px 20px 20px;
  margin-top: 18px; scroll-margin-top: 48px; }
h1 { font-size: 24px; margin: 18px 0 8px; } h2 { font-size: 18px; margin: 14px 0 10px; }
.wide { overflow-x: auto; } .tall { max-height: 80vh; overflow: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: left; padding: 3px 12px 3px 0; white-space: nowrap; vertical-align: middle; }
th { border-bottom: 1px solid #bbb; } tfoot td { border-top: 1px solid #bbb; }
.number { text-align: right; font-variant-numeric: tabular-nums; } .inner { padding-left: 2em; }
.ops { white-space: normal; min-width: 200px; max-width: 560px; }
#loss svg { max-width: 100%; height: auto; }
.bar { display: inline-block; height: 10px; background: #4a7fb5; }
a { color: #1a5fa8; text-decoration: none; } a:hover { text-decoration: underline; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
.source { font: 12px/1.45 ui-monospace, monospace; margin: 0; }
.source span > a:first-child { color: #999; user-select: none; }
section > .wide > svg { display: block; }
[id] { scroll-margin-top: 60px; }
tr:target, .source span:target { background: #fff3bf; } g:target > rect { stroke-width: 3; }
@media (max-width: 700px) { main { padding: 4px 8px 40px; } section { padding: 4px 10px 14px; }
  nav { padding: 8px 10px; } nav a { margin-right: 12px; } dl { grid-template-columns: 1fr; } }
"""
SECTIONS = {"graph": "Graph", "parameters": "Parameters", "kernels": "Kernels",
            "source": "Source", "loss": "Loss"}  # fmt: skip


def page(
    session: Any, title: str, facts: Sequence[tuple[str, str]], curves: Mapping[str, list[float]]
) -> str:
    """The document. `facts` are lines about the model, `curves` what training has logged."""
    found = measured(session)
    kernels: list[Kernel] = [] if isinstance(found, str) else found
    lines = session.source.splitlines()
    places = list(noted(kernels, calls(lines)))
    graph = _Graph(session, kernels)
    back = {line: of_kernels.anchor(k) for k, line in enumerate(places) if line is not None}
    bodies = {
        "graph": f'<div class="wide tall">{graph.picture()}</div>',
        "parameters": parameter_table(session.params, graph.of_parameters),
        "kernels": found if isinstance(found, str) else _timed(kernels, places, graph),
        "source": f'<div class="wide tall">{listing(lines, back)}</div>',
        "loss": _curves(curves),
    }
    named = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    parts = "".join(
        f'<section id="{name}"><h2>{SECTIONS[name]}</h2>{body}</section>'
        for name, body in bodies.items()
    )
    links = "".join(f'<a href="#{name}">{text}</a>' for name, text in SECTIONS.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<nav>{links}</nav><main><h1>{escape(title)}</h1><section><dl>{named}</dl></section>"
        f"{parts}</main></body></html>\n"
    )


def _timed(kernels: Sequence[Kernel], places: Sequence[int | None], graph: _Graph) -> str:
    note = f"<p>Of a step on {of_kernels.ROWS} rows of random data, on one thread.</p>"
    return note + kernel_table(kernels, places, graph.of_kernels)


def _curves(curves: Mapping[str, list[float]]) -> str:
    if not curves:
        return "<p>The file holds no log of a training.</p>"
    last = ", ".join(f"{escape(name)} {values[-1]:.4g}" for name, values in curves.items())
    epochs = max(map(len, curves.values()))
    return (
        f'<p>After {epochs} epochs: {last}. What is trained: <a href="#parameters">parameters</a>; '
        f'each step: <a href="#kernels">kernels</a>.</p><div class="wide">{svg(curves)}</div>'
    )


class _Graph:
    """The picture, and the names of its boxes: by parameter, and by the number of a kernel."""

    def __init__(self, session: Any, kernels: Sequence[Kernel]) -> None:
        self.of_parameters: dict[str, str] = {}
        self.of_kernels: dict[int, str] = {}
        self._kernels = kernels
        self._rows = {name: of_parameters.anchor(k) for k, name in enumerate(session.params)}
        self._count = 0
        try:
            self._picture = str(linked(session, None, self._link))
        except GraphError as error:  # too large to look at
            self._picture = f"<p>{escape(str(error).splitlines()[0])}</p>"

    def picture(self) -> str:
        return self._picture

    def _link(self, node: Node) -> Link:
        self._count += 1
        name = f"node-{self._count}"
        if isinstance(node.op, Param):
            self.of_parameters[node.name] = name
            return Link(name, self._rows[node.name])
        kernel = kernel_of(node, self._kernels)
        if kernel is None:
            return Link(name)
        self.of_kernels.setdefault(kernel, name)
        return Link(name, of_kernels.anchor(kernel))
