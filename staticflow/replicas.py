"""Sessions copied within a process, and sessions and functions pickled for another one.

A copy has the graph itself, which cannot change, so that it takes the same nodes as the original;
its values are its own. What is pickled is the graph as data, as in a saved file.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from staticflow.file_version import check_version, written
from staticflow.stateless import Function
from staticflow.structure import flatten

if TYPE_CHECKING:
    from staticflow.session import Session

Tensors = dict[str, NDArray[Any]]
Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


def copy_session(session: Session, memo: dict[int, Any]) -> Session:
    """A session of the same graph with the same values, apart from the original from now on."""
    from staticflow.session import Session

    with session._lock:
        new = Session(
            session.loss, session.outputs, session.metrics, session.optimizer, None, session.seed,
            session.threads, session.check_numerics, session._trained,
        )  # fmt: skip
        for mine, theirs in ((new._params, session._params), (new._states, session._states)):
            for key, flat in theirs.flats.items():
                mine.flats[key].data[:] = flat.data
        for name, values in session._slots.items():
            new._slots[name][:] = values
        new.step_count, new.epoch_count = session.step_count, session.epoch_count
        new.run_count = session.run_count
        new._rng.bit_generator.state = session._rng.bit_generator.state
        new.extra = copy.deepcopy(session.extra, memo)
        return new


def reduce_session(session: Session) -> Reduced:
    """What pickle makes a session of; the random state and the position go with it."""
    from staticflow.checkpoint import describe

    with session._lock:
        data, tensors = describe(session, session.extra)
        return _session, (data, _copied(tensors))


def _session(data: dict[str, Any], tensors: Tensors) -> Session:
    from staticflow.restore import checked, restore

    check_version("a pickled session", data)
    return checked("a pickled session", lambda: restore(data, tensors, None))


def _reduce_function(function: Function) -> Reduced:
    from staticflow.serialise import Encoder

    encoder = Encoder()
    data = {
        **written(),
        "inputs": encoder.structure(list(function.inputs)),
        "outputs": encoder.structure(function.outputs),
        "seed": function.seed,
        "nodes": encoder.nodes,
    }
    return _function, (data, encoder.tensors)


def _function(data: dict[str, Any], tensors: Tensors) -> Function:
    from staticflow.decode import Decoder, check_sizes
    from staticflow.restore import checked

    def made() -> Function:
        decoder = Decoder(data["nodes"], [], tensors)
        inputs, outputs = (decoder.structure(data[key]) for key in ("inputs", "outputs"))
        check_sizes(flatten(outputs))
        return Function(inputs, outputs, data.get("seed", 0))

    check_version("a pickled function", data)
    return checked("a pickled function", made)


def _copied(tensors: Tensors) -> Tensors:
    """The arrays as they are now: a session goes on writing to its own."""
    return {name: np.array(values) for name, values in tensors.items()}


copyreg.pickle(Function, _reduce_function)
