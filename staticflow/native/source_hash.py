"""Hashes over the source files of native routines: an edited routine is another one.

Code is kept on disk under a key. What a key says of a routine that this package defines is the text
of the files that define it.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

CODE_SHAPERS = (  # what turns a source into an object
    "intrinsics.py", "kernel_arithmetic.py", "kernel_target.py", "llvm_compile.py",
    "numba_compile.py", "numba_types.py", "target.py",
)  # fmt: skip
PRODUCTS = ("gemm*.py",)
SCALARS = ("*math*.py", "random_formulas.py", "kernel_names.py")
_HERE = Path(__file__).parent


@functools.cache
def source_key(*patterns: str, folder: Path = _HERE) -> str:
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
