"""Modules of other frameworks as a state says what they are, and which of ours each stands for.

    state      0.weight (4, 5), 0.bias (4,), 1.running_mean (4,), ..., 10.weight (3, 4)
    modules    0: matrix             1: norm                            10: matrix
    ours       dense fnn.0           norm fnn.0.norm                    dense fnn.1

Names decide the order: by their numbers where they differ in numbers. Where they differ in words,
the order of a module's own state dict counts; files and plain dicts have none, and there the shapes
decide, or nothing does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.errors import fail
from staticflow.models.fnn import FNN
from staticflow.models.rnn import RNN

Array = NDArray[Any]
_TOKEN = re.compile(r"\d+|\D+")
AMBIGUOUS = (
    "their names differ in words, which a file or a dict has in no order, and the shapes leave it "
    "open: give the module itself, or a dict from its modules' names to models"
)
UNKNOWN = -1  # a size that is not known before the model is called


@dataclass(frozen=True)
class Slot:
    """One of our parameters or states: its name, that of its part of a module of theirs, the shape
    there, and what it is if the module has no such part (None: it must).
    """

    ours: str
    part: str
    shape: tuple[int, ...]
    otherwise: float | None = None
    turned: bool = True  # whether a matrix is the other way round


@dataclass(frozen=True)
class Unit:
    """What stands for one module: its kind, and its parameters."""

    kind: str  # matrix, norm or recurrent
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Module:
    """A module of theirs: its name, and its arrays by their last names."""

    name: str
    parts: Mapping[str, Array]

    @property
    def kind(self) -> str:
        if any(part.startswith("weight_ih_l") for part in self.parts):
            return "recurrent"
        if "running_mean" in self.parts or np.ndim(self.parts.get("weight", 0)) == 1:
            return "norm"
        return "matrix" if np.ndim(self.parts.get("weight", 0)) == 2 else "other"

    def fits(self, unit: Unit) -> bool:
        """Whether the arrays are those of a unit, in their shapes."""
        known = {slot.part for slot in unit.slots}
        return set(self.parts) <= known and all(
            slot.otherwise is not None
            if slot.part not in self.parts
            else _same(self.parts[slot.part].shape, slot.shape)
            for slot in unit.slots
        )


def _same(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        b in (UNKNOWN, a) for a, b in zip(shape, wanted, strict=True)
    )


def units_of(model: Any) -> list[Unit]:
    """What a model, a parameter, or a list of them is made of, in the order of modules."""
    if isinstance(model, FNN):
        return _dense_units(model)
    if isinstance(model, RNN):
        return [_recurrent_unit(model)]
    if isinstance(model, sf.Node):
        shape = tuple(n if isinstance(n, int) else UNKNOWN for n in model.shape)
        return [Unit("matrix", (Slot(model.name, "weight", shape, turned=False),))]
    if isinstance(model, list | tuple):
        return [unit for part in model for unit in units_of(part)]
    fail(
        sf.GraphError,
        "this is no model",
        got=repr(model)[:80],
        do="give an FNN, an RNN, the parameter of an embedding, a list of them in the order of "
        "the modules, or a dict from the modules' names",
    )


def _dense_units(model: FNN) -> list[Unit]:
    units = []
    for k, layer in enumerate(model.layers):
        slots = [Slot(f"{layer.prefix}.weight", "weight", (layer.out, layer.width)),
                 Slot(f"{layer.prefix}.bias", "bias", (layer.out,), 0.0)]  # fmt: skip
        units.append(Unit("matrix", tuple(slots)))
        if k < len(model.norms):
            norm = model.norms[k]
            width = (norm.width,)
            slots = [Slot(f"{norm.prefix}.weight", "weight", width, 1.0),
                     Slot(f"{norm.prefix}.bias", "bias", width, 0.0),
                     *(Slot(f"{norm.prefix}.{s}", s, width) for s in norm.states)]  # fmt: skip
            units.append(Unit("norm", tuple(slots)))
    return units


def _recurrent_unit(model: RNN) -> Unit:
    slots = []
    for k, layer in enumerate(model.layers):
        for direction in layer:
            end = f"_l{k}{'_reverse' if direction.reverse else ''}"
            gates = direction.cell.gates * direction.hidden
            width = UNKNOWN if k == 0 else len(layer) * direction.out
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (gates, width), "weight_hh": (gates, direction.out),
                "bias_ih": (gates,), "bias_hh": (gates,),
            }  # fmt: skip
            if direction.out != direction.hidden:
                shapes["weight_hr"] = (direction.out, direction.hidden)
            slots += [
                Slot(f"{direction.prefix}.{part}", part + end, shape,
                     0.0 if part.startswith("bias") else None)
                for part, shape in shapes.items()
            ]  # fmt: skip
    return Unit("recurrent", tuple(slots))


def modules_of(arrays: Mapping[str, Array]) -> list[Module]:
    """The modules that keys name, in the order of the keys."""
    found: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        name, _, part = key.rpartition(".")
        if part != "num_batches_tracked":
            found.setdefault(name, {})[part] = array
    return [Module(name, parts) for name, parts in found.items()]


def by_numbers(names: Sequence[str]) -> list[str] | None:
    """Names in the order of their numbers; None if they differ in words as well."""
    tokens = {name: tuple(_TOKEN.findall(name)) for name in names}
    order = _ordered(sorted(tokens.values(), key=len))
    back = {value: name for name, value in tokens.items()}
    return None if order is None else [back[t] for t in order]


def _ordered(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]] | None:
    if len(rows) < 2:
        return rows
    heads = {row[:1] for row in rows}
    if len(heads) > 1 and not all(head and head[0].isdigit() for head in heads):
        return None
    if len(heads) == 1 and () in heads:
        return rows
    result: list[tuple[str, ...]] = []
    for head in sorted(heads, key=lambda h: int(h[0]) if h and h[0].isdigit() else 0):
        inner = _ordered([row[1:] for row in rows if row[:1] == head])
        if inner is None:
            return None
        result += [(*head, *row) for row in inner]
    return result


def pair(
    units: Sequence[Unit], modules: Sequence[Module], ordered: bool, model: Any
) -> list[tuple[Unit, Module]]:
    """Each unit with its module; `ordered` says whether the modules' order means anything."""
    pairs: list[tuple[Unit, Module]] = []
    for kind in ("matrix", "norm", "recurrent", "other"):
        ours = [unit for unit in units if unit.kind == kind]
        theirs = [module for module in modules if module.kind == kind]
        if len(ours) != len(theirs):
            refuse(units, modules, model)
        names = by_numbers([module.name for module in theirs])
        if names is not None:
            theirs.sort(key=lambda module: names.index(module.name))
        elif not ordered:
            theirs = _by_shapes(ours, theirs, units, modules, model)
        pairs += zip(ours, theirs, strict=True)
    if not all(module.fits(unit) for unit, module in pairs):
        refuse(units, modules, model)
    return pairs


