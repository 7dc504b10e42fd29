"""What loops over scalar math functions become: vectors, without calls, and no other results."""

from __future__ import annotations

import platform
import re

import numpy as np
import pytest

from tests.native.math.math_kernels import FORMATS, Kernel, every_exponent, kernel

MUST_VECTORISE = (
    *("exp", "tanh", "sigmoid", "log", "expm1", "log1p", "softplus", "erf", "sin", "cos"),
    *("exp2", "log2", "log10", "tan", "sinh", "cosh", "arcsin", "arccos", "arctan", "arctan2"),
    *("arcsinh", "arccosh", "arctanh", "erfc", "cbrt", "pow", "hypot", "lgamma", "digamma"),
)
PAIRS = ("arctan2", "pow", "hypot")  # functions of two numbers
PACKED = {
    "x86_64": r"\bv?(?:mul|add|sub|fn?m(?:add|sub)\d+)p{t}\s.*%[xyz]mm",
    "AMD64": r"\bv?(?:mul|add|sub|fn?m(?:add|sub)\d+)p{t}\s.*%[xyz]mm",
    "aarch64": r"\bf(?:mla|mls|mul|add|sub)\s+v\d+\.(?:4s|2d)",
    "arm64": r"\bf(?:mla|mls|mul|add|sub)(?:\.4s|\.2d|\s+v\d+\.(?:4s|2d))",
}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", MUST_VECTORISE)
def test_loop_is_vectorised_without_calls(name: str, format_: str) -> None:
    pattern = PACKED.get(platform.machine())
    if pattern is None:
        pytest.skip("no pattern for this machine's packed instructions")
    arity = 2 if name in PAIRS else 1
    assembly = kernel(name, format_, arity).library.get_asm_str()
    assert re.search(pattern.replace("{t}", "s" if format_ == "f4" else "[sd]"), assembly) or (
        re.search(pattern.replace("{t}", "d"), assembly)  # float32 by way of float64
    )
    assert not re.search(r"(?m)^\s*(?:callq?|blr?)\s", assembly)


def test_reassoc_of_the_kernel_does_not_reach_the_function() -> None:
    """A term of the kernel that invites regrouping leaves the function's own result as it is."""
    x = every_exponent("f4")
    x = x[np.abs(x) < 60]
    for name in ("exp", "expm1", "log1p", "tanh", "softplus"):
        alone = kernel(name, "f4")(x)
        mixed = Kernel(f"({name}_f4(a[i]) + b[i]) + (0.0 - b[i])", "f4", 2)(x, np.zeros_like(x))
        np.testing.assert_array_equal(alone, mixed)
