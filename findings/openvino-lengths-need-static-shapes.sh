#!/usr/bin/env bash
# Surprise: OpenVINO heeds an LSTM's sequence_lens only where the sizes of time and batch are numbers.
#   With a named size for either, as every exporter writes them, the same lengths are left out, in
#   silence: outputs go on behind each sequence's end, and last states are those of the padding.
# Versions: openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.32.0 (CPU, Linux, x86-64).
# Guess that fails: whoever tried a padded batch in a small script, with its sizes in the model, has
#   seen lengths work.
# Matters to whoever serves recurrent networks on sequences of different lengths.
# Way round: `model.reshape({...})` to numbers before compiling, a model for each size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime as ort
import openvino as ov
from onnx import helper, numpy_helper

rng = np.random.default_rng(1)
shapes = {"W": (1, 16, 3), "R": (1, 16, 4), "B": (1, 32)}
weights = [numpy_helper.from_array(rng.normal(size=s).astype("f4"), k) for k, s in shapes.items()]
feeds = {"x": rng.normal(size=(7, 4, 3)).astype("f4"), "n": np.array([7, 7, 3, 5], np.int32)}


def lstm(time, batch):
    inputs = [helper.make_tensor_value_info("x", 1, [time, batch, 3]),
              helper.make_tensor_value_info("n", 6, [batch])]
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in ("Y", "Y_h")]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "n"], ["Y", "Y_h"], hidden_size=4)
    graph = helper.make_graph([node], "g", inputs, outputs, weights)
    ids = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=ids, ir_version=8).SerializeToString()


def off(time, batch, fixed=False):
    """How far the last states are from ONNX Runtime's."""
    right = ort.InferenceSession(lstm(time, batch)).run(None, feeds)[1]
    core = ov.Core()
    model = core.read_model(lstm(time, batch))
    if fixed:
        model.reshape({"x": [7, 4, 3], "n": [4]})
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    return float(np.abs(core.compile_model(model, "CPU", hints)(feeds)[1] - right).max())


found = {"numbers": off(7, 4), "named time": off("time", 4), "named batch": off(7, "batch"),
         "both named": off("time", "batch"), "both, reshaped": off("time", "batch", True)}
for name, error in found.items():
    print(f"{name}: last states are off by {error:.2g}")
right = [name for name, error in found.items() if error < 1e-6]
assert right == ["numbers", "both, reshaped"], "fixed?"
PY
