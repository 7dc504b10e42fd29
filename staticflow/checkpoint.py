"""Sessions in files: one safetensors file with weights, training state and the graph.

Weights and states are tensors under their names, so that any tool that reads safetensors reads
them; the optimizer's arrays and constants are tensors beside them. All else is JSON in the file's
metadata: the graph (`serialise.py`), optimizer, counters and the state of the random generator.
A digest covers all of it, and a file appears under its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.parameters import FlatArray
from staticflow.serialise import Decoder, Encoder, check_sizes
from staticflow.states import updates_of

if TYPE_CHECKING:
    from staticflow.session import Session

Array = NDArray[Any]
T = TypeVar("T")
VERSION = 1
DATA, DIGEST = "staticflow", "staticflow.sha256"


def save_session(session: Session, path: Any, extra: Mapping[str, Any] | None) -> None:
    """Write a session to a file; see `Session.save`."""
    with session._lock:
        data, tensors = describe(session, session.extra if extra is None else dict(extra))
        try:
            text = json.dumps(data, allow_nan=False)
        except (TypeError, ValueError) as error:
            fail(GraphError, f"save: extra must be plain data, as for JSON: {error}")
        _write(path, tensors, {DATA: text, DIGEST: _digest(text, tensors)})


def describe(session: Session, extra: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """A session as plain data and tensors, which are the session's own arrays."""
    encoder = Encoder()
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
    for slot, flat, values in _slots(session):
        slots[slot] = {}
        for part in flat.slots:
            key = _unused(f"optimizer:{slot}:{part.node.name}", tensors)
            slots[slot][part.node.name] = key
            tensors[key] = flat.view(part, values)
    data = {
        "version": VERSION,
        "graph": graph,
        "params": list(session.params),
        "states": states,
        "slots": slots,
        "seed": session.seed,
        "threads": session.threads,
        "check_numerics": session.check_numerics,
        "step_count": session.step_count,
        "epoch_count": session.epoch_count,
        "rng": session._rng.bit_generator.state,
        "extra": extra,
    }
    return data, tensors


def _unused(name: str, tensors: Mapping[str, Array]) -> str:
    """A key for a tensor: the name, unless another has it."""
    while name in tensors:
        name += "'"
    return name


def _slots(session: Session) -> Iterator[tuple[str, FlatArray, Array]]:
    """The optimizer's arrays, with the layout that they share with the parameters."""
    trainable = session._trainable()
    for name, values in session._slots.items():
        yield name, session._params.flats[(trainable[0].dtype, True)], values


def _digest(text: str, tensors: Mapping[str, Array]) -> str:
    state = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        array = np.asarray(tensors[key], order="C")
        state.update(f"\0{key}\0{array.dtype.name}\0{array.shape}\0".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def _write(path: Any, tensors: Mapping[str, Array], metadata: dict[str, str]) -> None:
    """Write a whole file, or leave what was there."""
    from safetensors.numpy import save_file

    target = Path(os.path.realpath(os.fspath(path)))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb"):
            pass  # a folder that cannot be written to is refused here, as any file is
        save_file({k: np.asarray(v, order="C") for k, v in tensors.items()}, temporary, metadata)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def load_session(path: Any, threads: int | None) -> Session:
    """Read a session from a file; see `Session.load`."""
    data, tensors = _read(path)
    if data is None:
        fail(
            GraphError,
            f"{path}: there are weights in this file, but no graph",
            do="build the graph in code, and use session.load_params(path)",
        )
    return _checked(path, lambda: restore(data, tensors, threads))


def restore(data: Mapping[str, Any], tensors: Mapping[str, Array], threads: int | None) -> Session:
    """A session from what `describe` gave."""
    from staticflow.session import Session

    graph = data["graph"]
    decoder = Decoder(graph["nodes"], graph["updates"], tensors)
    session = Session(
        loss=decoder.structure(graph["loss"]),
        outputs=decoder.structure(graph["outputs"]),
        metrics=decoder.structure(graph["metrics"]),
        optimizer=decoder.value(graph["optimizer"]),
        seed=data["seed"],
        threads=min(data["threads"], os.cpu_count() or 1) if threads is None else threads,
        check_numerics=data["check_numerics"],
    )
    check_sizes([*session._roots(), *updates_of(session.states.nodes.values())])
    for name in data["params"]:
        _fill(session.params[name], tensors[name], name)
    for name, key in data["states"].items():
        _fill(session.states[name], tensors[key], name)
    for slot, flat, values in _slots(session):
        for part in flat.slots:
            name = part.node.name
            _fill(flat.view(part, values), tensors[data["slots"][slot][name]], name)
    session.step_count, session.epoch_count = data["step_count"], data["epoch_count"]
    session._rng.bit_generator.state = data["rng"]
    session.extra = data["extra"]
    return session


def _fill(target: Array, values: Array, name: str) -> None:
    if target.ndim == 0 and values.shape == (1,):
        values = values[0]  # as version 0.1.0 wrote scalars
    if target.shape != values.shape or target.dtype != values.dtype:
        fail(
            GraphError,
            f"{name!r} is {target.dtype}{target.shape} in the graph",
            got=f"{values.dtype}{values.shape} among the tensors",
        )
    target[...] = values


def read_params(path: Any) -> dict[str, Array]:
    """The parameters and states in a file; all tensors of one that another tool wrote."""
    data, tensors = _read(path)
    if data is None:
        return tensors

    def named() -> dict[str, Array]:
        states = {name: tensors[key] for name, key in data["states"].items()}
        return {**{name: tensors[name] for name in data["params"]}, **states}

    return _checked(path, named)


def _read(path: Any) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    """The data and tensors of a file; no data for a file that staticflow did not write."""
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if Path(name).is_dir():
        fail(GraphError, f"{name}: this is a folder, not a file")
    try:
        with safe_open(name, "np") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, TypeError, ValueError, KeyError, AttributeError) as error:
        _damaged(name, str(error))
    if DATA not in metadata:
        return None, tensors
    text = metadata[DATA]
    if metadata.get(DIGEST) != _digest(text, tensors):
        _damaged(name, "its content is not what was saved")
    data = _checked(name, lambda: json.loads(text))
    check_version(name, data)
    return data, tensors


def check_version(name: str, data: Any) -> None:
    """Refuse data that another staticflow described in another way."""
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        fail(
            GraphError,
            f"{name}: version {version} of the file format is not known",
            got=f"this staticflow reads version {VERSION}",
            do="load it with the version of staticflow that saved it",
        )


def _checked(path: Any, read: Callable[[], T]) -> T:
    """What `read` gives; its errors name the file."""
    with _naming(os.fspath(path)):
        return read()


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except (GraphError, ShapeError, DTypeError) as error:
        raise GraphError(f"{name}: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, SyntaxError) as error:
        _damaged(name, f"{type(error).__name__}: {error}")
    except RecursionError:
        _damaged(name, "nested too deeply")


def _damaged(name: str, why: str) -> NoReturn:
    fail(
        GraphError,
        f"{name}: the file is damaged, or not a safetensors file",
        got=why,
        do="save it again, or take a copy",
    )
