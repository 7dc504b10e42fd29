"""Symmetric eigenvalues and singular values by SciPy's LAPACK, called by name from native code.

SciPy publishes the addresses of LAPACK's functions; they are entered into LLVM's symbol table under
names of our own, so that cached objects find them in any process. SciPy is imported only when a
routine here is loaded. LAPACK's matrices are column-major, which is the transpose of ours.

LAPACK may bring threads of its own (OpenBLAS does), which would fight with ours. The limit is one
for the process, so the calls that are under way are counted: the first sets it to one thread, the
last puts back what was there.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from typing import Any

import llvmlite.binding as llvm

from staticflow.native.toolchain.objects import External, Signature
from staticflow.native.toolchain.toolchain import Toolchain, symbol_suffix

FUNCTIONS = ("ssyevd", "dsyevd", "sgesdd", "dgesdd")
ARGUMENTS = {"syevd": 11, "gesdd": 14}
LETTER = {"f4": "s", "f8": "d"}

EIGH = '''
def eigh(a, w, v, scratch, words, batch, n, stop):
    """Ascending eigenvalues of symmetric matrices, and their eigenvectors as columns."""
    numbers = i4ptr(words)
    letters = i4ptr(words + 20)
    numbers[0] = i4(n)
    numbers[1] = i4(1 + 6 * n + 2 * n * n)
    numbers[2] = i4(3 + 5 * n)
    letters[0] = i4(86)
    letters[1] = i4(76)
    enter_lapack()
    for s in range(batch):
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            break
        A = {t}ptr(a + s * n * n * {size})
        W = {t}ptr(w + s * n * {size})
        V = {t}ptr(v + s * n * n * {size})
        total = {t}(0)
        for i in range(n * n):
            V[i] = A[i]
            total += A[i] * {t}(0)
        numbers[3] = i4(0)
        good = total == 0
        if good and n > 0:
            lapack(words + 20, words + 24, words, v + s * n * n * {size}, words, w + s * n * {size},
                   scratch, words + 4, words + 32, words + 8, words + 12)
            good = numbers[3] == 0
        for i in range(n):
            for j in range(i):
                keep = V[i * n + j]
                V[i * n + j] = V[j * n + i]
                V[j * n + i] = keep
        if not good:
            for i in range(n * n):
                V[i] = {t}(math.nan)
            for i in range(n):
                W[i] = {t}(math.nan)
    leave_lapack()
'''

SVD = '''
def svd(a, u, w, v, scratch, words, batch, m, n, stop):
    """A = U diag(w) V, with k = min(m, n) descending singular values."""
    k = min(m, n)
    numbers = i4ptr(words)
    copy = {t}ptr(scratch)
    rest = scratch + m * n * {size}
    numbers[0] = i4(n)
    numbers[1] = i4(m)
    numbers[2] = i4(k)
    numbers[3] = i4(4 * m * n + 73 * (m + n))
    numbers[5] = i4(83)
    enter_lapack()
    for s in range(batch):
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            break
        A = {t}ptr(a + s * m * n * {size})
        total = {t}(0)
        for i in range(m * n):
            copy[i] = A[i]
            total += A[i] * {t}(0)
        numbers[4] = i4(0)
        good = total == 0
        if good and k > 0:
            lapack(words + 20, words, words + 4, scratch, words, w + s * k * {size},
                   v + s * k * n * {size}, words, u + s * m * k * {size}, words + 8,
                   rest, words + 12, words + 32, words + 16)
            good = numbers[4] == 0
        if not good:
            U = {t}ptr(u + s * m * k * {size})
            W = {t}ptr(w + s * k * {size})
            V = {t}ptr(v + s * k * n * {size})
            for i in range(m * k):
                U[i] = {t}(math.nan)
            for i in range(k):
                W[i] = {t}(math.nan)
            for i in range(k * n):
                V[i] = {t}(math.nan)
    leave_lapack()
'''


THREADS = """
@calls = internal global i64 0
@before = internal global i32 1
{declarations}
define void @sf_enter_lapack_{suffix}() {{
  %n = atomicrmw add ptr @calls, i64 1 seq_cst
  %first = icmp eq i64 %n, 0
  br i1 %first, label %limit, label %done
limit:
  %threads = {get}
  %several = icmp sgt i32 %threads, 1
  br i1 %several, label %keep, label %done
keep:
  store atomic i32 %threads, ptr @before seq_cst, align 4
  {set_one}
  br label %done
done:
  ret void
}}
define void @sf_leave_lapack_{suffix}() {{
  %n = atomicrmw sub ptr @calls, i64 1 seq_cst
  %last = icmp eq i64 %n, 1
  br i1 %last, label %restore, label %done
restore:
  %threads = load atomic i32, ptr @before seq_cst, align 4
  {set_before}
  br label %done
done:
  ret void
}}
"""
WITH_LIMIT = {
    "declarations": "declare i32 @sf_blas_get_threads()\ndeclare void @sf_blas_set_threads(i32)",
    "get": "call i32 @sf_blas_get_threads()",
    "set_one": "call void @sf_blas_set_threads(i32 1)",
    "set_before": "call void @sf_blas_set_threads(i32 %threads)",
}
WITHOUT_LIMIT = {"declarations": "", "get": "add i32 0, 1", "set_one": "", "set_before": ""}


def lapack_function(routine: str, suffix: str) -> External:
    """A function of LAPACK, which takes the addresses of all its arguments."""
    _register()
    name = f"sf_lapack_{LETTER[suffix]}{routine}"
    return External(name, Signature("", ("i8",) * ARGUMENTS[routine]))


def thread_limit(toolchain: Toolchain) -> Mapping[str, External]:
    """`enter_lapack()` and `leave_lapack()`, to stand around calls of LAPACK."""
    parts = WITH_LIMIT if _register() else WITHOUT_LIMIT
    key = ["lapack threads", THREADS, *parts.values()]
    suffix = symbol_suffix(key)
    toolchain.module(lambda: THREADS.format(suffix=suffix, **parts), key)
    names = ("enter_lapack", "leave_lapack")
    return {name: External(f"sf_{name}_{suffix}", Signature("", ())) for name in names}


@functools.cache
def _register() -> bool:
    """Enter LAPACK's functions into LLVM's table; whether its threads can be limited."""
    from scipy.linalg import cython_lapack

    for name in FUNCTIONS:
        llvm.add_symbol(f"sf_lapack_{name}", _address(cython_lapack.__pyx_capi__[name]))
    library = ctypes.CDLL(cython_lapack.__file__)  # a symbol is also looked for in what it needs
    for prefix in ("scipy_openblas", "openblas"):
        names = {verb: f"{prefix}_{verb}_num_threads" for verb in ("get", "set")}
        if all(hasattr(library, name) for name in names.values()):
            for verb, name in names.items():
                address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
                llvm.add_symbol(f"sf_blas_{verb}_threads", address)
            return True
    return False


def _address(capsule: Any) -> int:
    """The pointer in a capsule, whose name is the C signature."""
    api = ctypes.pythonapi
    name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    return int(pointer(capsule, name(capsule)))
