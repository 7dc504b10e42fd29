"""The table of native routines: each leaves its work undone once the stop flag is set."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from staticflow.native.routines.table import ITEM_BYTES, ROUTINES, polls, routine
from staticflow.native.toolchain.objects import TypedName
from staticflow.native.toolchain.toolchain import toolchain
from staticflow.native.toolchain.watch import ABORT
from staticflow.native.toolchain.word_function import of_words, word_function

N, STACK = 40, 3  # more than a block of 32 rows
LENGTH = 4 * 100 * N * N * STACK  # bytes of each array, more than any routine needs
# How many arrays a routine takes before its sizes, and the sizes and flags themselves.
ARRAYS = {"cholesky": 3, "lu": 5, "triangular": 4, "lu_solve": 5, "qr": 4, "squarings": 4,
          "eigh": 5, "svd": 6, "cumsum": 2, "recurrence": 3, "argsort": 3, "turn": 2}  # fmt: skip
SIZES = {"triangular": (STACK, N, 2, 1, 0, 0), "lu_solve": (STACK, N, 2, 0), "qr": (STACK, N, N),
         "svd": (STACK, N, N), "cumsum": (STACK, N, 0), "recurrence": (STACK, N, 0),
         "argsort": (STACK, N, 0), "turn": (N, N)}  # fmt: skip
RESULTS = {"svd": (2,), "lu_solve": (3,), "triangular": (2,), "recurrence": (2,), "squarings": (2,)}


def _results(name: str, suffix: str, flag: int) -> list[bytes]:
    """What a routine leaves in its results, whose last matrices it comes to last."""
    rng = np.random.default_rng(0)
    matrix = np.eye(N) * N + rng.random((N, N))
    stack = np.broadcast_to(matrix @ matrix.T, (STACK, N, N)).astype(suffix)
    arrays = [np.zeros(LENGTH, np.uint8) for _ in range(ARRAYS[name])]
    given = stack.tobytes()
    for array in arrays[:2] if name in ("triangular", "recurrence") else arrays[:1]:
        array[: len(given)] = np.frombuffer(given, np.uint8)
    if name == "squarings":
        arrays[1].view(np.int64)[:] = 2
    if name == "lu_solve":
        arrays[2][: len(given)] = np.frombuffer(given, np.uint8)
    stop, work = np.array([flag]), np.zeros(1 << 22, np.uint8)
    words = [array.ctypes.data for array in arrays] + list(SIZES.get(name, (STACK, N)))
    words += [work.ctypes.data] * ("gemm" in ROUTINES[name].calls or name == "lu_solve")
    words += [stop.ctypes.data] * polls(TypedName(name, suffix))
    assert len(words) == ROUTINES[name].arguments
    taken = ", ".join(f"w{k}" for k in range(len(words)))
    source = f"def call({taken}):\n    routine({taken})\n    return 0\n"
    external = routine(toolchain(), TypedName(name, suffix))
    call = word_function(
        toolchain(), "call", source, of_words(len(words)), {}, {"routine": external}
    )
    ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(words))(call.address)(*words)
    return [arrays[k].tobytes() for k in RESULTS.get(name, (1,))]


@pytest.mark.parametrize("suffix", ["f4", "f8"])
@pytest.mark.parametrize("name", sorted(ROUTINES))
def test_a_routine_stops_when_it_is_told(name: str, suffix: str) -> None:
    assert suffix in ITEM_BYTES
    whole, stopped = _results(name, suffix, 0), _results(name, suffix, ABORT)
    assert (whole != stopped) == ROUTINES[name].polls


def test_what_does_not_look_is_one_copy() -> None:
    assert [name for name, entry in ROUTINES.items() if not entry.polls] == ["turn"]
