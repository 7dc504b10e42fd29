"""The optimizer's program, bound to a slice of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.passes.sharding import SHARE
from staticflow.graph.leaves import Hyper
from staticflow.graph.node import Node
from staticflow.native.memory import Array
from staticflow.runtime.parameters import FlatArray, ParameterStore
from staticflow.runtime.program import Frame, Scratch
from staticflow.training.step_programs import ELEMENTS, NextState, StepPrograms, UpdateLeaf


@dataclass(frozen=True)
class StepValues:
    """What a session has that its training steps read and change.

    `slots` are the optimizer's arrays and `extras` masks and scales, by name, both laid out as the
    flat array of the trained parameters; `lr` and `seed` are a number each, and so are `decay`
    and `member`, the number, of a member of several.
    """

    params: ParameterStore
    states: ParameterStore
    slots: Mapping[str, Array]
    extras: Mapping[str, Array]
    lr: NDArray[np.float64]
    seed: NDArray[np.int64]
    decay: NDArray[np.float64] | None = None
    member: NDArray[np.int64] | None = None


def following(states: Mapping[str, Array]) -> dict[UpdateLeaf, Array]:
    """The next values of states, by the names that the update has for them."""
    return {NextState(name): values for name, values in states.items()}


def update_frame(
    programs: StepPrograms,
    values: StepValues,
    flat: FlatArray,
    part: range,
    given: Mapping[UpdateLeaf, Array],
    scratch: Scratch,
    share: Callable[[Node], Array],
) -> Frame:
    """The update's tables for a part of the flat array of the trained parameters.

    `given` has the whole gradient ("g"), the step's number ("step") and the states' next values, by
    the names of the update's leaves; `share` makes the number that says which part of a whole a
    slice is.
    """
    update = programs.update
    assert update is not None
    sizes, whole = {ELEMENTS: len(part)}, {ELEMENTS: flat.size}
    frame = update.frame(sizes, whole, part.start, scratch)
    for node, buffer in update.leaves.items():
        if isinstance(node.op, Hyper) and node.op.label == SHARE:
            frame.bind(buffer, share(node).ctypes.data)
    flats = {"p": flat.data, "g": given["g"], **values.slots, **values.extras}
    for name, node in programs.update_leaves.items():
        if node not in update.leaves:
            continue
        if isinstance(name, str) and name in flats:
            address = flats[name].ctypes.data + part.start * flat.data.itemsize
        elif name == "lr":
            address = values.lr.ctypes.data
        elif name == "weight_decay" and values.decay is not None:
            address = values.decay.ctypes.data
        elif name == "member" and values.member is not None:
            address = values.member.ctypes.data
        elif name in given:
            address = given[name].ctypes.data
        else:
            address = values.states.address(node)
        frame.bind(update.leaves[node], address)
    return frame
