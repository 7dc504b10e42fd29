"""Curves over epochs as a picture: SVG by hand, every other format and figures by matplotlib.

Losses share one panel, on a logarithmic axis where they are positive; what is left, such as an
accuracy, has a panel below. The SVG needs no other package, so the command line can always draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

Curves = Mapping[str, Sequence[float]]

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#17becf")
_WIDTH, _HEIGHT = 640, 260  # of a panel, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 18, 42  # its margins


def save(curves: Curves, path: Path) -> None:
    """Write the curves to a file; the suffix is the format."""
    if path.suffix.lower() == ".svg":
        path.write_text(svg(curves), encoding="utf-8")
        return
    check_format(path)
    figure(curves).savefig(path, dpi=120)


def check_format(path: Path) -> None:
    """Refuse a file that `save` cannot draw: ValueError, or ImportError without matplotlib."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix == "svg":
        return
    known = sorted(_figure_class()().canvas.get_supported_filetypes())
    if suffix not in known:
        raise ValueError(
            f"the file's ending says how it is drawn, and must be one of {', '.join(known)}"
        )


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "this plot needs matplotlib: pip install 'staticflow[plot]', "
            "or write an .svg file, which needs nothing"
        ) from error
    return Figure


def figure(curves: Curves) -> Any:
    """A matplotlib figure of the curves."""
    panels = _panels(curves)
    drawing = _figure_class()(figsize=(7, 3 * len(panels)), layout="constrained")
    for axes, panel in zip(drawing.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        for name, values in panel.curves.items():
            axes.plot(range(1, len(values) + 1), values, label=name, marker=_marker(values))
        axes.set(xlabel="epoch", ylabel=panel.title, yscale="log" if panel.log else "linear")
        if panel.curves:
            axes.legend()
    return drawing


def svg(curves: Curves) -> str:
    """The curves as an SVG document."""
    panels = _panels(curves)
    height = _HEIGHT * len(panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for row, panel in enumerate(panels):
        lines += [f'<g transform="translate(0 {row * _HEIGHT})">', *_draw(panel), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


@dataclass(frozen=True)
class _Panel:
    """Curves that share axes."""

    title: str
    curves: Curves
    log: bool

    def values(self) -> list[float]:
        return [v for values in self.curves.values() for v in values if math.isfinite(v)]


def _panels(curves: Curves) -> list[_Panel]:
    losses = {name: values for name, values in curves.items() if "loss" in name}
    others = {name: values for name, values in curves.items() if name not in losses}
    panels = []
    if losses or not others:
        positive = all(v > 0 for values in losses.values() for v in values if math.isfinite(v))
        panels.append(_Panel("loss", losses, positive))
    if others:
        panels.append(_Panel(next(iter(others)), others, False))
    return panels


def _marker(values: Sequence[float]) -> str | None:
    return "o" if len(values) < 2 else None


@dataclass(frozen=True)
class _Axis:
    """A linear or logarithmic scale from data to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        part = (self._scaled(value) - low) / (high - low)
        return self.start + part * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 5) if len(decades) <= 4 else (1,)
            every = [digit * 10.0**decade for decade in decades for digit in digits]
            return [value for value in every if self.low <= value <= self.high]
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


def _vertical(panel: _Panel) -> _Axis:
    values = panel.values() or [1.0]
    low, high = min(values), max(values)
    if panel.log:
        low, high = low / 1.3, high * 1.3
    else:
        margin = 0.05 * (high - low) or 0.5
        low, high = low - margin, high + margin
    return _Axis(low, high, _HEIGHT - _BOTTOM, _TOP, panel.log)


def _draw(panel: _Panel) -> list[str]:
    epochs = max((len(values) for values in panel.curves.values()), default=1)
    x = _Axis(1, max(2, epochs), _LEFT, _WIDTH - _RIGHT)
    y = _vertical(panel)
    lines = [*_grid(x, y), _text(_LEFT, 12, panel.title)]
    lines.append(_text((x.start + x.end) / 2, _HEIGHT - 8, "epoch", "middle"))
    for k, (name, values) in enumerate(panel.curves.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        points = [
            f"{x.at(i):.1f},{y.at(v):.1f}" for i, v in enumerate(values, 1) if math.isfinite(v)
        ]
        lines.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" '
            'stroke-width="1.8" stroke-linecap="round"/>'
        )
        top = _TOP + 14 + 18 * k
        lines.append(f'<path d="M{x.end + 12} {top - 4}h18" stroke="{colour}" stroke-width="2.5"/>')
        lines.append(_text(x.end + 36, top, name))
    return lines


def _grid(x: _Axis, y: _Axis) -> list[str]:
    lines = []
    for value in y.ticks():
        at = y.at(value)
        lines.append(f'<path d="M{x.start} {at:.1f}H{x.end}" stroke="#ddd"/>')
        lines.append(_text(x.start - 6, at + 4, f"{value:.4g}", "end"))
    lines += [
        _text(x.at(value), y.start + 16, f"{value:.0f}", "middle")
        for value in x.ticks()
        if value == int(value)
    ]
    lines.append(f'<path d="M{x.start} {y.end}V{y.start}H{x.end}" stroke="#333" fill="none"/>')
    return lines


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
