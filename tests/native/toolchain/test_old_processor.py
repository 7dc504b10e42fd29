"""Code for processors without fused instructions (x86-64-v2), run on this machine, is right."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

SCRIPT = """
import llvmlite.binding as llvm
import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.native.toolchain import llvm_backend as llvm_compile, target

def old_machine(level=3):
    target.initialize()
    kind = llvm.Target.from_triple(llvm.get_process_triple())
    return kind.create_target_machine(cpu="x86-64-v2", features="", opt=level, reloc="static",
                                      codemodel="jitdefault", jit=True)

llvm_compile._machine = old_machine
assert "vfmadd" not in old_machine().emit_assembly(llvm.parse_assembly(
    "define double @f(double %x) { %y = call double @llvm.fma.f64(double %x, double %x, double %x)"
    " ret double %y } declare double @llvm.fma.f64(double, double, double)"))

CASES = {
    "sin": (1e6, 4.0), "cos": (1e6, 4.0), "tan": (1e6, 4.0), "exp": (700.0, 2.0),
    "expm1": (300.0, 3.0), "tanh": (20.0, 4.0), "sigmoid": (40.0, 3.0), "erf": (4.0, 2.0),
    "erfc": (26.0, 5.0), "log": (1e9, 2.0), "log1p": (1e9, 2.0), "arcsinh": (1e6, 3.0),
    "arctan": (1e3, 3.0), "cbrt": (1e6, 2.0), "sinh": (300.0, 4.0), "exp2": (900.0, 2.0),
    "softplus": (40.0, 3.0),
}
import math
exact = {"erf": np.vectorize(math.erf), "erfc": np.vectorize(math.erfc),
         "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softplus": lambda x: np.logaddexp(x, 0)}
rng = np.random.default_rng(0)
for dtype in ("float64", "float32"):
    x = sf.input("x", ("n", len(CASES)), dtype)
    p = sf.input("p", ("n",), dtype)
    y = ops.stack([getattr(ops, name)(x[:, k]) for k, name in enumerate(CASES)], -1)
    f = sf.function([x, p], [y, ops.power(p, 7.3), ops.power(p, -0.9), x.T @ x])
    X = rng.uniform(-1, 1, (400, len(CASES))) * [bound for bound, _ in CASES.values()]
    for k, name in enumerate(CASES):
        if name.startswith("log"):
            X[:, k] = abs(X[:, k])
    if dtype == "float32":
        X = np.clip(X, -80.0, 80.0)
    X, P = X.astype(dtype), rng.uniform(0.01, 1e3, 400).astype(dtype)
    Y, high, low, square = f(X, P)
    assert Y.dtype == dtype

    def check(name, got, want, bound):
        error = np.abs(got - want) / np.spacing(np.abs(want).astype(dtype)).astype(float)
        assert error.max() <= bound, (name, dtype, error.max())

    for k, (name, (_, bound)) in enumerate(CASES.items()):
        wide = X[:, k].astype(float)
        check(name, Y[:, k], exact.get(name, getattr(np, name, None))(wide), bound + 1)
    check("power", high, P.astype(float) ** 7.3 if dtype == "float64" else
          P.astype(float) ** float(np.float32(7.3)), 2.0)
    check("power", low, P.astype(float) ** -0.9 if dtype == "float64" else
          P.astype(float) ** float(np.float32(-0.9)), 2.0)
    right = X.T.astype(float) @ X.astype(float)
    np.testing.assert_allclose(square, right, rtol=1e-4, atol=1e-5 * right.max())
print("right")
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="about x86-64")
def test_a_processor_without_fused_instructions(tmp_path: Path) -> None:
    env = {**os.environ, "STATICFLOW_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.stdout == "right\n", done.stderr
