"""Which of its parameters a session trains.

    Session(loss, train=[generator.parameters])         # these alone
    Session(loss, freeze=["encoder.*", w])              # all but these

An entry is a parameter, a dict of them, or a name, in which `*` and `?` stand for other characters.
Parameters that are trained and those that are not lie in different arrays, so that is settled when
the session is made. What the loss turns out not to depend on is left alone as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import Param
from staticflow.graph.node import Node
from staticflow.runtime.parameters import FlatArray


def chosen(params: Mapping[str, Node], train: Any, freeze: Any) -> list[Node]:
    """The parameters to train, in order of declaration.

    Those declared as trainable, unless `train` names others; without those that `freeze` names.
    """
    wanted = [n for n in params.values() if isinstance(n.op, Param) and n.op.trainable]
    if train is not None:
        named = set(_named("train", train, params))
        wanted = [n for n in params.values() if n in named and n.type.is_float]
    frozen = set() if freeze is None else set(_named("freeze", freeze, params))
    return [n for n in wanted if n not in frozen]


def _named(what: str, entries: Any, params: Mapping[str, Node]) -> Iterator[Node]:
    if isinstance(entries, str | Node | Mapping):
        entries = [entries]
    for entry in entries:
        if isinstance(entry, list | tuple):
            yield from _named(what, entry, params)
            continue
        found = list(_matching(entry, params))
        if not found:
            fail(
                GraphError,
                f"{what}: there is no such parameter",
                got=repr(entry)[:80],
                do=f"give nodes, dicts of them, or names of {', '.join(map(repr, params))}",
            )
        yield from found


def _matching(entry: Any, params: Mapping[str, Node]) -> Iterator[Node]:
    if isinstance(entry, Node):
        if params.get(entry.name) is entry:
            yield entry
    elif isinstance(entry, Mapping):
        for name, value in entry.items():
            yield from _matching(value if isinstance(value, Node) else name, params)
    elif isinstance(entry, str):
        if entry in params:
            yield params[entry]
        else:
            yield from (node for name, node in params.items() if fnmatchcase(name, entry))


def leave_alone(
    flat: FlatArray | None, extras: Mapping[str, NDArray[Any]], unreached: Sequence[Node]
) -> None:
    """Exempt parameters from weight decay; as their gradients are 0, nothing else moves them."""
    for span in () if flat is None or "decay_mask" not in extras else flat.spans:
        if span.node in unreached:
            extras["decay_mask"][span.start : span.start + span.count] = 0.0
