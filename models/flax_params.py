"""Weights of Flax, linen's and nnx's, into models and back.

A tree of parameters says nothing of the network around it: `models.FNN`, `models.RNN` and the
parameters of embeddings are the graph. Each module of the tree is read as one of PyTorch's,

    linen  {"Dense_0": {"kernel", "bias"}, "LSTMCell_0": {"ii", "hi", ...}, "LayerNorm_0": ...}
    nnx    {"layers": {0: {"kernel", "bias"}}, "rnn": {"cell": {"dense_i", "dense_h"}}, ...}

and is matched as those are, by name. nnx's GRUCell has no bias of the candidate's second product,
and Flax's LayerNorm adds 1e-6 where ours, by default, adds 1e-5: models.FNN(..., epsilon=1e-6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.errors import fail
from staticflow.models.torch_modules import Module, Unit, by_numbers, pair, refuse, units_of

Array = NDArray[Any]
Path = tuple[str, ...]

# A cell's gates in PyTorch's order, by the ends of names; linen's `in` and `if` are words of Python
# and so `if_` in nnx.
GATES = {3: ("r", "z", "n"), 4: ("i", "f", "g", "o")}


def from_flax(params: Any, model: Any) -> dict[str, Array]:
    """The parameters of `model` by name, for `session.load_params`.

    `params` is what linen's `init` gives, {"params": ..., "batch_stats": ...} or the inner tree, an
    nnx module, or its state. `model` is an FNN, an RNN, the parameter of an embedding, a list of
    these in the order of the modules, or a dict from paths ("encoder.rnn") to them. Each cell is
    one layer, or one direction, of an RNN. Raises GraphError, with both lists side by side, where
    names or shapes do not fit.
    """
    found: dict[str, Array] = {}
    for module, unit in _pairs(params, model):
        for slot in unit.slots:
            given = module.parts.get(slot.part)
            if given is None:
                given = np.full(slot.shape, slot.otherwise, "float32")
            found[slot.ours] = np.ascontiguousarray(given.T if slot.turned else given)
    return found


def to_flax(session: Any, model: Any, params: Any) -> Any:
    """A tree like `params`, as plain dicts, with the values of a session for `model`.

    For an nnx module: `nnx.update(module, models.to_flax(session, model, module))`. A bias that the
    tree has not must be 0.
    """
    values = {**session.params, **getattr(session, "states", {})}
    arrays = {path: np.array(a) for path, a in _flat(_tree(params)).items()}
    for module, unit in _pairs(params, model):
        parts: dict[str, Array] = {}
        for slot in unit.slots:
            value = np.asarray(values[slot.ours])
            parts[slot.part] = value.T if slot.turned else value
        cells = iter(module.name.split("+"))
        if unit.kind == "recurrent":
            for end in _ends(unit):
                _put_cell(arrays, tuple(next(cells).split(".")), end, parts)
        else:
            _put(arrays, tuple(module.name.split(".")), parts)
    return _nested(arrays)


def _tree(params: Any) -> Any:
    """Plain dicts of arrays, of linen's collections in one."""
    given = params
    if not isinstance(given, Mapping):
        nnx = import_module("flax.nnx")
        state = given if isinstance(given, nnx.State) else nnx.state(given)
        given = nnx.to_pure_dict(state)
    if "params" in given:
        merged = dict(_flat(given["params"]))
        merged.update(_flat(given.get("batch_stats", {})))
        return _nested(merged)
    return given


def _flat(tree: Any, path: Path = ()) -> dict[Path, Any]:
    found: dict[Path, Any] = {}
    for key, value in tree.items():
        here = (*path, str(key))
        if isinstance(value, Mapping):
            found |= _flat(value, here)
        elif hasattr(value, "shape") and "rngs" not in here:
            found[here] = value
    return found


