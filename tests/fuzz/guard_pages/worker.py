"""Cases between guard pages, in processes of their own: a crash is reported with its seed.

`python -m tests.fuzz.guard_pages.worker FIRST LAST [CASE ...]` runs seeds in that process, and
tells of each; `check(range(10))` runs them in another one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any
from unittest import mock

TIMEOUT = 900  # seconds for the seeds of one process
TOGETHER = 24  # so many seeds have one width of vectors, the widest first
WIDTHS = (64, 32, 16)  # bytes; none wider than this machine's
FAMILIES = (
    "trained", "trained", "trained", "elsewhere", "runs", "products", "algebra", "tabled",
    "graphs", "graphs", "indexed", "trained", "chained", "by_rows", "controlled", "graphs",
    "derived", "trained", "runs", "jitted",
)  # fmt: skip


def check(seeds: Sequence[int], families: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Run seeds, one after the other; yields what each has done, or raises AssertionError."""
    command = [sys.executable, "-X", "faulthandler", "-m", __name__]
    command += [str(seeds[0]), str(seeds[-1] + 1), *families]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    began, said, done = None, [], 0
    try:
        for line in process.stdout:
            if not line.startswith("{"):
                said.append(line)
                continue
            told = json.loads(line)
            if "case" in told:
                began, said = told, []
            else:
                done += 1
                yield {**(began or {}), **told}
        code = process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if code or done != len(seeds):
        fatal = [k for k, line in enumerate(said) if line.startswith("Fatal")]
        told = said[fatal[0] :] if fatal else said[-60:]
        raise AssertionError(f"exit status {code} in {began}\n{''.join(told)}")


def family_of(seed: int, families: Sequence[str]) -> str:
    return (families or FAMILIES)[seed % len(families or FAMILIES)]


def main(first: int, last: int, families: Sequence[str]) -> None:
    """Run seeds in this process."""
    faulthandler.enable()
    import numpy as np

    from staticflow.native.toolchain import target

    width = min(WIDTHS[first // TOGETHER % len(WIDTHS)], target.vector_bytes())
    target.vector_bytes = lambda: width  # before others import it
    from staticflow.native.threads import product_pool

    with mock.patch("os.sched_getaffinity", return_value={0, 1, 2, 3}):
        product_pool.pool()
    np.seterr(all="ignore")
    for seed in range(first, last):
        run_seed(seed, family_of(seed, families))


def run_seed(seed: int, family: str) -> None:
    """Make a case, and run it with pages at both ends and without any."""
    from tests.fuzz.guard_pages import calls as guard_calls
    from tests.fuzz.guard_pages import programs as guard_programs
    from tests.fuzz.guard_pages import training as guard_training
    from tests.fuzz.guard_pages.case import Count
    from tests.fuzz.guard_pages.pages import Entry, guarded

    random = Random(seed)
    modules = (guard_training, guard_calls, guard_programs)
    case = next(getattr(m, family) for m in modules if hasattr(m, family))(random)
    tell(case={"seed": seed, "family": family, "about": case.about})
    faulthandler.dump_traceback_later(TIMEOUT // 2, exit=True)
    count, results, regions = Count(), {}, 0
    with contextlib.ExitStack() as stack:
        for owner, name, value in case.settings:
            stack.enter_context(mock.patch.object(owner, name, value))
        for place in ("end", "begin"):
            with guarded(place) as pages:
                results[place] = case.work(count)
                regions += pages.made
                Entry.all.clear()
                gc.collect()
        results["without pages"] = case.work(Count())
    if case.expected is not None and results["end"]:
        results["by NumPy"] = case.expected()
    for name, arrays in results.items():
        close = case.close if name == "by NumPy" else case.equal
        compare(results["end"], arrays, name, close)
    faulthandler.cancel_dump_traceback_later()
    tell(training=count.training, calls=count.calls, regions=regions)


def compare(found: Any, expected: Any, name: str, tolerance: float) -> None:
    """Arrays relative to their largest finite element."""
    import numpy as np

    assert len(found) == len(expected), f"{len(found)} arrays, and {len(expected)} {name}"
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        finite = b[np.isfinite(b)] if b.dtype.kind == "f" else np.zeros(0)
        scale = max(1.0, float(np.abs(finite).max(initial=0.0)))
        close = tolerance * scale
        np.testing.assert_allclose(
            a, b, rtol=close, atol=close, err_msg=f"array {k} at the end, and {name}"
        )


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
