"""The table of native routines that drivers call on whole buffers, by name and dtype.

A routine takes the addresses of its inputs, outputs and scratch, then sizes and flags, the scratch
of the matrix product if it uses that, and last, if it looks at it, the address of the stop flag:
once that is set, it leaves the rest undone. An op names its routine; see `ops.native_call`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from staticflow.native.gemm.products import gemm, turned
from staticflow.native.linalg import factorise as linalg_solve
from staticflow.native.linalg import lapack
from staticflow.native.routines import rows as row_routines
from staticflow.native.routines import times
from staticflow.native.toolchain.objects import External, KernelSource, Signature, TypedName
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.watch import stopped

ITEM_BYTES = {"f4": 4, "f8": 8, "i4": 4, "i8": 8}
Provider = Callable[[Toolchain, str], External]


class Lapack(NamedTuple):
    """A function of LAPACK's, by its name without the dtype."""

    function: str


@dataclass(frozen=True)
class Routine:
    """A routine's source, how many arguments it takes, how long it takes, and what it calls."""

    source: str
    arguments: int
    time: Callable[..., float]  # nanoseconds, see `routines.times`
    calls: tuple[str | Lapack, ...] = ()  # gemm, turned, a function of LAPACK, another routine
    polls: bool = True  # it looks at the stop flag


ROUTINES = {
    "cholesky": Routine(linalg_solve.CHOLESKY, 7, times.cholesky, ("gemm",)),
    "lu": Routine(linalg_solve.LU, 9, times.lu, ("gemm",)),
    "triangular": Routine(linalg_solve.TRIANGULAR, 12, times.triangular, ("gemm",)),
    "lu_solve": Routine(linalg_solve.LU_SOLVE, 11, times.lu_solve, ("triangular",)),
    "qr": Routine(linalg_solve.QR, 8, times.qr),
    "squarings": Routine(linalg_solve.SQUARINGS, 8, times.squarings, ("gemm",)),
    "eigh": Routine(lapack.EIGH, 8, times.eigh, (Lapack("syevd"),)),
    "svd": Routine(lapack.SVD, 10, times.svd, (Lapack("gesdd"),)),
    "cumsum": Routine(row_routines.CUMSUM, 6, times.cumsum),
    "recurrence": Routine(row_routines.RECURRENCE, 7, times.recurrence),
    "argsort": Routine(row_routines.ARGSORT, 7, times.argsort),
    "turn": Routine(row_routines.TURN, 4, times.turn, ("turned",), polls=False),
}
# Routines that are made at run time: the functions of custom ops.
PROVIDED: dict[str, Provider] = {}
# What a routine was that ended with this code instead of 0.
FAILURES: dict[int, str] = {}


def is_known(name: TypedName) -> bool:
    """Whether a routine such as `lu_f4` is of this table, and not a function of the user's."""
    return name.function in ROUTINES


def polls(name: TypedName) -> bool:
    """Whether a routine takes the stop flag, and leaves its work undone once that is set."""
    return is_known(name) and ROUTINES[name.function].polls


def nanoseconds(name: TypedName, sizes: Sequence[int]) -> float:
    """How long a known routine takes."""
    return ROUTINES[name.function].time(ITEM_BYTES[name.suffix] / 4, *sizes)


def routine(toolchain: Toolchain, named: TypedName) -> External:
    """The compiled routine for elements of a dtype."""
    name, suffix = named
    if name in PROVIDED:
        return PROVIDED[name](toolchain, suffix)
    entry = ROUTINES[name]
    externals: dict[str, External] = {"stopped": stopped(toolchain)} if entry.polls else {}
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


def _called(toolchain: Toolchain, called: str | Lapack, suffix: str) -> dict[str, External]:
    if isinstance(called, Lapack):
        function = lapack.lapack_function(called.function, suffix)
        return {"lapack": function, **lapack.thread_limit(toolchain)}
    if called == "gemm":
        return {"gemm": gemm(toolchain, suffix)}
    if called == "turned":
        return {"turned": turned(toolchain, suffix)}
    return {called: routine(toolchain, TypedName(called, suffix))}
