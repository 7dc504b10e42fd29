"""States and their updates: which of them belong to a session.

    mean = sf.state("mean", ())
    sf.update(mean, 0.9 * mean + 0.1 * loss)

A state belongs to a session whose loss, metrics or outputs read it, and also to one that can
compute its update from what the loss and the metrics need anyway: a running average that nobody
reads but the user is kept as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from staticflow.graph.leaves import Input, Leaf, Param, State
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves


def add_update(state: Node, value: Node) -> None:
    """Note that a training step sets a state to a value, and what the value is computed from."""
    assert isinstance(state.op, State)
    state.op.updates.append(value)
    for leaf in leaves([value], Leaf):
        if isinstance(leaf.op, Leaf) and leaf is not state:
            leaf.op.followers.append(state)


def updates_of(states: Iterable[Node]) -> list[Node]:
    """The values that a training step sets the states to."""
    return [u for s in states if isinstance(s.op, State) for u in s.op.updates[-1:]]


def states_of(roots: Sequence[Node], training: Sequence[Node]) -> list[Node]:
    """The states that roots, or the updates of such states, reach, and those that follow from what
    the training roots reach.
    """
    found: list[Node] = []
    while True:
        updates = updates_of(found)
        followers = _followers(leaves([*training, *updates, *found], Leaf))
        more = leaves([*roots, *updates, *followers], State)
        if len(more) == len(found):
            return more
        found = more


def _followers(known: Sequence[Node]) -> list[Node]:
    """The states with updates that need no further input or parameter."""
    ops = {leaf.op for leaf in known}
    states = [s for leaf in known if isinstance(leaf.op, Leaf) for s in leaf.op.followers]
    return [
        state
        for state in dict.fromkeys(states)
        if all(
            leaf.op in ops
            for leaf in leaves(updates_of([state]), Leaf)
            if isinstance(leaf.op, Input | Param)
        )
    ]
