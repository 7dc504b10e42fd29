"""The command `staticflow train digits`, run as a user runs it, over several seeds.

    python -m benchmarks.real_digits

Accuracy is on the 360 images held out (a stratified fifth of 1 797); the aim is a median of
97.5 %, 97 % for the recurrent models, which read 8 rows of 8 pixels. Time is that of the whole
process; the aim for the fnn is 2.5 s once the cache is warm, 10 s cold.
Without --cold, a first run that is not counted warms the cache.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ACCURACY = {"fnn": 97.5, "rnn": 97.0, "lstm": 97.0, "gru": 97.0}  # per cent
WARM, COLD = 2.5, 10.0  # seconds
_TEST = re.compile(r"^test +accuracy ([0-9.]+) %", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One process."""

    accuracy: float
    seconds: float


def train(options: list[str], cache: Path | None = None) -> Run:
    """Run the command in a folder of its own."""
    environment = dict(os.environ)
    if cache is not None:
        environment["STATICFLOW_CACHE_DIR"] = str(cache)
    root = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "staticflow", "train", "digits", "--no-plot", *options],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    found = _TEST.search(done.stdout)
    assert found, done.stdout
    return Run(float(found[1]), seconds)


def main(argv: list[str] | None = None) -> int:
    """Print a line a seed and the medians; 1 if an aim is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.real_digits", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", choices=list(ACCURACY), default="fnn")
    parser.add_argument("--cold", action="store_true", help="every run starts without a cache")
    options = parser.parse_args(argv)
    if not options.cold:
        train(["--model", options.model])
    runs = [_run(seed, options.model, options.cold) for seed in range(options.seeds)]
    accuracy = median(run.accuracy for run in runs)
    seconds = median(run.seconds for run in runs)
    limit, state = (COLD, "cold") if options.cold else (WARM, "warm")
    aim = f" (aim {limit} s, {state})" if options.model == "fnn" else ""
    print(f"median  accuracy {accuracy:.2f} % (aim {ACCURACY[options.model]} %)", end="")
    print(f"  process {seconds:.2f} s{aim}")
    slow = options.model == "fnn" and seconds > limit
    return int(accuracy < ACCURACY[options.model] or slow)


def _run(seed: int, model: str, cold: bool) -> Run:
    options = ["--seed", str(seed), "--model", model]
    with tempfile.TemporaryDirectory() as cache:
        run = train(options, Path(cache) if cold else None)
    print(f"seed {seed}  accuracy {run.accuracy:.2f} %  process {run.seconds:.2f} s", flush=True)
    return run


if __name__ == "__main__":
    sys.exit(main())
