"""Where the boxes of a drawing stand: in layers from the leaves down, with few crossings.

Results lie as deep as the longest way from a leaf is long, everything else just above the first
that uses it. An edge over several layers has a bend in each between, which takes place as a box
does, so that it goes around the others (Sugiyama, Tagawa and Toda, 1981). Within a layer, boxes
stand in the order of the mean place of their neighbours, found by a few sweeps down and up, and
then as near to them as they fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

SWEEPS = 8

Edges = Sequence[Sequence[int]]  # of each box, the boxes that it is made of
Rows = list[list[int]]


@dataclass(frozen=True)
class Layout:
    """Boxes and bends by rows from the top down; bends have the numbers after the boxes."""

    rows: Rows
    bends: dict[tuple[int, int], list[int]]  # of each long edge, from the top down
    above: list[list[int]]  # of each box or bend, those next to it in the row above
    below: list[list[int]]


def layout(inputs: Edges) -> Layout:
    """Layers for boxes whose inputs have smaller numbers; `inputs` may name one twice."""
    depth: list[int] = []
    for own in inputs:
        depth.append(max((depth[x] + 1 for x in own), default=0))
    users = turned(inputs)
    for box in reversed(range(len(depth))):
        if users[box]:
            depth[box] = min(depth[user] for user in users[box]) - 1
    above: list[list[int]] = [[] for _ in inputs]
    bends: dict[tuple[int, int], list[int]] = {}
    for end, own in enumerate(inputs):
        for start in dict.fromkeys(own):
            way = [len(depth) + k for k in range(depth[end] - depth[start] - 1)]
            depth += range(depth[start] + 1, depth[end])
            above += [[] for _ in way]
            for upper, lower in pairwise([start, *way, end]):
                above[lower].append(upper)
            bends[start, end] = way
    rows: Rows = [[] for _ in range(max(depth, default=0) + 1)]
    for box, row in enumerate(depth):
        rows[row].append(box)
    below = turned(above)
    return Layout(_ordered(rows, above, below), bends, above, below)


def turned(inputs: Edges) -> list[list[int]]:
    """The users of each box."""
    users: list[list[int]] = [[] for _ in inputs]
    for box, own in enumerate(inputs):
        for x in dict.fromkeys(own):
            users[x].append(box)
    return users


def _ordered(rows: Rows, above: Edges, below: Edges) -> Rows:
    place = {box: float(k) for row in rows for k, box in enumerate(row)}
    for sweep in range(SWEEPS):
        neighbours, way = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for row in way:
            wished = {box: _mean([place[x] for x in neighbours[box]], place[box]) for box in row}
            row.sort(key=wished.__getitem__)
            place.update({box: float(k) for k, box in enumerate(row)})
    return rows


def centres(found: Layout, widths: Sequence[float], gap: float) -> list[float]:
    """The middle of each box or bend, the leftmost of which begins at 0."""
    x = [0.0] * len(widths)
    for row in found.rows:
        for box, offset in zip(row, _offsets(row, widths, gap), strict=True):
            x[box] = offset
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        sides = found.above if down else found.below
        for row in found.rows if down else found.rows[::-1]:
            wished = [_mean([x[n] for n in sides[box]], x[box]) for box in row]
            offsets = _offsets(row, widths, gap)
            free = [w - offset for w, offset in zip(wished, offsets, strict=True)]
            for box, at, offset in zip(row, nearest_ascending(free), offsets, strict=True):
                x[box] = at + offset
    left = min((x[box] - width / 2 for box, width in enumerate(widths)), default=0.0)
    return [at - left for at in x]


def _offsets(row: Sequence[int], widths: Sequence[float], gap: float) -> list[float]:
    """The middles of the boxes of a row that stand side by side."""
    steps = [(widths[a] + widths[b]) / 2 + gap for a, b in pairwise(row)]
    return list(accumulate([0.0, *steps]))


def nearest_ascending(values: Sequence[float]) -> list[float]:
    """The ascending numbers with the least squared distance from `values`.

    By pooling adjacent violators (Barlow and others, 1972).
    """
    pools: list[tuple[float, int]] = []  # the sum and number of values that become their mean
    for value in values:
        total, count = value, 1
        while pools and pools[-1][0] * count > total * pools[-1][1]:
            more, others = pools.pop()
            total, count = total + more, count + others
        pools.append((total, count))
    return [total / count for total, count in pools for _ in range(count)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
