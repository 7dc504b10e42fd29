"""A file that anybody has changed is refused in words, or is a model that computes numbers.

Model files are changed by one who knows their structure, and signed again; tables and cache entries
as well (`tests/fuzz/hostile_files`). Each is tried in a process of limited memory and time that
watches which files, processes and sockets are made or touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Timer
from typing import Any

from tests.campaigns import Tick
from tests.support.places import ROOT

COUNT, SAMPLE = 50_000, 120
CHUNK = 250  # cases for one process
SILENCE = 120  # seconds for a case, after which its process is ended
WORKER = "tests.fuzz.hostile_files.worker"


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    """Try cases `seed`, `seed + 1` and so on."""
    chunks: SimpleQueue[range] = SimpleQueue()
    for first in range(seed, seed + count, CHUNK):
        chunks.put(range(first, min(first + CHUNK, seed + count)))
    found: Counter[str] = Counter()

    def work(_: int) -> None:
        for outcome in outcomes(chunks):
            found[outcome["kind"]] += 1
            tick()
            if outcome["kind"] == "FAILED":
                raise AssertionError(f"case {outcome['number']}: {outcome['text']}")

    workers = max(1, min(os.cpu_count() or 1, count // CHUNK))
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, k) for k in range(workers)]:
            done.result()
    return {"files": count, **dict(sorted(found.items()))}


def outcomes(chunks: SimpleQueue[range]) -> Iterator[dict[str, Any]]:
    """The outcomes of all cases, in processes of their own."""
    while True:
        try:
            numbers = chunks.get_nowait()
        except Empty:
            return
        yield from of_one_process(numbers)


def of_one_process(numbers: range) -> Iterator[dict[str, Any]]:
    """The outcomes of some cases; the one at which a process dies has that for its outcome."""
    command = [sys.executable, "-X", "faulthandler", "-m", WORKER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        for number in numbers:
            timer = Timer(SILENCE, process.kill)
            timer.start()
            try:
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            finally:
                timer.cancel()
            if not answer:
                process.kill()
                text = f"the process ended with {process.wait()}: {process.stderr.read()[-3000:]}"
                yield {"number": number, "kind": "FAILED", "text": text}
                return
            yield json.loads(answer)
        process.stdin.close()
