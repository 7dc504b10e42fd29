"""The arrays that an optimizer keeps, and what parameters declare for it, by element.

Both have the layout of the flat array of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import Param
from staticflow.graph.node import Node
from staticflow.optim.algorithms import Optimizer
from staticflow.runtime.parameters import ParameterStore

Arrays = dict[str, NDArray[Any]]


def make_slots(
    store: ParameterStore, trainable: Sequence[Node], optimizer: Optimizer
) -> tuple[Arrays, Arrays]:
    """The optimizer's slots at the start, and the masks and scales of the parameters."""
    dtypes = {node.dtype for node in trainable}
    if len(dtypes) > 1:
        fail(
            GraphError,
            "all trainable parameters must have one dtype",
            got=", ".join(sorted(dtypes)),
            do="declare them with one dtype and cast inside the graph",
        )
    slots: Arrays = {}
    extras: Arrays = {}
    if not trainable:
        return slots, extras
    flat = store.flats[(trainable[0].dtype, True)]
    for name in optimizer.slots:
        slots[name] = flat.like()
        slots[name][:] = optimizer.slot_init(name)
    extras = {"decay_mask": flat.like(), "lr_scale": flat.like()}
    for span in flat.spans:
        param = span.node.op
        assert isinstance(param, Param)
        own = slice(span.start, span.start + span.count)
        extras["decay_mask"][own] = param.decay
        extras["lr_scale"][own] = param.lr_scale
    return slots, extras