def _nested(arrays: Mapping[Path, Any]) -> dict[Any, Any]:
    tree: dict[Any, Any] = {}
    for path, value in arrays.items():
        place = tree
        for key in path[:-1]:
            place = place.setdefault(int(key) if key.isdigit() else key, {})
        place[path[-1]] = value
    return tree


def _modules(arrays: Mapping[Path, Any]) -> list[Module]:
    """Modules in PyTorch's form; a cell is one without a number yet, `weight_ih_l`."""
    groups: dict[Path, dict[str, Array]] = {}
    for path, value in arrays.items():
        groups.setdefault(path[:-1], {})[path[-1]] = np.asarray(value)
    cells: dict[Path, dict[str, dict[str, Array]]] = {}
    found: list[Module] = []
    for path, parts in groups.items():
        if path and _is_part_of_cell(path[-1], path[:-1], groups):
            cells.setdefault(path[:-1], {})[path[-1].rstrip("_")] = parts
        else:
            found.append(Module(".".join(path), _plain(parts)))
    for path, inner in cells.items():
        found.append(Module(".".join(path), _cell(inner)))
    return found


def _is_part_of_cell(name: str, outer: Path, groups: Mapping[Path, Any]) -> bool:
    beside = {path[-1].rstrip("_") for path in groups if path[:-1] == outer}
    kinds = ({"ii", "hi"}, {"ir", "hr"}, {"dense_i", "dense_h"}, {"i", "h"})
    return any(kind <= beside for kind in kinds) and name[:1] in ("i", "h", "d")


def _plain(parts: Mapping[str, Array]) -> dict[str, Array]:
    names = {"scale": "weight", "mean": "running_mean", "var": "running_var", "embedding": "weight"}
    found = {names.get(key, key): value for key, value in parts.items()}
    if "kernel" in found:
        found["weight"] = found.pop("kernel").T
    return found


