"""Where boxes and arrows of drawings go: over no other box, and as near to others as they fit."""

from __future__ import annotations

import re
from itertools import pairwise, product
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import staticflow as sf
from staticflow import models, ops
from staticflow.session.drawing.placing import centres, layout, nearest_ascending

SVG = "{http://www.w3.org/2000/svg}"
GAP = 10.0


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """Inputs of boxes that have smaller numbers."""
    count = draw(st.integers(1, 12))
    return [
        draw(st.lists(st.integers(0, box - 1), max_size=3)) if box else [] for box in range(count)
    ]


@given(graphs())
@settings(max_examples=40, deadline=None)
def test_layouts(inputs: list[list[int]]) -> None:
    """Inputs lie above; each edge goes from row to row; boxes of a row keep their distance."""
    found = layout(inputs)
    row_of = {box: k for k, row in enumerate(found.rows) for box in row}
    assert sorted(row_of) == list(range(len(found.above)))
    edges = {(x, box) for box, own in enumerate(inputs) for x in own}
    assert set(found.bends) == edges
    for (start, end), way in found.bends.items():
        assert all(row_of[b] == row_of[a] + 1 for a, b in pairwise([start, *way, end]))
    widths = [20.0 + 7 * (k % 4) for k in range(len(found.above))]
    x = centres(found, widths, GAP)
    for row in found.rows:
        for a, b in pairwise(row):
            assert x[b] - x[a] >= (widths[a] + widths[b]) / 2 + GAP - 1e-6
    assert min(at - w / 2 for at, w in zip(x, widths, strict=True)) == pytest.approx(0, abs=1e-6)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_the_nearest_ascending_numbers(values: list[int]) -> None:
    """No ascending numbers on a grid of quarters are nearer."""
    found = nearest_ascending([float(v) for v in values])
    assert all(a <= b + 1e-12 for a, b in pairwise(found))
    best = np.sum((np.array(found) - values) ** 2)
    grid = [k / 2 for k in range(-6, 7)]
    for other in product(grid, repeat=len(values)):
        if all(a <= b for a, b in pairwise(other)):
            assert best <= np.sum((np.array(other) - values) ** 2) + 1e-9


def rectangles(picture: str) -> list[tuple[float, float, float, float]]:
    found = []
    for group in ElementTree.fromstring(picture).iter(f"{SVG}g"):
        place = re.match(r"translate\((\S+) (\S+)\)", group.get("transform", ""))
        rect = group.find(f"{SVG}rect")
        assert place is not None and rect is not None
        x, y = float(place[1]), float(place[2])
        found.append((x, y, x + float(rect.get("width", 0)), y + float(rect.get("height", 0))))
    return found


def points(path: str) -> list[tuple[float, float]]:
    """Points along a path of cubic curves."""
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", path)]
    corners = np.array(numbers).reshape(-1, 2)
    t = np.linspace(0, 1, 21)[:, None]
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    found: list[tuple[float, float]] = []
    for k in range(0, len(corners) - 1, 3):
        curve = sum(w * corners[k + i] for i, w in enumerate(weights))
        found += [(float(x), float(y)) for x, y in curve]
    return found


def test_arrows_go_around_boxes() -> None:
    """The documents' z = (y + x) x has an arrow from x over the sum: not behind it."""
    x, y = sf.input("x", ()), sf.input("y", ())
    rows, label = sf.input("rows", ("n", 4)), sf.input("label", ("n",), "int64")
    net = ops.softmax_cross_entropy(models.FNN([4, 5, 3], norm="layer")(rows), label).mean()
    for node in ((y + x) * x, net):
        picture = sf.draw(node)
        boxes = rectangles(picture)
        for a, b in ((a, b) for k, a in enumerate(boxes) for b in boxes[:k]):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], "boxes overlap"
        for path in re.findall(r'<path d="(M[^"]+)" fill="none"', picture):
            for px, py in points(path):
                for left, top, right, bottom in boxes:
                    inside = left + 1 < px < right - 1 and top + 1 < py < bottom - 1
                    assert not inside, (path, (left, top, right, bottom))
