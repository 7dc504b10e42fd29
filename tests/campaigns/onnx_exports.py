"""Random graphs, exported as ONNX, have our values in ONNX Runtime.

A case is a graph of up to 19 nodes, every third with its gradients, as in `random_graphs`; it
passes ONNX's full checker, and runs with and without the runtime's rewriting of graphs in turn.
ONNX Runtime ends in an error in a Scan over no step at all, which is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from staticflow.graph.leaves import Input
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.onnx_out.model import Proto
from staticflow.session.interchange.onnx_out.write import written
from tests.campaigns import Tick
from tests.fuzz.graphs.checks import seeded
from tests.fuzz.graphs.maker import (
    make_graph,
    outputs_of,
    sizes_for,
    tolerance,
    values_for,
    with_gradients,
)

COUNT, SAMPLE = 4_000, 30
FIRST, APART = 20_000, 1_000_000
NO_STEP = "Invalid dim0_offset of 0. Dimension 0 is 0"
LEVELS = (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    ort.set_default_logger_severity(4)
    equal = 0
    for k in range(count):
        case = FIRST + APART * seed + k
        try:
            equal += check(case, 4 + k % 16, k % 3 == 0, LEVELS[k % 2])
        except Exception as error:
            raise AssertionError(f"check({case}, {4 + k % 16}, {k % 3 == 0}): {error}") from error
        tick()
    return {"graphs": count, "with our values": equal, "with a scan over no step": count - equal}


def check(case: int, length: int, gradients: bool, level: Any) -> bool:
    """Whether the runtime could compute the graph; if so, its values are ours."""
    choose = seeded(case)
    graph = make_graph(choose, "x", length, exact=bool(choose(2)) and not gradients)
    outputs = outputs_of(graph)
    outputs = with_gradients(graph, outputs) if gradients else outputs
    sizes = sizes_for(graph, choose)
    values = values_for(graph, sizes, np.random.default_rng(case))
    named = {f"out_{k}": y for k, y in enumerate(outputs)}
    inputs = {x.name: x for x in values if isinstance(x.op, Input)}
    held = {x.name: a for x, a in values.items() if not isinstance(x.op, Input)}
    builder, given, results, renamed = written(named, [held], inputs, 18)
    model = Proto(builder, renamed).model(given, results)
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads = level, 1
    session = ort.InferenceSession(model.SerializeToString(), options)
    feeds = {name: np.asarray(values[node]) for name, node in given}
    try:
        found = session.run(None, feeds)
    except Exception as error:
        if NO_STEP in str(error):
            return False
        raise
    relative, absolute = tolerance(graph, outputs, values)
    for theirs, ours in zip(found, interpret(outputs, values, training=False), strict=True):
        assert theirs.dtype == ours.dtype
        np.testing.assert_allclose(theirs, ours, 4 * relative, 4 * absolute)
    return True
