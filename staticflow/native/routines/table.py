"""The table of native routines that drivers call on whole buffers, by name and dtype.

A routine takes the addresses of its inputs, outputs and scratch, then sizes and flags, and last the
scratch of the matrix product if it uses that. An op names its routine; see `ops.native_call`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from staticflow.native.gemm.products import gemm, turned
from staticflow.native.linalg import factorise as linalg_solve
from staticflow.native.linalg import lapack
from staticflow.native.routines import rows as row_routines
from staticflow.native.routines import times
from staticflow.native.toolchain.objects import External, KernelSource, Signature
from staticflow.native.toolchain.toolchain import Toolchain

ITEM_BYTES = {"f4": 4, "f8": 8, "i4": 4, "i8": 8}
Provider = Callable[[Toolchain, str], External]


@dataclass(frozen=True)
class Routine:
    """A routine's source, how many arguments it takes, how long it takes, and what it calls."""

    source: str
    arguments: int
    time: Callable[..., float]  # nanoseconds, see `routines.times`
    calls: tuple[str, ...] = ()  # gemm, turned, lapack <function>, or another routine


ROUTINES = {
    "cholesky": Routine(linalg_solve.CHOLESKY, 6, times.cholesky, ("gemm",)),
    "lu": Routine(linalg_solve.LU, 8, times.lu, ("gemm",)),
    "triangular": Routine(linalg_solve.TRIANGULAR, 11, times.triangular, ("gemm",)),
    "lu_solve": Routine(linalg_solve.LU_SOLVE, 10, times.lu_solve, ("triangular",)),
    "qr": Routine(linalg_solve.QR, 7, times.qr),
    "squarings": Routine(linalg_solve.SQUARINGS, 7, times.squarings, ("gemm",)),
    "eigh": Routine(lapack.EIGH, 7, times.eigh, ("lapack syevd",)),
    "svd": Routine(lapack.SVD, 9, times.svd, ("lapack gesdd",)),
    "cumsum": Routine(row_routines.CUMSUM, 5, times.cumsum),
    "recurrence": Routine(row_routines.RECURRENCE, 6, times.recurrence),
    "argsort": Routine(row_routines.ARGSORT, 6, times.argsort),
    "turn": Routine(row_routines.TURN, 4, times.turn, ("turned",)),
}
# Routines that are made at run time: the functions of custom ops.
PROVIDED: dict[str, Provider] = {}
# What a routine was that ended with this code instead of 0.
FAILURES: dict[int, str] = {}


def is_known(call: str) -> bool:
    """Whether a call such as `lu_f4` is of this table, and not of a function of the user's."""
    return call.rsplit("_", 1)[0] in ROUTINES


def nanoseconds(call: str, sizes: Sequence[int]) -> float:
    """How long a known call takes."""
    name, suffix = call.rsplit("_", 1)
    return ROUTINES[name].time(ITEM_BYTES[suffix] / 4, *sizes)


def routine(toolchain: Toolchain, name: str, suffix: str) -> External:
    """The compiled routine `name` for elements of a dtype."""
    if name in PROVIDED:
        return PROVIDED[name](toolchain, suffix)
    entry = ROUTINES[name]
    externals: dict[str, External] = {}
    for called in entry.calls:
        externals |= _called(toolchain, called, suffix)
    source = entry.source.replace("{t}", suffix).replace("{size}", str(ITEM_BYTES[suffix]))
    kernel = KernelSource(
        name=name,
        source=source,
        signature=Signature("", ("i8",) * entry.arguments),
        externals=externals,
        noalias=False,
    )
    return toolchain.kernel(kernel).external


def _called(toolchain: Toolchain, called: str, suffix: str) -> dict[str, External]:
    if called == "gemm":
        return {"gemm": gemm(toolchain, suffix)}
    if called == "turned":
        return {"turned": turned(toolchain, suffix)}
    if called.startswith("lapack "):
        function = lapack.lapack_function(called.split()[1], suffix)
        return {"lapack": function, **lapack.thread_limit(toolchain)}
    return {called: routine(toolchain, called, suffix)}
