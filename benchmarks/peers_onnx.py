"""onnxruntime (inference only), on models written with onnx.helper: plain calls and IO binding."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks import data
from benchmarks.contender import CallJob, Forms, Job, LoopJob
from benchmarks.workloads import Infer, Ode, Stream, Workload

IR_VERSION, OPSET = 9, 17
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}
ELEMENTS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


def _bytes(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Any) -> bytes:
    tensors = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def _fnn_model(w: Infer | Ode) -> bytes:
    nodes, weights, value = [], {}, "x"
    layers = data.fnn_weights(w)
    for i, (matrix, bias) in enumerate(layers):
        weights[f"w{i}"], weights[f"b{i}"] = matrix, bias
        last = i + 1 == len(layers)
        out = "y" if last else f"z{i}"
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out]))
        if not last:
            nodes.append(helper.make_node(ACTIVATIONS[w.activation], [out], [f"a{i}"]))
            value = f"a{i}"
    x = helper.make_tensor_value_info("x", ELEMENTS[w.dtype], ["batch", w.sizes[0]])
    y = helper.make_tensor_value_info("y", ELEMENTS[w.dtype], ["batch", w.sizes[-1]])
    return _bytes(nodes, [x], [y], weights)


def _lstm_model(w: Stream) -> bytes:
    """One step: (x, h, c) to (h, c, y). ONNX orders the gates i, o, f, g; PyTorch i, f, g, o."""
    named = data.stream_weights(w)

    def gates(a: np.ndarray) -> np.ndarray:
        i, f, g, o = np.split(a, 4)
        return np.concatenate([i, o, f, g])[None]

    bias = np.concatenate([gates(named["bias_ih_l0"]), gates(named["bias_hh_l0"])], axis=1)
    weights = {"w": gates(named["weight_ih_l0"]), "r": gates(named["weight_hh_l0"]), "b": bias}
    weights |= {"m": named["head.weight"], "d": named["head.bias"]}
    feeds = ["x", "w", "r", "b", "", "h", "c"]
    nodes = [
        helper.make_node("LSTM", feeds, ["", "h_new", "c_new"], hidden_size=w.hidden),
        helper.make_node("MatMul", ["h_new", "m"], ["p"]),
        helper.make_node("Add", ["p", "d"], ["y"]),
    ]

    def value(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, ELEMENTS[w.dtype], [1, 1, width])

    inputs = [value("x", w.features), value("h", w.hidden), value("c", w.hidden)]
    outputs = [value("h_new", w.hidden), value("c_new", w.hidden), value("y", 1)]
    return _bytes(nodes, inputs, outputs, weights)


def _session(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _plain(w: Infer, threads: int) -> Job:
    session, feeds = _session(_fnn_model(w), threads), {"x": data.infer_rows(w)}
    return CallJob(lambda: session.run(None, feeds)[0], np.sum)


def _bound(w: Infer, threads: int) -> Job:
    """Input and output bound to fixed memory."""
    session, rows = _session(_fnn_model(w), threads), data.infer_rows(w)
    out = np.empty((w.batch, w.sizes[-1]), w.dtype)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(rows))
    binding.bind_output("y", "cpu", 0, out.dtype, out.shape, out.ctypes.data)

    def call() -> np.ndarray:
        session.run_with_iobinding(binding)
        return out

    return CallJob(call, np.sum)


class _StreamJob(Job):
    def __init__(self, w: Stream) -> None:
        self._session = _session(_lstm_model(w), 1)
        self._rows = data.stream_rows(w)[:, None, None]
        self._state = [np.zeros((1, 1, w.hidden), w.dtype) for _ in range(2)]

    def run(self, steps: int) -> None:
        (h, c), rows, session = self._state, self._rows, self._session
        for k in range(steps):
            h, c, y = session.run(None, {"x": rows[k % len(rows)], "h": h, "c": c})
            y.item()
        self._state = [h, c]


def _ode(w: Ode) -> Job:
    session = _session(_fnn_model(w), 1)

    def f(state: np.ndarray) -> Any:
        return session.run(None, {"x": state})[0]

    return LoopJob(partial(data.runge_kutta, f, data.ode_steps(w)), data.ode_start(w))


def forms(w: Workload) -> Forms:
    if isinstance(w, Ode):
        yield "1 thread", partial(_ode, w)
        return
    if isinstance(w, Stream):
        yield "1 thread", partial(_StreamJob, w)
        return
    assert isinstance(w, Infer)
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        plural = f"{threads} thread{'s'[: threads > 1]}"
        yield f"NumPy in and out, {plural}", partial(_plain, w, threads)
        yield f"IO binding, {plural}", partial(_bound, w, threads)
