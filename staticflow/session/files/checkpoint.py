"""Sessions in files: one safetensors file with weights, training state and the graph.

Weights and states are tensors under their names, so that any tool that reads safetensors reads
them; the optimizer's arrays and constants are tensors beside them. All else is JSON in the file's
metadata: the graph (`graph_json`), optimizer, counters and the state of the random generator.
A digest covers all of it, and a file appears under its name only when it is complete
(`atomic_file`). `restore` reads it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.native.memory import Array
from staticflow.runtime.graph_json import Encoder
from staticflow.runtime.parameters import FlatArray
from staticflow.session.files.file_version import written
from staticflow.session.files.tensor_file import write_tensors
from staticflow.session.state.session_state import SessionState

DATA, DIGEST = "staticflow", "staticflow.sha256"


def save(state: SessionState, path: Any, extra: Mapping[str, Any] | None) -> None:
    """Write a session to a file; see `Session.save`."""
    with state.lock:
        data, tensors = describe(state, state.extra if extra is None else dict(extra))
        try:
            text = json.dumps(data)  # an infinite float in extra is Infinity, as Python reads it
        except (TypeError, ValueError, RecursionError) as error:
            fail(GraphError, f"save: extra must be plain data, as for JSON: {error}")
        write_tensors(path, tensors, {DATA: text, DIGEST: digest_of(text, tensors)})


def snapshot(state: SessionState) -> tuple[dict[str, Any], dict[str, Array]]:
    """A session as plain data and tensors that do not change when it goes on."""
    with state.lock:
        data, tensors = describe(state, state.extra)
        return data, {name: np.array(values) for name, values in tensors.items()}


def describe(
    state: SessionState, extra: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """A session as plain data and tensors, which are the session's own arrays."""
    encoder = Encoder(state.params)
    optimizer = encoder.value(state.optimizer)
    encoder.structure(list(state.states.nodes.values()))
    graph = {
        "outputs": encoder.structure(state.graph.outputs),
        "metrics": encoder.structure(state.graph.metrics),
        "loss": encoder.structure(state.graph.loss),
        "optimizer": optimizer,
        "updates": encoder.updates(),
        "nodes": encoder.nodes,
    }
    tensors = {**encoder.tensors, **state.params}
    states = {name: _unused(name, tensors) for name in state.states}
    tensors |= {key: state.states[name] for name, key in states.items()}
    slots: dict[str, dict[str, str]] = {}
    for slot, flat, values in slots_of(state):
        slots[slot] = {}
        for span in flat.spans:
            key = _unused(f"optimizer:{slot}:{span.node.name}", tensors)
            slots[slot][span.node.name] = key
            tensors[key] = flat.view(span, values)
    accumulated = {} if state.accumulated is None else {"accumulated": _gathered(state, tensors)}
    data = {
        **written(),
        "graph": graph,
        "params": list(state.params),
        "trained": [node.name for node in state.trained],
        "states": states,
        "slots": slots,
        "seed": state.seed,
        "threads": state.threads,
        "check_numerics": state.check_numerics,
        **state.position(),
        "extra": extra,
        **accumulated,
    }
    return data, tensors


def _gathered(state: SessionState, tensors: dict[str, Array]) -> dict[str, Any]:
    """The gradients that wait for their update, whose tensors are entered here."""
    gathered = state.accumulated
    assert gathered is not None
    flat = state.params.flats[(state.trained[0].dtype, True)]
    keys = {}
    for span in flat.spans:
        key = keys[span.node.name] = _unused(f"accumulated:{span.node.name}", tensors)
        tensors[key] = flat.view(span, gathered.total)
    numbers = {name: getattr(gathered, name) for name in ("rows", "batches", "loss", "along")}
    return {"tensors": keys, **numbers}


def _unused(name: str, tensors: Mapping[str, Array]) -> str:
    """A key for a tensor: the name, unless another has it."""
    while name in tensors:
        name += "'"
    return name


def slots_of(state: SessionState) -> Iterator[tuple[str, FlatArray, Array]]:
    """The optimizer's arrays, with the layout that they share with the parameters."""
    for name, values in state.slots.items():
        yield name, state.params.flats[(state.trained[0].dtype, True)], values


def digest_of(text: str, tensors: Mapping[str, Array]) -> str:
    state = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        array = np.asarray(tensors[key], order="C")
        state.update(f"\0{key}\0{array.dtype.name}\0{array.shape}\0".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()
