"""Boxes and arrows as SVG: values flow down in black, cotangents up in red."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil

from staticflow.session.drawing.placing import Edges, centres, layout

LINE, PAD, CHAR = 16, 8, 7.3  # pixels: a line of text, around it, and a character's width
GAP_X, GAP_Y, MARGIN = 28, 56, 16
BEND = 12.0  # the room of an edge between boxes
FILL = {"leaf": "#e8f1fb", "op": "#ffffff", "root": "#fdf3dc"}
RED = "#c0392b"


@dataclass(frozen=True)
class Link:
    """A box's name in a page, and where it leads; "" for none."""

    name: str = ""
    target: str = ""


@dataclass(frozen=True)
class Box:
    """A node as it is drawn: its lines of text, each with its colour."""

    lines: tuple[tuple[str, str], ...]
    kind: str
    tip: str
    link: Link = Link()

    @property
    def width(self) -> int:
        return max(44, 2 * PAD + ceil(CHAR * max(len(text) for text, _ in self.lines)))

    @property
    def height(self) -> int:
        return 2 * PAD + LINE * len(self.lines)


def svg(inputs: Edges, boxes: Sequence[Box], backwards: Container[int]) -> str:
    """The picture of boxes, each made of those that `inputs` names; a cotangent comes up between
    those that `backwards` has.
    """
    found = layout(inputs)
    bends = sum(map(len, found.bends.values()))
    widths = [*(float(box.width) for box in boxes), *[BEND] * bends]
    heights = [*(box.height for box in boxes), *[0] * bends]
    x = [MARGIN + at for at in centres(found, widths, GAP_X)]
    y = [0.0] * len(widths)
    top = float(MARGIN)
    for row in found.rows:
        tallest = max(heights[k] for k in row)
        for k in row:
            y[k] = top + (tallest / 2 if k >= len(boxes) else 0.0)
        top += tallest + GAP_Y
    width = max((at + w / 2 for at, w in zip(x, widths, strict=True)), default=0) + MARGIN
    height = top - GAP_Y + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">',
        "<defs>", _head("down", "#333"), _head("up", RED), "</defs>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
    ]  # fmt: skip
    for (start, end), way in found.bends.items():
        points = [(x[start], y[start] + heights[start]), *((x[k], y[k]) for k in way)]
        points.append((x[end], y[end]))
        lines.append(_path([(u - 4, v) for u, v in points], "#333", "down", ""))
        if start in backwards and end in backwards:
            up = [(u + 8, v) for u, v in reversed(points)]
            lines.append(_path(up, RED, "up", ' stroke-dasharray="5 3"'))
    lines += [_box(box, x[k] - box.width / 2, y[k]) for k, box in enumerate(boxes)]
    return "\n".join([*lines, "</svg>", ""])


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )


def _path(points: Sequence[tuple[float, float]], colour: str, head: str, dash: str) -> str:
    """A curve that is upright at every point."""
    curves = "".join(
        f"C{x1:.1f} {(y1 + y2) / 2:.1f} {x2:.1f} {(y1 + y2) / 2:.1f} {x2:.1f} {y2:.1f}"
        for (x1, y1), (x2, y2) in pairwise(points)
    )
    x, y = points[0]
    return (
        f'<path d="M{x:.1f} {y:.1f}{curves}" fill="none" stroke="{colour}"{dash} '
        f'marker-end="url(#{head})"/>'
    )


def _box(box: Box, x: float, y: float) -> str:
    texts = "".join(
        f'<text x="{box.width / 2:g}" y="{PAD + LINE * (k + 0.75):g}" text-anchor="middle" '
        f'fill="{colour}"{_bold(k)}>{escape(text)}</text>'
        for k, (text, colour) in enumerate(box.lines)
    )
    name = f' id="{box.link.name}"' if box.link.name else ""
    begin, end = (f'<a href="#{box.link.target}">', "</a>") if box.link.target else ("", "")
    return (
        f'{begin}<g{name} transform="translate({x:.1f} {y:.1f})"><title>{escape(box.tip)}</title>'
        f'<rect width="{box.width}" height="{box.height}" rx="6" fill="{FILL[box.kind]}" '
        f'stroke="#333"/>{texts}</g>{end}'
    )


def _bold(k: int) -> str:
    return ' font-weight="bold"' if k == 0 else ""