def _by_shapes(
    ours: Sequence[Unit], theirs: Sequence[Module], units: Sequence[Unit],
    modules: Sequence[Module], model: Any,
) -> list[Module]:  # fmt: skip
    """The only module that fits each unit."""
    found = []
    for unit in ours:
        fitting = [module for module in theirs if module.fits(unit)]
        if len(fitting) != 1:
            refuse(units, modules, model, AMBIGUOUS)
        found += fitting
    if len({module.name for module in found}) < len(found):
        refuse(units, modules, model)
    return found


def refuse(units: Sequence[Unit], modules: Sequence[Module], model: Any, why: str = "") -> NoReturn:
    """Say what was looked for and what is there, side by side."""
    ours = [f"{slot.ours} {_text(slot)}" for unit in units for slot in unit.slots]
    theirs = [
        f"{module.name + '.' if module.name else ''}{part} {array.shape}"
        for module in modules
        for part, array in module.parts.items()
    ]
    wide = max([len(text) for text in ours], default=0)
    count = max(len(ours), len(theirs))
    left, right = (side + [""] * (count - len(side)) for side in (ours, theirs))
    lines = [f"    {a:<{wide}} | {b}".rstrip() for a, b in zip(left, right, strict=True)]
    fail(
        sf.GraphError,
        f"the weights are not those of {model}",
        got="our parameters, as they are there | the state\n" + "\n".join(lines[:200]),
        do=why or "give the state of the modules that the model stands for, with their shapes",
    )


def _text(slot: Slot) -> str:
    shape = ", ".join("?" if n == UNKNOWN else str(n) for n in slot.shape)
    return f"({shape}{',' if len(slot.shape) == 1 else ''})"
