"""The ops behind linear algebra: the NumPy references, LAPACK's threads, and a warm start."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.native.linalg.lapack import thread_limit
from staticflow.native.toolchain.toolchain import toolchain
from staticflow.runtime.interpreter import interpret

RNG = np.random.default_rng(11)
A = RNG.normal(size=(2, 4, 4)) + 3 * np.eye(4)
B = RNG.normal(size=(2, 4, 3))
TALL = RNG.normal(size=(2, 5, 3))
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "inv": (ops.inv, A),
    "solve": (ops.solve, A, B),
    "det": (ops.det, A),
    "slogdet": (lambda a: list(ops.slogdet(a)), A),
    "expm": (ops.expm, A),
    "cholesky": (lambda a: ops.cholesky(a @ a.transpose(0, 2, 1)), A),
    "cumsum": (lambda x: ops.cumsum(x, axis=1), B),
    "cumprod": (lambda x: ops.cumprod(x, axis=2), B),
    "argsort": (ops.argsort, B),
    "argsort down": (lambda x: ops.argsort(x, descending=True), np.round(B)),
    "convolve": (ops.convolve, B[0, :, 0], B[0, :3, 1]),
    "diagonal": (lambda x: ops.diagonal(x, 1), B[0]),
    "qr": (lambda x: list(ops.qr(x)), TALL),
    "eigvalsh": (ops.eigvalsh, A),
    "svdvals": (ops.svdvals, TALL),
    **{
        f"triangular {lower}{trans}{unit}": (
            lambda a, b, lower=lower, trans=trans, unit=unit: ops.solve_triangular(
                a, b, trans, lower, unit
            ),
            A,
            B,
        )
        for lower in (False, True)
        for trans in (False, True)
        for unit in (False, True)
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_reference_and_compiled_code_agree(name: str) -> None:
    function, *arrays = FUNCTIONS[name]
    xs = [sf.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    made = function(*xs)
    outputs = made if isinstance(made, list) else [made]
    floats = [y for y in outputs if y.type.is_float]
    outputs = outputs + [g for y in floats for g in sf.grad((y * y).sum(), xs)]
    compiled = sf.function(xs, outputs)(*arrays)
    reference = interpret(outputs, dict(zip(xs, arrays, strict=True)))
    for ours, expected in zip(compiled, reference, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-10)


def test_lapack_leaves_the_threads_of_blas_as_they_were() -> None:
    """Within the calls there is one thread; behind them there are as many as before."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    import scipy.linalg

    scipy.linalg.eigh(np.eye(3))
    thread_limit(toolchain())

    def threads() -> list[tuple[str, int]]:
        return [(p["filepath"], p["num_threads"]) for p in threadpoolctl.threadpool_info()]

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        a = sf.input("a", (30, 30), "float64")
        value = sf.function([a], ops.eigvalsh(a))(np.eye(30))
        assert threads() == before
    np.testing.assert_allclose(value, 1)


SCRIPT = textwrap.dedent("""
    import sys
    import numpy as np
    import staticflow as sf
    from staticflow import ops
    a = sf.input("a", (3, 3), "float64")
    outputs = [ops.inv(a), ops.cholesky(a), sf.grad(ops.logdet(a), a), ops.sort(a)]
    sf.function([a], outputs)(np.eye(3))
    print("numba" in sys.modules, "scipy" in sys.modules)
    sf.function([a], ops.eigvalsh(a))(np.eye(3))
    print("numba" in sys.modules)
""")


def test_warm_start(tmp_path: Path) -> None:
    """A second process needs neither Numba nor SciPy, but for what LAPACK computes."""
    environment = {"STATICFLOW_CACHE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", SCRIPT]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        for _ in range(2)
    ]
    assert runs[1].stdout == "False False\nFalse\n"
