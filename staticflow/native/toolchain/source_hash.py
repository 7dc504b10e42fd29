"""Hashes over the source files of native routines: an edited routine is another one.

Code is kept on disk under a key. What a key says of a routine that this package defines is the text
of the files that define it.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

# What turns a source into an object: below `native`, as all patterns here.
CODE_SHAPERS = tuple(
    f"toolchain/{name}.py"
    for name in (
        "dispatcher", "intrinsics", "kernel_arithmetic", "kernel_inference", "kernel_lowering",
        "kernel_passes", "kernel_target", "llvm_backend", "numba_frontend", "numba_types", "target",
    )
)  # fmt: skip
PRODUCTS = ("gemm/*.py",)
SCALARS = ("math/*.py", "kernel_names.py")
_NATIVE = Path(__file__).parent.parent


@functools.cache
def source_key(*patterns: str, folder: Path = _NATIVE) -> str:
    """A hash for each pattern, over the files of `folder` that match it.

    Raises FileNotFoundError where none does: a key of nothing would never change.
    """
    return "".join(_hash(folder, pattern) for pattern in patterns)


def _hash(folder: Path, pattern: str) -> str:
    files = sorted(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no source file matches {pattern}")
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def products_key() -> str:
    """A hash over the files that define matrix products."""
    return source_key(*PRODUCTS)


def math_key() -> str:
    """A hash over the files that define the scalar functions of kernels."""
    return source_key(*SCALARS)
