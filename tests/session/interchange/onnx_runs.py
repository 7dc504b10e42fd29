"""Exported models on the two peers: ONNX Runtime and the reference implementation of the onnx
package; and how near their values must be to ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import staticflow as sf
from staticflow.graph.leaves import Input
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.onnx_out.model import model_of

ort: Any = pytest.importorskip("onnxruntime")
reference: Any = pytest.importorskip("onnx.reference")

Array = NDArray[Any]
NEAR = {"float32": 1e-6, "float64": 1e-12}
ort.set_default_logger_severity(4)


def on_runtime(model: Any, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs by ONNX Runtime, without its rewriting of graphs, which costs more than a run."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options)
    names = {x.name for x in model.graph.input}
    return list(session.run(None, {k: v for k, v in feeds.items() if k in names}))


def on_reference(model: Any, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs by the reference implementation."""
    names = {x.name for x in model.graph.input}
    given = {k: v for k, v in feeds.items() if k in names}
    with np.errstate(all="ignore"):
        return [np.asarray(v) for v in reference.ReferenceEvaluator(model).run(None, given)]


PEERS = (on_runtime, on_reference)


def check_near(theirs: Array, ours: Array, exact: Array) -> None:
    """A peer's value is ours, relative to the largest element: to 1e-6 or 1e-12, or to four times
    what the peer is off from float64.
    """
    assert theirs.dtype == ours.dtype and theirs.shape == ours.shape
    if ours.dtype.kind != "f":
        np.testing.assert_array_equal(theirs, ours)
        return
    np.testing.assert_array_equal(np.isnan(theirs), np.isnan(ours))
    infinite = np.isinf(ours) | np.isinf(theirs)
    np.testing.assert_array_equal(theirs[infinite], ours[infinite])
    plain = np.isfinite(ours)
    if plain.any():
        size = max(1e-30, float(np.abs(ours[plain]).max()))
        error = float(np.abs(theirs[plain] - ours[plain]).max()) / size
        with np.errstate(all="ignore"):
            own = float(np.abs(theirs[plain] - exact[plain]).max()) / size
        bound = max(NEAR[ours.dtype.name], 4 * own if np.isfinite(own) else 0.0)
        assert error <= bound, f"off by {error}, of {bound}"


def check_export(
    outputs: Mapping[str, Node],
    feeds: Mapping[str, Array],
    exact: Sequence[Array] | None = None,
    opset: int = 18,
    peers: Sequence[Any] = PEERS,
) -> Any:
    """The peers have our values of some outputs, which are `exact` in float64; returns the
    model.
    """
    session = sf.Session(outputs=dict(outputs))
    model = model_of(session, opset=opset)
    nodes = list(outputs.values())
    env = {x: feeds[x.name] for x in leaves(nodes, Input)}
    env |= {x: session.params[x.name] for x in session._state.graph.params}
    ours = interpret(nodes, env, training=False)
    for peer in peers:
        for k, theirs in enumerate(peer(model, feeds)):
            check_near(theirs, ours[k], ours[k] if exact is None else exact[k])
    return model


def kinds(model: Any) -> list[str]:
    """The operators of a model's main graph, in order."""
    return [node.op_type for node in model.graph.node]
