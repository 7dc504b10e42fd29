"""The table of parameters: shapes, counts, and how their values are spread."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BINS, WIDTH, HEIGHT = 24, 120, 28


def parameter_table(params: Mapping[str, Array], nodes: Mapping[str, str]) -> str:
    """A row for each; `nodes` has the names of their boxes in the page's graph."""
    rows = "".join(
        f'<tr id="{anchor(k)}"><td>{_linked(name, nodes)}</td>'
        f"<td>{' x '.join(map(str, array.shape)) or 'scalar'}</td><td>{array.dtype}</td>"
        f'<td class="number">{array.size:,}</td>{_spread(array)}<td>{histogram(array)}</td></tr>'
        for k, (name, array) in enumerate(params.items())
    )
    total = sum(array.size for array in params.values())
    size = sum(array.nbytes for array in params.values()) / 1000
    return (
        '<div class="wide"><table><thead><tr><th>name</th><th>shape</th><th>dtype</th>'
        '<th class="number">count</th><th class="number">mean</th><th class="number">std</th>'
        '<th class="number">least</th><th class="number">largest</th><th>values</th></tr></thead>'
        f'<tbody>{rows}</tbody><tfoot><tr><td>all</td><td></td><td></td><td class="number">'
        f'{total:,}</td><td colspan="5">{size:,.1f} kB</td></tr></tfoot></table></div>'
    )


def anchor(number: int) -> str:
    """The name of a parameter's row in the page."""
    return f"param-{number}"


def _linked(name: str, nodes: Mapping[str, str]) -> str:
    shown = escape(name)
    return f'<a href="#{nodes[name]}">{shown}</a>' if name in nodes else shown


def _spread(array: Array) -> str:
    wide = array.astype(np.float64)
    values = [wide.mean(), wide.std(), wide.min(), wide.max()] if array.size else [np.nan] * 4
    return "".join(f'<td class="number">{value:.3g}</td>' for value in values)


def histogram(array: Array) -> str:
    """How many values lie where, as a small picture; those that are no numbers are told apart."""
    finite = array[np.isfinite(array)].astype(np.float64)
    if not finite.size:
        return "no finite values"
    counts, edges = np.histogram(finite, BINS)
    tallest, width = max(int(counts.max()), 1), WIDTH / BINS
    bars = "".join(
        f'<rect x="{k * width:.1f}" y="{HEIGHT * (1 - n / tallest):.1f}" width="{width - 1:.1f}" '
        f'height="{HEIGHT * n / tallest:.1f}"/>'
        for k, n in enumerate(counts.tolist())
        if n
    )
    bad = array.size - finite.size
    note = f" {bad} NaN or infinite" if bad else ""
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" fill="#4a7fb5">'
        f"<title>{edges[0]:.3g} to {edges[-1]:.3g}</title>{bars}</svg>{note}"
    )
