#!/usr/bin/env bash
# Surprise: Numba enters the lowering of every user's @intrinsic in the registry of complex math
#   (`numba.cpython.cmathimpl.registry`), not in the builtin one.
# Versions: numba 0.68.1, llvmlite 0.50.0, Python 3.11 (Linux, x86-64).
# Guess that fails: the comment above that code says that the CPU's `builtin_registry` is taken if the
#   target has installed it, so the builtin one must grow.
# Why: `_TemplateTargetHelperMixin._get_target_registry` in `numba/core/typing/templates.py` asks for
#   `builtin_registry`, which in that module is the registry of types, and no target context has that
#   one among its lowering registries; then the first that the target installed is taken.
# Matters to whoever writes a target of his own (numba.core.target_extension): an intrinsic is lowered
#   into whatever registry that target happens to install first, and a target that counts entries of
#   the builtin registry to see whether it is up to date never sees it.
# Way round: look for new entries in all registries that a context has installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numba==0.68.1 llvmlite==0.50.0
"$work/venv/bin/python" - <<'PY'
import sys

import numba
from numba import njit, types
from numba.core import imputils
from numba.cpython import cmathimpl
from numba.extending import intrinsic


@intrinsic
def seven(typing_context):
    def generate(context, builder, signature, arguments):
        return context.get_constant(types.int64, 7)

    return types.int64(), generate


@njit
def plus_one(x):
    return x + 1


@njit
def number():
    return seven()


plus_one(1)  # fills Numba's contexts
builtin, cmath = imputils.builtin_registry.functions, cmathimpl.registry.functions
before = len(builtin), len(cmath)
value = number()
grown = len(builtin) - before[0], len(cmath) - before[1]
print("numba", numba.__version__)
print("the intrinsic gives", value)
print(f"entries more in the builtin registry: {grown[0]}, in that of complex math: {grown[1]}")
sys.exit(0 if value == 7 and grown == (0, 1) else 1)
PY
