"""Keras 3 models as graphs, and weights back into them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import staticflow as sf
from staticflow.errors import fail
from staticflow.models.imported import Imported
from staticflow.models.keras_files import (
    Arrays,
    arrays_of_file,
    arrays_of_object,
    layer_name,
    layers_of,
    opened,
)
from staticflow.models.keras_layers import LAYERS, MERGES, Given

_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError)


def from_keras(model: Any, like: Any = None) -> Imported:
    """A Keras 3 model, Sequential or functional, as a graph with its weights.

    `model` is a model object, a `.keras` file, or a `.weights.h5` file, for which `like` is a model
    or a `.keras` file of the same layers. The result has `inputs`, `outputs`, `parameters` and
    `states` by name; parameters are called by the layers, `dense.kernel`, in Keras's shapes.
    Raises GraphError for a layer or setting that is not supported, and for a damaged file.
    """
    try:
        config, arrays = _source(model, like)
        return _Builder(arrays).model(config)
    except (sf.GraphError, sf.ShapeError, sf.DTypeError):
        raise
    except _WRONG as error:
        name = os.fspath(model) if isinstance(model, str | os.PathLike) else "the model"
        fail(sf.GraphError, f"from_keras: {name} is no model that is understood",
             got=f"{type(error).__name__}: {error}"[:200])  # fmt: skip


def to_keras(session: Any, model: Any) -> Any:
    """Put the values of a session into a Keras model that `from_keras` took in; returns the model.

    All or nothing: raises GraphError, and changes nothing, if a weight is missing.
    """
    values = {**session.params, **getattr(session, "states", {})}
    builder = _Builder(arrays_of_object(model))
    builder.model(_config_of(model))
    changes = []
    for path, names in builder.names.items():
        lost = [name for name in names if name not in values]
        if lost:
            fail(sf.GraphError, f"to_keras: the session has no {lost[0]!r}",
                 do="give a session of what from_keras made of that model")  # fmt: skip
        layer = model
        for part in path:
            layer = layer.get_layer(part)
        changes.append((layer, [np.asarray(values[name]) for name in names]))
    for layer, arrays in changes:
        layer.set_weights(arrays)
    return model


def _config_of(model: Any) -> Mapping[str, Any]:
    return {"class_name": type(model).__name__, "config": model.get_config()}


def _source(model: Any, like: Any) -> tuple[Mapping[str, Any], Arrays]:
    if isinstance(model, str | os.PathLike):
        name = os.fspath(model)
        config, file = opened(model)
        if config is None:
            if like is None:
                fail(
                    sf.GraphError,
                    f"{name}: a file of weights does not say of which layers they are",
                    do="give like=, a model or a .keras file of these layers",
                )
            config = _source(like, None)[0]
        return config, arrays_of_file(name, file, config)
    if not hasattr(model, "get_config") or not hasattr(model, "layers"):
        fail(sf.GraphError, "from_keras: this is no Keras model", got=repr(model)[:80],
             do="give a model, or the path of a .keras file")  # fmt: skip
    return _plain(_config_of(model)), arrays_of_object(model)


def _plain(value: Any) -> Any:
    """A configuration as JSON has it: objects of Keras by their own configuration."""
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


class _Builder:
    """Makes nodes of layers; `names` are those of the weights, by the names of the layers."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.names: dict[tuple[str, ...], list[str]] = {}
        self.inputs: dict[str, sf.Node] = {}
        self._leaves: list[sf.Node] = []

    def model(self, config: Mapping[str, Any]) -> Imported:
        kind, inner = config["class_name"], config["config"]
        if kind == "Sequential":
            results = [self._sequential(inner, (), None)]
            names = [layer_name(layers_of(inner)[-1])]
        elif kind in ("Functional", "Model"):
            results = self._functional(inner, (), None)
            names = [key[0] for key in _keys(inner["output_layers"])]
        else:
            fail(sf.GraphError, f"from_keras: a model of class {kind!r} is made by its own code",
                 do="write it as Sequential or as a functional model")  # fmt: skip
        outputs = {n if names.count(n) == 1 else f"{n}_{k}": y
                   for k, (n, y) in enumerate(zip(names, results, strict=True))}  # fmt: skip
        weights = {x.name: x for x in self._leaves}
        states = {n: x for n, x in weights.items() if x.op.name == "state"}
        params = {n: x for n, x in weights.items() if n not in states}
        return Imported(dict(self.inputs), outputs, params, states)

    def _input(self, layer: Mapping[str, Any]) -> sf.Node:
        config, name = layer["config"], layer_name(layer)
        batch, *rest = config.get("batch_shape") or config["batch_input_shape"]
        shape = ["batch" if batch is None else batch]
        shape += [f"{name}_{k + 1}" if n is None else n for k, n in enumerate(rest)]
        dtype = str(config.get("dtype") or "float32")
        self.inputs[name] = sf.input(name, tuple(shape), dtype)
        return self.inputs[name]

    def _sequential(self, config: Any, path: tuple[str, ...], x: sf.Node | None) -> sf.Node:
        for layer in layers_of(config):
            if layer["class_name"] == "InputLayer":
                x = self._input(layer) if x is None else x
                continue
            if x is None:
                shape = (layer.get("build_config") or {}).get("input_shape")
                if shape is None:
                    fail(sf.GraphError, "from_keras: the model has no input",
                         do="begin it with keras.Input(shape)")  # fmt: skip
                given = {"name": "input", "batch_shape": shape}
                x = self._input({"name": "input", "config": given})
            x = self._layer(layer, path, [x])
        assert x is not None
        return x

    def _functional(
        self, config: Any, path: tuple[str, ...], given: Sequence[sf.Node] | None
    ) -> list[sf.Node]:
        layers = {layer_name(layer): layer for layer in layers_of(config)}
        values: dict[tuple[str, int, int], sf.Node] = {}
        for k, key in enumerate(_keys(config["input_layers"])):
            values[key] = self._input(layers[key[0]]) if given is None else given[k]
        waiting = [(name, layer) for name, layer in layers.items() if layer.get("inbound_nodes")]
        while waiting:
            left = [entry for entry in waiting if not self._ready(entry, path, values)]
            if len(left) == len(waiting):
                fail(sf.GraphError, "from_keras: layers wait for each other",
                     got=", ".join(name for name, _ in left)[:200])  # fmt: skip
            waiting = left
        return [values[key] for key in _keys(config["output_layers"])]

    def _ready(self, entry: Any, path: tuple[str, ...], values: dict[Any, sf.Node]) -> bool:
        """Whether all that a layer is called on is there; then its values are as well."""
        name, layer = entry
        calls = [_tensors(node) for node in layer["inbound_nodes"]]
        if not all(key in values for call in calls for key in call):
            return False
        if len(calls) > 1:
            fail(sf.GraphError, f"from_keras: layer {name!r} is called {len(calls)} times",
                 do="give each call a layer of its own")  # fmt: skip
        values[name, 0, 0] = self._layer(layer, path, [values[key] for key in calls[0]])
        return True

    def _layer(
        self, layer: Mapping[str, Any], path: tuple[str, ...], inputs: Sequence[sf.Node]
    ) -> sf.Node:
        kind, config = layer["class_name"], layer["config"]
        place = (*path, layer_name(layer))
        if kind == "Sequential":
            return self._sequential(config, place, inputs[0])
        if kind == "Functional":
            return self._functional(config, place, inputs)[0]
        arrays = self.arrays(place)
        if kind == "Bidirectional":
            return self._both(config, place, arrays, inputs)
        if kind == "TimeDistributed":
            kind, config = config["layer"]["class_name"], config["layer"]["config"]
            if kind not in ("Dense", "LayerNormalization", "Dropout", "Activation"):
                fail(sf.GraphError, f"from_keras: TimeDistributed({kind}) is not supported")
        return self._plain(kind, config, place, arrays, inputs)

    def _plain(
        self, kind: str, config: Any, place: tuple[str, ...], arrays: Any, inputs: Any,
        part: str = "",
    ) -> sf.Node:  # fmt: skip
        if kind not in LAYERS:
            fail(
                sf.GraphError,
                f"from_keras: layer {'.'.join(place)!r} is a {kind}, which is not supported",
                do=f"those that are: {', '.join(LAYERS)}, Bidirectional, TimeDistributed",
            )
        given = Given(".".join(place) + part, config, arrays, inputs)
        result = LAYERS[kind](given)
        given.done()
        self.names.setdefault(place, []).extend(node.name for node in given.declared)
        self._leaves.extend(given.declared)
        return result

    def _both(self, config: Any, place: tuple[str, ...], arrays: Any, inputs: Any) -> sf.Node:
        """Forwards and backwards, each with half of the weights."""
        merge, half = config.get("merge_mode", "concat"), len(arrays) // 2
        if merge not in MERGES:
            fail(sf.GraphError, f"from_keras: merge_mode {merge!r} is not supported")
        kind, forward = config["layer"]["class_name"], config["layer"]["config"]
        backward = (config.get("backward_layer") or {}).get("config") or forward
        backward = {**backward, "go_backwards": not forward.get("go_backwards")}
        runs = [
            self._plain(kind, c, place, a, inputs, part)
            for c, a, part in (
                (forward, arrays[:half], ".forward"), (backward, arrays[half:], ".backward"),
            )
        ]  # fmt: skip
        if backward.get("return_sequences"):  # in the order of time again
            runs[1] = runs[1][:, ::-1]
        return MERGES[merge](*runs)


def _keys(entries: Any) -> list[tuple[str, int, int]]:
    """[name, node, tensor], or a list of these."""
    several = entries if entries and isinstance(entries[0], list | tuple) else [entries]
    return [(str(name), int(node), int(tensor)) for name, node, tensor in several]


def _tensors(node: Any) -> list[tuple[str, int, int]]:
    """What a layer is called on."""
    found: list[tuple[str, int, int]] = []
    stack = list(reversed(node["args"]))
    while stack:
        value = stack.pop()
        if isinstance(value, list | tuple):
            stack += reversed(value)
        elif isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
            name, at, tensor = value["config"]["keras_history"]
            found.append((str(name), int(at), int(tensor)))
    return found
