"""Sessions in files: one safetensors file with weights, training state and the graph.

Weights and states are tensors under their names, so that any tool that reads safetensors reads
them; the optimizer's arrays and constants are tensors beside them. All else is JSON in the file's
metadata: the graph (`serialise.py`), optimizer, counters and the state of the random generator.
A digest covers all of it, and a file appears under its name only when it is complete (`files.py`).
`restore.py` reads it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.file_version import written
from staticflow.parameters import FlatArray
from staticflow.serialise import Encoder
from staticflow.tensor_file import write_tensors

if TYPE_CHECKING:
    from staticflow.session import Session

Array = NDArray[Any]
DATA, DIGEST = "staticflow", "staticflow.sha256"


def save_session(session: Session, path: Any, extra: Mapping[str, Any] | None) -> None:
    """Write a session to a file; see `Session.save`."""
    with session._lock:
        data, tensors = describe(session, session.extra if extra is None else dict(extra))
        try:
            text = json.dumps(data)  # an infinite float in extra is Infinity, as Python reads it
        except (TypeError, ValueError, RecursionError) as error:
            fail(GraphError, f"save: extra must be plain data, as for JSON: {error}")
        write_tensors(path, tensors, {DATA: text, DIGEST: digest_of(text, tensors)})


def describe(session: Session, extra: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """A session as plain data and tensors, which are the session's own arrays."""
    encoder = Encoder(session.params)
    optimizer = encoder.value(session.optimizer)
    encoder.structure(list(session.states.nodes.values()))
    graph = {
        "outputs": encoder.structure(session.outputs),
        "metrics": encoder.structure(session.metrics),
        "loss": encoder.structure(session.loss),
        "optimizer": optimizer,
        "updates": encoder.updates(),
        "nodes": encoder.nodes,
    }
    tensors = {**encoder.tensors, **session.params}
    states = {name: _unused(name, tensors) for name in session.states}
    tensors |= {key: session.states[name] for name, key in states.items()}
    slots: dict[str, dict[str, str]] = {}
    for slot, flat, values in slots_of(session):
        slots[slot] = {}
        for part in flat.slots:
            key = _unused(f"optimizer:{slot}:{part.node.name}", tensors)
            slots[slot][part.node.name] = key
            tensors[key] = flat.view(part, values)
    data = {
        **written(),
        "graph": graph,
        "params": list(session.params),
        "trained": [node.name for node in session._trained],
        "states": states,
        "slots": slots,
        "seed": session.seed,
        "threads": session.threads,
        "check_numerics": session.check_numerics,
        "step_count": session.step_count,
        "epoch_count": session.epoch_count,
        "run_count": session.run_count,
        "rng": session._rng.bit_generator.state,
        "extra": extra,
    }
    return data, tensors


def _unused(name: str, tensors: Mapping[str, Array]) -> str:
    """A key for a tensor: the name, unless another has it."""
    while name in tensors:
        name += "'"
    return name


def slots_of(session: Session) -> Iterator[tuple[str, FlatArray, Array]]:
    """The optimizer's arrays, with the layout that they share with the parameters."""
    for name, values in session._slots.items():
        yield name, session._params.flats[(session._trained[0].dtype, True)], values


def digest_of(text: str, tensors: Mapping[str, Array]) -> str:
    state = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        array = np.asarray(tensors[key], order="C")
        state.update(f"\0{key}\0{array.dtype.name}\0{array.shape}\0".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()
