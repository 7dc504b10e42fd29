#!/usr/bin/env bash
# Surprise: an integer Div in ONNX Runtime ends the whole process, by SIGFPE, where the least integer
#   is divided by -1. The operands may be data that are fed. Div by 0, and Mod by 0, are errors that
#   can be caught, and Mod of the least integer by -1 is 0.
# Versions: onnxruntime 1.32.0, onnx 1.23.2 (CPU, Linux, x86-64).
# Guess that fails: who guards the division by 0 has guarded the other quotient that the processor
#   cannot hold.
# Matters to servers that run models of others, or on the data of others: one request ends them all.
# Way round: Where around the divisor -1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0
cat > "$work/divide.py" <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

op, a, b = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
inputs = [helper.make_tensor_value_info(name, 6, [1]) for name in "ab"]
output = helper.make_tensor_value_info("y", 6, [1])
graph = helper.make_graph([helper.make_node(op, ["a", "b"], ["y"])], "g", inputs, [output])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
session = ort.InferenceSession(model.SerializeToString())
feeds = {"a": np.array([a], np.int32), "b": np.array([b], np.int32)}
try:
    print(session.run(None, feeds)[0])
except Exception as error:
    print("an error:", str(error).rpartition(": ")[2])
PY
run() {
    code=0
    "$work/venv/bin/python" "$work/divide.py" "$@" 2>/dev/null || code=$?
    echo "$*: exit status $code"
}
run Div 5 0
test "$code" = 0
run Mod -2147483648 -1
test "$code" = 0
run Div 7 2
test "$code" = 0
run Div -2147483648 -1
test "$code" = 136 # 128 + SIGFPE
