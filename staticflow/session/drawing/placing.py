"""Where the boxes of a drawing stand: in layers from the leaves down, with few crossings.

A layer holds the nodes whose longest way from a leaf is equally long; within a layer, nodes stand
in the order of the mean place of their neighbours, found by a few sweeps down and up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from staticflow.graph.node import Node

SWEEPS = 4

Edges = Mapping[Node, Sequence[Node]]


def layers(order: Sequence[Node], inputs: Edges) -> list[list[Node]]:
    """The nodes by layers; `order` has inputs first. A leaf stands just above its first user."""
    depth: dict[Node, int] = {}
    for node in order:
        depth[node] = max((depth[x] + 1 for x in inputs[node]), default=0)
    users = turned(order, inputs)
    for node in order:
        if not inputs[node] and users[node]:
            depth[node] = min(depth[user] for user in users[node]) - 1
    rows: list[list[Node]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for node in order:
        rows[depth[node]].append(node)
    return _ordered(rows, inputs, users)


def turned(order: Sequence[Node], inputs: Edges) -> dict[Node, list[Node]]:
    """The users of each node."""
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for x in inputs[node]:
            users[x].append(node)
    return users


def _ordered(rows: list[list[Node]], inputs: Edges, users: Edges) -> list[list[Node]]:
    place = {node: float(k) for row in rows for k, node in enumerate(row)}
    for sweep in range(SWEEPS):
        neighbours, way = (inputs, rows) if sweep % 2 == 0 else (users, rows[::-1])
        for row in way:
            row.sort(key=_mean_place(place, neighbours))
            place.update({node: float(k) for k, node in enumerate(row)})
    return rows


def _mean_place(place: Mapping[Node, float], neighbours: Edges) -> Callable[[Node], float]:
    def mean(node: Node) -> float:
        near = [place[x] for x in neighbours[node]]
        return sum(near) / len(near) if near else place[node]

    return mean
