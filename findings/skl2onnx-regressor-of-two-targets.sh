#!/usr/bin/env bash
# Surprise: skl2onnx exports an MLPRegressor of two targets as a model of one: for 6 rows it gives
#   (12, 1) where `predict` gives (6, 2). Nothing is said, neither by the converter nor by the
#   checker, and the declared output is [None, 1].
# Versions: skl2onnx 1.20.0, scikit-learn 1.9.1, onnx 1.23.2, onnxruntime 1.32.0.
# Guess that fails: LinearRegression of two targets, in the same pipeline, is exported as (6, 2).
# Why: the converter ends with Reshape to (-1, 1), which is there for one target.
# Matters to whoever forecasts several numbers at once: rows of answers are mixed with columns.
# Way round: reshape the output to (-1, targets), or export each target.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1 skl2onnx==1.20.0
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime as ort
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
shapes = {}
for model in (LinearRegression(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=20)):
    model.fit(x, x[:, :2])
    session = ort.InferenceSession(to_onnx(model, x[:1]).SerializeToString())
    found = session.run(None, {"X": x[:6]})[0]
    shapes[type(model).__name__] = found.shape
    print(type(model).__name__, "predicts", model.predict(x[:6]).shape, "and in ONNX", found.shape)
assert shapes == {"LinearRegression": (6, 2), "MLPRegressor": (12, 1)}, "fixed?"
PY
