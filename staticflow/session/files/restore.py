"""Sessions from files, and from the same data in a pickle; see `checkpoint`.

The data may say anything: what it claims is compared with the tensors that are there before memory
is made for it, and every error names the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import names_of
from staticflow.graph.field_types import fits
from staticflow.graph.leaves import Param
from staticflow.graph.node import Node
from staticflow.graph.pytree import flatten
from staticflow.graph.require import require
from staticflow.graph.state_updates import states_of, updates_of
from staticflow.graph.traversal import leaves
from staticflow.native.memory import Array
from staticflow.native.threads.granted import granted_threads
from staticflow.optim.algorithms import Optimizer
from staticflow.session.files.checkpoint import DATA, DIGEST, digest_of, slots_of
from staticflow.session.files.decode import Decoder, check_sizes
from staticflow.session.files.file_errors import checked, damaged
from staticflow.session.files.file_version import check_version
from staticflow.session.files.tensor_file import read_tensors
from staticflow.session.state.session_state import SessionState
from staticflow.session.state.trained import chosen
from staticflow.training.epochs import Accumulated

COUNTS = ("step_count", "epoch_count", "run_count")


def read_session(path: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """The data and tensors of a session's file; refuses one that has weights only."""
    data, tensors = _read(path)
    if data is None:
        fail(
            GraphError,
            f"{path}: there are weights in this file, but no graph",
            do="build the graph in code, and use session.load_params(path)",
        )
    return data, tensors


