"""Boxes and arrows as SVG: values flow down in black, cotangents up in red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LINE, PAD, CHAR = 16, 8, 7  # pixels: a line of text, around it, and a character's width
GAP_X, GAP_Y, MARGIN = 28, 56, 16
FILL = {"leaf": "#e8f1fb", "op": "#ffffff", "root": "#fdf3dc"}
RED = "#c0392b"


@dataclass(frozen=True)
class Box:
    """A node as it is drawn: its lines of text, each with its colour."""

    lines: tuple[tuple[str, str], ...]
    kind: str
    tip: str

    @property
    def width(self) -> int:
        return max(44, 2 * PAD + CHAR * max(len(text) for text, _ in self.lines))

    @property
    def height(self) -> int:
        return 2 * PAD + LINE * len(self.lines)


@dataclass(frozen=True)
class Arrow:
    """From one box to another; `back` if a cotangent goes the other way."""

    start: int
    end: int
    back: bool


def svg(rows: Sequence[Sequence[int]], boxes: Sequence[Box], arrows: Sequence[Arrow]) -> str:
    """The picture: `rows` are the numbers of boxes from the top down."""
    widths = [sum(boxes[k].width for k in row) + GAP_X * (len(row) - 1) for row in rows]
    whole = max(widths, default=0) + 2 * MARGIN
    corners: dict[int, tuple[float, float]] = {}
    y = float(MARGIN)
    for row, width in zip(rows, widths, strict=True):
        x = (whole - width) / 2
        for k in row:
            corners[k] = (x, y)
            x += boxes[k].width + GAP_X
        y += max(boxes[k].height for k in row) + GAP_Y
    height = y - GAP_Y + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:g}" height="{height:g}" '
        f'viewBox="0 0 {whole:g} {height:g}" font-family="monospace" font-size="12">',
        "<defs>", _head("down", "#333"), _head("up", RED), "</defs>",
        f'<rect width="{whole:g}" height="{height:g}" fill="white"/>',
        *(text for arrow in arrows for text in _arrow(arrow, corners, boxes)),
        *(_box(boxes[k], *corner) for k, corner in corners.items()),
    ]  # fmt: skip
    return "\n".join([*lines, "</svg>", ""])


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )


def _arrow(
    arrow: Arrow, corners: dict[int, tuple[float, float]], boxes: Sequence[Box]
) -> list[str]:
    (x1, y1), (x2, y2) = corners[arrow.start], corners[arrow.end]
    above, below = boxes[arrow.start], boxes[arrow.end]
    x1, y1, x2 = x1 + above.width / 2, y1 + above.height, x2 + below.width / 2
    drawn = [_curve(x1 - 4, y1, x2 - 4, y2, "#333", "down", "")]
    if arrow.back:
        drawn.append(_curve(x2 + 8, y2, x1 + 8, y1, RED, "up", ' stroke-dasharray="5 3"'))
    return drawn


def _curve(x1: float, y1: float, x2: float, y2: float, colour: str, head: str, dash: str) -> str:
    middle = (y1 + y2) / 2
    return (
        f'<path d="M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} '
        f'{x2:.1f} {y2:.1f}" fill="none" stroke="{colour}"{dash} marker-end="url(#{head})"/>'
    )


def _box(box: Box, x: float, y: float) -> str:
    texts = "".join(
        f'<text x="{box.width / 2:g}" y="{PAD + LINE * (k + 0.75):g}" text-anchor="middle" '
        f'fill="{colour}"{_bold(k)}>{escape(text)}</text>'
        for k, (text, colour) in enumerate(box.lines)
    )
    return (
        f'<g transform="translate({x:.1f} {y:.1f})"><title>{escape(box.tip)}</title>'
        f'<rect width="{box.width}" height="{box.height}" rx="6" fill="{FILL[box.kind]}" '
        f'stroke="#333"/>{texts}</g>'
    )


def _bold(k: int) -> str:
    return ' font-weight="bold"' if k == 0 else ""