def _cell(inner: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays of a cell as weight_ih, weight_hh, bias_ih and bias_hh."""
    found: dict[str, Array] = {}
    for side in ("i", "h"):
        parts = _of_side(inner, side)
        kernels = [part["kernel"] for part in parts]
        found[f"weight_{side}h"] = np.concatenate([k.T for k in kernels])
        biases = [part.get("bias", np.zeros(part["kernel"].shape[1], "f4")) for part in parts]
        found[f"bias_{side}h"] = np.concatenate(biases)
    return found


def _names_of_side(inner: Any, side: str) -> list[str]:
    if f"dense_{side}" in inner:
        return [f"dense_{side}"]
    if side in inner:
        return [side]
    gates = next(g for g in GATES.values() if f"{side}{g[0]}" in inner)
    return [f"{side}{gate}" for gate in gates]


def _of_side(inner: Any, side: str) -> list[Any]:
    return [inner[name] for name in _names_of_side(inner, side)]


def _ends(unit: Unit) -> list[str]:
    """How the names of each layer and direction of a recurrent unit end."""
    return [s.part.removeprefix("weight_ih") for s in unit.slots if s.part.startswith("weight_ih")]


def _pairs(params: Any, model: Any) -> list[tuple[Module, Unit]]:
    arrays = _flat(_tree(params))
    parts = model.items() if isinstance(model, Mapping) else [("", model)]
    found: list[tuple[Module, Unit]] = []
    seen: set[str] = set()
    for prefix, part in parts:
        path = tuple(prefix.split(".")) if prefix else ()
        inner = {key: a for key, a in arrays.items() if key[: len(path)] == path}
        units, modules = units_of(part), _modules(inner)
        for unit, module in pair(units, _joined(units, modules), False, part):
            found.append((module, unit))
            seen.update(module.name.split("+"))
    rest = [module for module in _modules(arrays) if module.name not in seen]
    if rest:
        units = [unit for _, part in parts for unit in units_of(part)]
        refuse(units, _modules(arrays), model)
    return found


def _joined(units: Sequence[Unit], modules: Sequence[Module]) -> list[Module]:
    """Cells as the layers and directions of recurrent modules, in the order of their names."""
    cells = [m for m in modules if "weight_ih" in m.parts]
    others = [m for m in modules if "weight_ih" not in m.parts]
    names = by_numbers([m.name for m in cells])
    if names is None and len(cells) > 1:
        fail(
            sf.GraphError,
            "from_flax: the cells' names differ in words, which a tree has in no order",
            got=", ".join(m.name for m in cells),
            do="give a dict from the paths of modules to models",
        )
    cells.sort(key=lambda m: (names or [m.name]).index(m.name))
    queue = list(cells)
    for unit in (u for u in units if u.kind == "recurrent"):
        ends = _ends(unit)
        taken, queue = queue[: len(ends)], queue[len(ends) :]
        parts = {
            f"{key}{end}": value
            for cell, end in zip(taken, ends, strict=False)
            for key, value in cell.parts.items()
        }
        if parts:
            others.append(Module("+".join(m.name for m in taken), parts))
    return [*others, *(Module(m.name, {f"{k}_l0": v for k, v in m.parts.items()}) for m in queue)]


def _put(arrays: dict[Path, Array], path: Path, parts: Mapping[str, Array]) -> None:
    path = () if path == ("",) else path
    for part, value in parts.items():
        names = {"weight": ("kernel", "scale", "embedding"), "running_mean": ("mean",),
                 "running_var": ("var",)}.get(part, (part,))  # fmt: skip
        keys = [(*path, name) for name in names if (*path, name) in arrays]
        if not keys:
            _check_zero(path, part, value)
            continue
        turned = keys[0][-1] == "kernel"
        arrays[keys[0]] = np.ascontiguousarray(value.T if turned else value)


def _put_cell(arrays: dict[Path, Array], path: Path, end: str, parts: Mapping[str, Array]) -> None:
    """Where a side has no bias, that of the other side has both; but for a GRU's candidate, whose
    two count apart.
    """
    size = len(path)
    inner = {key[size] for key in arrays if key[:size] == path and len(key) > size}
    plain = {name.rstrip("_"): name for name in inner}
    names = {side: _names_of_side(plain, side) for side in ("i", "h")}
    gates = len(parts[f"weight_hh{end}"]) // parts[f"weight_hh{end}"].shape[1]
    gates = max(gates, max(map(len, names.values())))
    kept = {
        side: np.repeat(_have_bias(arrays, path, plain, names[side]), gates // len(names[side]))
        for side in names
    }
    biases = {s: np.array(np.split(parts[f"bias_{s}h{end}"], gates)) for s in names}
    for side, other in (("i", "h"), ("h", "i")):
        for k in range(gates):
            apart = gates == 3 and k == 2
            if not kept[side][k] and kept[other][k] and not apart:
                biases[other][k] += biases[side][k]
                biases[side][k] = 0.0
    for side, ours in names.items():
        weights = np.split(parts[f"weight_{side}h{end}"], len(ours))
        for name, weight, bias in zip(
            ours, weights, np.split(biases[side], len(ours)), strict=True
        ):
            arrays[(*path, plain[name], "kernel")] = np.ascontiguousarray(weight.T)
            key = (*path, plain[name], "bias")
            if key in arrays:
                arrays[key] = np.ascontiguousarray(bias.ravel())
            else:
                _check_zero((*path, plain[name]), "bias", bias)


def _have_bias(
    arrays: Mapping[Path, Array], path: Path, plain: Mapping[str, str], names: Sequence[str]
) -> list[bool]:
    return [(*path, plain[name], "bias") in arrays for name in names]


def _check_zero(path: Path, part: str, value: Array) -> None:
    neutral = 1.0 if part == "weight" else 0.0
    if not np.all(value == neutral):
        fail(
            sf.GraphError,
            f"to_flax: {'.'.join(path)} has no {part}, and ours is not all {neutral:g}",
            do="give a tree that has one, or move it into the other bias",
        )
