"""Weights to and from PyTorch: modules, their state dicts, and safetensors files of these.

PyTorch keeps matrices as (out, in), we as (in, out); all else is a matter of names.
"""

from __future__ import annotations

import importlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.errors import fail
from staticflow.models.fnn import FNN
from staticflow.models.rnn import RNN
from staticflow.models.torch_modules import Module, Slot, Unit, modules_of, pair, refuse, units_of
from staticflow.session.files.tensor_file import read_tensors

Array = NDArray[Any]


def from_torch_state(state: Any, model: Any) -> dict[str, Array]:
    """The parameters of `model` by name, for `session.load_params`.

    `state` is a module, its state dict, or the path of a safetensors file with one; `model` an FNN,
    an RNN, the parameter of an embedding (a node), a list of these in the order of the modules, or
    a dict from the names of modules to them: {"encoder.rnn": rnn, "head": fnn}. Modules without
    weights are passed over, biases that are missing are 0; what is tied may be there twice. Names
    are put in order by their numbers. Files in bfloat16 become float32, exactly.

    Raises GraphError, with both lists side by side, where names or shapes do not fit.
    """
    arrays, ordered = _read(state)
    found: dict[str, Array] = {}
    used: set[str] = set()
    for prefix, part in _parts(model):
        inner = {
            key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)
        }
        units = units_of(part)
        modules = _without_tied(modules_of(inner), units)
        for unit, module in pair(units, modules, ordered, part):
            for slot in unit.slots:
                found[slot.ours] = _ours(module, slot)
                used.add(_key(prefix, module, slot.part))
    _check_rest(arrays, used, model)
    return found


def to_torch_state(session: Any, model: Any, like: Any = None) -> dict[str, Any]:
    """The state dict of the PyTorch module that `model` stands for, as tensors for
    `load_state_dict`.

    That is nn.Linear for a single dense layer, else nn.Sequential of Linear, the norm if there is
    one, the activation, Dropout if there is any, for each hidden layer, and a last Linear; for a
    recurrent network nn.RNN, nn.LSTM or nn.GRU. With `like`, a module or its state dict, it has the
    names of that, for any model that `from_torch_state` takes; a bias that the module has not must
    be 0.
    """
    torch = importlib.import_module("torch")
    values = {**session.params, **getattr(session, "states", {})}
    if like is None:
        names = _rnn_names(model) if isinstance(model, RNN) else _sequential_names(model)
        return {
            theirs: torch.from_numpy(np.array(_turned(values[slot.ours], slot), order="C"))
            for slot, theirs in names
        }
    arrays, ordered = _read(like)
    result: dict[str, Any] = dict(_tensors(like))
    for prefix, part in _parts(model):
        inner = {k[len(prefix) :]: a for k, a in arrays.items() if k.startswith(prefix)}
        units = units_of(part)
        for unit, module in pair(units, _without_tied(modules_of(inner), units), ordered, part):
            for slot in unit.slots:
                value = _turned(values[slot.ours], slot)
                if slot.part not in module.parts:
                    _check_absent(slot, value)
                    continue
                key = _key(prefix, module, slot.part)
                made = torch.from_numpy(np.array(value, order="C"))
                for name in _tied(arrays, key):
                    result[name] = made
    return result


def _tied(arrays: Mapping[str, Array], key: str) -> list[str]:
    """The keys that are one tensor."""
    return [k for k, a in arrays.items() if k == key or np.shares_memory(a, arrays[key])]


def _check_absent(slot: Slot, value: Array) -> None:
    if not np.all(value == slot.otherwise):
        fail(
            sf.GraphError,
            f"to_torch_state: the module has no {slot.part}, and {slot.ours} is not all "
            f"{slot.otherwise:g}",
            do="give a module that has one",
        )


def _parts(model: Any) -> Iterator[tuple[str, Any]]:
    """The models, each with what stands before the names of its modules."""
    if isinstance(model, Mapping):
        for name, part in model.items():
            yield f"{name}." if name else "", part
    else:
        yield "", model


def _read(state: Any) -> tuple[dict[str, Array], bool]:
    """The arrays by key, and whether their order is that of a module."""
    if isinstance(state, str | os.PathLike):
        if Path(state).suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
            fail(
                sf.GraphError,
                f"{os.fspath(state)}: this is a pickle, which can run anything when it is opened",
                do="save it with safetensors.torch.save_file(module.state_dict(), path)",
            )
        return read_tensors(state)[1], False
    given = _tensors(state)
    ordered = isinstance(given, OrderedDict) or hasattr(given, "_metadata")
    return {key: _array(value) for key, value in given.items()}, ordered


def _tensors(state: Any) -> Mapping[str, Any]:
    given = state.state_dict() if hasattr(state, "state_dict") else state
    if not isinstance(given, Mapping):
        fail(
            sf.GraphError,
            "from_torch_state: this is no state",
            got=repr(state)[:80],
            do="give a module, its state dict, or the path of a safetensors file",
        )
    return given


def _without_tied(modules: Sequence[Module], units: Sequence[Unit]) -> list[Module]:
    """Modules that are wanted, where one whose weight is another's is there twice."""
    spare = len(modules) - len(units)
    kept: list[Module] = []
    for module in modules:
        weight = module.parts.get("weight")
        tied = spare > 0 and weight is not None and set(module.parts) <= {"weight"}
        if tied and any(np.array_equal(weight, m.parts.get("weight")) for m in kept):  # type: ignore[arg-type]
            spare -= 1
            continue
        kept.append(module)
    return kept


def _check_rest(arrays: Mapping[str, Array], used: set[str], model: Any) -> None:
    """What is left over of a state must be tied to what was taken."""
    for key, array in arrays.items():
        if key in used or key.endswith("num_batches_tracked"):
            continue
        if not any(np.array_equal(array, arrays[k]) for k in used if k in arrays):
            units = [unit for _, part in _parts(model) for unit in units_of(part)]
            refuse(units, modules_of(arrays), model)


def _key(prefix: str, module: Module, part: str) -> str:
    return f"{prefix}{module.name}.{part}" if module.name else f"{prefix}{part}"


def _ours(module: Module, slot: Slot) -> Array:
    given = module.parts.get(slot.part)
    if given is None:
        like = next(iter(module.parts.values())).dtype
        return np.full(slot.shape, slot.otherwise, like)
    return _turned(given, slot)


def _turned(array: Array, slot: Slot) -> Array:
    """A matrix transposed, unless it is the same in both; a vector as it is."""
    return np.ascontiguousarray(array.T if slot.turned else array)


def _rnn_names(model: RNN) -> list[tuple[Slot, str]]:
    (unit,) = units_of(model)
    return [(slot, slot.part) for slot in unit.slots]


def _sequential_names(model: FNN) -> list[tuple[Slot, str]]:
    """Our parameters with their names in an nn.Sequential, or in a single nn.Linear."""
    units = units_of(model)
    if len(units) == 1:
        return [(slot, slot.part) for slot in units[0].slots]
    stride = 2 + bool(model.norms) + bool(model.dropout)
    place, names = 0, []
    for unit in units:
        at = place if unit.kind == "matrix" else place - stride + 1
        names += [(slot, f"{at}.{slot.part}") for slot in unit.slots]
        place += stride if unit.kind == "matrix" else 0
    return names


def _array(value: Any) -> Array:
    """The array of a tensor, in its memory; bfloat16 and float16 as float32, which holds both."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    if str(tensor.dtype) in ("torch.bfloat16", "torch.float16"):
        tensor = tensor.float()
    return np.asarray(tensor)