class SavedSession:
    """A session from what `describe` gave: the graph and settings to make one of, decoded and
    compared with the tensors, and the values to fill it with.
    """

    def __init__(self, data: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        graph = data["graph"]
        decoder = Decoder(graph["nodes"], graph["updates"], tensors)
        self.loss, self.outputs, self.metrics = (
            decoder.structure(graph[name]) for name in ("loss", "outputs", "metrics")
        )
        self.optimizer = decoder.value(graph["optimizer"])
        self._data, self._stored = data, _Stored(data, tensors)
        self.trained = self._stored.check(self.loss, self.outputs, self.metrics, self.optimizer)
        self.seed, self.check_numerics = data["seed"], data["check_numerics"]
        threads = data["threads"]
        require(fits(threads, int) and threads > 0, f"no number of threads: {threads!r}")
        self.threads = min(threads, granted_threads())
        self.members = self._stored.members

    def fill(self, state: SessionState) -> None:
        """Set values, counters and the random state of a session that was made of the rest."""
        data, stored = self._data, self._stored
        for name, node in state.params.nodes.items():
            state.params[name][...] = stored.param(node)
        for name, node in state.states.nodes.items():
            state.states[name][...] = stored.state(node)
        for slot, flat, values in slots_of(state):
            for span in flat.spans:
                flat.view(span, values)[...] = stored.slot(slot, span.node)
        for name in COUNTS:
            state.set_count(name, data.get(name, 0))  # 0.1.0 did not count runs
        for rng, saved in zip(state.generators, self._stored.generators, strict=True):
            rng.bit_generator.state = _random_state(saved)
        state.accumulated = self._accumulated(state)
        state.extra = data["extra"]

    def _accumulated(self, state: SessionState) -> Accumulated | None:
        """The gradients that wait for their update, if there are any."""
        if "accumulated" not in self._data:
            return None
        saved = self._data["accumulated"]
        require(len(state.trained) > 0, "gradients are accumulated, and nothing is trained")
        rows, batches, loss = saved["rows"], saved["batches"], saved["loss"]
        counts = all(fits(n, int) and 0 < n < 1 << 40 for n in (rows, batches))
        require(counts, f"no counts of accumulated rows and batches: {rows!r}, {batches!r}")
        require(type(loss) is float, "the loss of what is accumulated is no number")
        shapes = [x.shape for x in state.graph.training_inputs.values()]
        names = {"", *(name for shape in shapes for name in names_of(shape))}
        require(saved["along"] in names, f"there is no dimension {saved['along']!r}"[:200])
        flat = state.params.flats[(state.trained[0].dtype, True)]
        total = flat.like()
        for span in flat.spans:
            flat.view(span, total)[...] = self._stored.accumulated(span.node)
        return Accumulated(total, rows, batches, loss, saved["along"])


class _Stored:
    """The values in the tensors of a file, by what they belong to."""

    def __init__(self, data: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self.data, self.tensors = data, tensors

    def param(self, node: Node) -> Array:
        return self._of(node, node.name)

    def state(self, node: Node) -> Array:
        return self._of(node, self.data["states"][node.name])

    def slot(self, slot: str, node: Node) -> Array:
        return self._of(node, self.data["slots"][slot][node.name])

    def accumulated(self, node: Node) -> Array:
        return self._of(node, self.data["accumulated"]["tensors"][node.name])

    @property
    def members(self) -> int | None:
        """How many members the session has, if it has members."""
        members: int | None = self.data.get("members")
        return members

    @property
    def generators(self) -> list[Any]:
        """The states of the random generators."""
        found = self.data["rng"]
        return [found] if self.members is None else found

    def _of(self, node: Node, key: str) -> Array:
        """The tensor of a node, which must be of its type, behind an axis of members if there are
        some.
        """
        values = self.tensors[key]
        lead = () if self.members is None else (self.members,)
        if node.ndim == 0 and not lead and values.shape == (1,):
            values = values.reshape(())  # as version 0.1.0 wrote scalars
        if (*lead, *node.shape) != values.shape or node.dtype != values.dtype.name:
            fail(
                GraphError,
                f"{node.name!r} is {node.type} in the graph"
                + (f", of {self.members} members" if lead else ""),
                got=f"{values.dtype}{list(values.shape)} among the tensors",
            )
        return values

    def check(self, loss: Any, outputs: Any, metrics: Any, optimizer: Any) -> list[Node]:
        """Refuse a graph whose values are not there, or do not belong together; gives the
        parameters that are trained.
        """
        require(loss is None or isinstance(loss, Node), "the loss is no node")
        require(metrics is None or isinstance(metrics, dict), "the metrics have no names")
        require(isinstance(optimizer, Optimizer | None), "the optimizer is none")
        scalars = [*flatten([] if loss is None else loss), *flatten(metrics or {})]
        roots = [*scalars, *flatten(outputs)]
        states = states_of(roots, scalars)
        roots += updates_of(states)
        check_sizes(roots)
        params = leaves(roots, Param)
        require({p.name for p in params} == {*self.data["params"]}, "parameters have other names")
        for node in params:
            self.param(node)
        for node in states:
            self.state(node)
        trained = self._trained({node.name: node for node in params})
        for slot in () if optimizer is None else optimizer.slots:
            for node in trained:
                self.slot(slot, node)
        self._check_counts()
        require(type(self.data["check_numerics"]) is bool, "check_numerics is true or false")
        require(isinstance(self.data["extra"], dict), "extra is no dict")
        return trained

    def _check_counts(self) -> None:
        """Counts are numbers of steps, one for each member if there are members."""
        given = [self.data["step_count"], self.data["epoch_count"], self.data.get("run_count", 0)]
        if self.members is not None:
            require(fits(self.members, int) and self.members > 0, "no number of members")
            lists = [*given, self.data["rng"]]
            own = all(isinstance(x, list) and len(x) == self.members for x in lists)
            require(own, f"not all counts are of {self.members} members")
            given = [count for counts in given for count in counts]
        for count in given:
            require(fits(count, int) and 0 <= count < 1 << 62, f"no number of steps: {count!r}")

    def _trained(self, params: Mapping[str, Node]) -> list[Node]:
        """The parameters that are trained; version 0.1.0 had those declared so."""
        if "trained" not in self.data:
            return chosen(params, None, None)
        names = self.data["trained"]
        require(isinstance(names, list), "what is trained is no list")
        nodes = [params[name] for name in names]
        require(all(node.type.is_float for node in nodes), "integers are not trained")
        return nodes


def _random_state(data: Any) -> dict[str, Any]:
    """The state of NumPy's generator, whose numbers are of so many bits."""
    state = data["state"]
    bits = {"state": (state["state"], 128), "inc": (state["inc"], 128),
            "has_uint32": (data["has_uint32"], 1), "uinteger": (data["uinteger"], 32)}  # fmt: skip
    for name, (value, count) in bits.items():
        whole = type(value) is int and 0 <= value < 1 << count
        require(whole, f"the random generator has no {name} {value!r}"[:200])
    require(data["bit_generator"] == "PCG64", "the random generator is another")
    numbers = {name: value for name, (value, _) in bits.items()}
    inner = {name: numbers.pop(name) for name in ("state", "inc")}
    return {"bit_generator": "PCG64", "state": inner, **numbers}


def read_params(path: Any) -> dict[str, Array]:
    """The parameters and states in a file; all tensors of one that another tool wrote."""
    data, tensors = _read(path)
    if data is None:
        return tensors

    def named() -> dict[str, Array]:
        states = {name: tensors[key] for name, key in data["states"].items()}
        return {**{name: tensors[name] for name in data["params"]}, **states}

    return checked(path, named)


def _read(path: Any) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    """The data and tensors of a file; no data for a file that staticflow did not write."""
    name = os.fspath(path)
    metadata, tensors = read_tensors(name)
    if DATA not in metadata:
        return None, tensors
    text = metadata[DATA]
    if metadata.get(DIGEST) != digest_of(text, tensors):
        damaged(name, "its content is not what was saved")
    data = checked(name, lambda: json.loads(text))
    check_version(name, data)
    return data, tensors
