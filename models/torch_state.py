"""Weights to and from the state dicts of PyTorch's nn.Linear, nn.Sequential, nn.RNN, LSTM and GRU.

PyTorch keeps matrices as (out, in), we as (in, out); all else is a matter of names.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.errors import fail
from staticflow.models.fnn import FNN
from staticflow.models.rnn import RNN

Array = NDArray[Any]
_NUMBER = re.compile(r"\d+")


def from_torch_state(state_dict: Mapping[str, Any], model: FNN | RNN) -> dict[str, Array]:
    """The parameters of `model` by name, for `session.load_params`.

    A network of dense layers takes the state of an nn.Linear or of an nn.Sequential of Linear,
    BatchNorm1d, LayerNorm and modules without weights; its layers are matched in order, that of
    their numbers where a file has sorted them as text.
    """
    arrays = {key: _array(value) for key, value in state_dict.items()}
    arrays = {key: a for key, a in arrays.items() if not key.endswith("num_batches_tracked")}
    names = _rnn_names(model) if isinstance(model, RNN) else _fnn_names(model, arrays)
    arrays = _without_prefix(arrays) if isinstance(model, RNN) else arrays
    _check_keys(arrays, names.values(), model)
    return {ours: _turned(arrays[theirs]) for ours, theirs in names.items()}


def to_torch_state(session: Any, model: FNN | RNN) -> dict[str, Any]:
    """The state dict of the PyTorch module like `model`, as tensors for `load_state_dict`.

    That is nn.Linear for a single dense layer, else nn.Sequential of Linear, the norm if there is
    one, the activation, Dropout if there is any, for each hidden layer, and a last Linear; for a
    recurrent network nn.RNN, nn.LSTM or nn.GRU.
    """
    torch = importlib.import_module("torch")
    names = _rnn_names(model) if isinstance(model, RNN) else _sequential_names(model)
    values = {**session.params, **getattr(session, "states", {})}
    return {
        theirs: torch.from_numpy(np.array(_turned(values[ours]), order="C"))
        for ours, theirs in names.items()
    }


def _rnn_names(model: RNN) -> dict[str, str]:
    """Our names to PyTorch's."""
    return {
        f"{direction.prefix}.{kind}": f"{kind}_l{k}{'_reverse' if direction.reverse else ''}"
        for k, layer in enumerate(model.layers)
        for direction in layer
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }


def _fnn_names(model: FNN, arrays: Mapping[str, Array]) -> dict[str, str]:
    """Our names to the keys at hand: modules with a matrix are dense layers, others are norms."""
    modules = _in_order(list(dict.fromkeys(key.rpartition(".")[0] for key in arrays)))
    dense = [m for m in modules if np.ndim(arrays.get(_key(m, "weight"), 0)) == 2]
    norms = [m for m in modules if m not in dense]
    if (len(dense), len(norms)) != (len(model.layers), len(model.norms)):
        fail(
            sf.GraphError,
            f"from_torch_state: the state is not that of {model}",
            got=f"{len(dense)} dense layers and {len(norms)} norms",
            do=f"give {len(model.layers)} dense layers and {len(model.norms)} norms",
        )
    return _paired(model, dense, norms)


def _in_order(modules: list[str]) -> list[str]:
    """Modules in the order of their numbers, if they have lost it: files sort keys as text, 10
    before 2. A state dict that is not sorted so has the order of the module itself.
    """
    words = {tuple(_NUMBER.split(name)) for name in modules}
    if len(words) > 1 or modules != sorted(modules):
        return modules
    return sorted(modules, key=lambda name: [int(digits) for digits in _NUMBER.findall(name)])


def _sequential_names(model: FNN) -> dict[str, str]:
    """Our names to those of an nn.Sequential."""
    if len(model.layers) == 1:
        return _paired(model, [""], [])
    stride = 2 + bool(model.norms) + bool(model.dropout)
    places = [k * stride for k in range(len(model.layers))]
    return _paired(model, map(str, places), [str(k + 1) for k in places[: len(model.norms)]])


def _paired(model: FNN, dense: Iterable[str], norms: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for layer, module in zip(model.layers, dense, strict=True):
        for kind in ("weight", "bias"):
            names[f"{layer.prefix}.{kind}"] = _key(module, kind)
    for norm, module in zip(model.norms, norms, strict=True):
        for kind in ("weight", "bias", *norm.states):
            names[f"{norm.prefix}.{kind}"] = _key(module, kind)
    return names


def _key(module: str, kind: str) -> str:
    return f"{module}.{kind}" if module else kind


def _without_prefix(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The last part of each key, if all parts before it agree."""
    prefixes = {key.rpartition(".")[0] for key in arrays}
    if len(prefixes) != 1:
        return dict(arrays)
    return {key.rpartition(".")[2]: value for key, value in arrays.items()}


def _check_keys(arrays: Mapping[str, Array], wanted: Iterable[str], model: FNN | RNN) -> None:
    expected = set(wanted)
    missing, extra = sorted(expected - set(arrays)), sorted(set(arrays) - expected)
    if missing or extra:
        fail(
            sf.GraphError,
            f"from_torch_state: the state is not that of {model}",
            got=f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(extra) or 'none'}",
            do="give the state dict of the module that the model stands for, with its biases",
        )


def _turned(array: Array) -> Array:
    """A matrix transposed, a vector as it is."""
    return np.ascontiguousarray(array.T)


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
