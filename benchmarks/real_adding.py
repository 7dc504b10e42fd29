"""The adding problem over 100 steps: an LSTM and a GRU learn it, a tanh RNN does not.

    python -m benchmarks.real_adding

Each step brings a number from [0, 1) and a mark; two steps are marked, one in each half, and the
answer is the sum of their numbers. To say 1 whatever comes costs a mean squared error of 1/6.
All cells have 64 hidden units, see the same fresh sequences in the same order, and take the same
number of steps of Adam. Each gets the best of the same learning rates by its error on sequences
for validation; the error in the table is on others, for the test. The aim is below 0.01 for the
LSTM and the GRU, and not for the tanh RNN. The figure is written to results/adding.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import staticflow as sf
from staticflow import models, ops

AIM = 0.01
LEARN, FAIL = ("lstm", "gru"), ("tanh",)
RATES = (1e-3, 3e-3, 1e-2)
STEPS, HIDDEN, BATCH, BLOCK, BLOCKS = 100, 64, 50, 5000, 40  # sequences come in blocks
VALIDATION, TEST = 1_000_001, 1_000_002  # seeds of data, as the numbers of the blocks are
FIGURE = Path(__file__).parent / "results" / "adding.png"

Feeds = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Run:
    """One cell at one learning rate."""

    cell: str
    rate: float
    validation: list[float]  # the error after each block
    test: float
    seconds: float


def sequences(count: int, seed: int) -> Feeds:
    """Sequences and their answers; a seed means the same ones always."""
    rng = np.random.default_rng([0, seed])
    numbers = rng.random((count, STEPS), dtype=np.float32)
    marks = np.zeros_like(numbers)
    rows, half = np.arange(count), STEPS // 2
    marks[rows, rng.integers(0, half, count)] = 1
    marks[rows, rng.integers(half, STEPS, count)] = 1
    return {"x": np.stack([numbers, marks], axis=-1), "y": (numbers * marks).sum(axis=1)}


def build(cell: str, rate: float, steps: int, seed: int) -> sf.Session:
    """The network; its learning rate falls to 0 over `steps` steps."""
    x = sf.input("x", ("batch", "time", 2))
    y = sf.input("y", ("batch",))
    answer = models.FNN([HIDDEN, 1], name="head")(models.RNN(HIDDEN, cell)(x))[:, 0]
    optimizer = sf.optim.Adam(sf.optim.cosine(rate, steps), clip_norm=1.0)
    return sf.Session(loss=ops.mse(answer, y), optimizer=optimizer, seed=seed)


def train(cell: str, rate: float, blocks: int, seed: int, bar: tqdm[Any]) -> Run:
    """Train on the blocks one after another, and look at the validation after each."""
    session = build(cell, rate, blocks * BLOCK // BATCH, seed)
    held_out, curve, start = sequences(1000, VALIDATION), [], time.perf_counter()
    for block in range(blocks):
        session.fit(sequences(BLOCK, block), batch_size=BATCH, progress=False)
        curve.append(session.evaluate(held_out)["loss"])
        bar.set_description(f"{cell} {rate:g} mse {curve[-1]:.4f}", refresh=False)
        bar.update()
    seconds = time.perf_counter() - start
    return Run(cell, rate, curve, session.evaluate(sequences(2000, TEST))["loss"], seconds)


def draw(best: Mapping[str, Run], path: Path) -> None:
    """Draw the validation error of each cell over its steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for cell, run in best.items():
        steps = np.arange(1, len(run.validation) + 1) * (BLOCK // BATCH)
        axes.plot(steps, run.validation, label=f"{cell}, rate {run.rate:g}")
    axes.axhline(1 / 6, color="grey", linestyle=":", label="always 1")
    axes.axhline(AIM, color="grey", linestyle="--", label=f"aim {AIM}")
    axes.set(yscale="log", xlabel="training steps", ylabel="mean squared error (validation)")
    axes.set_title(f"Adding problem, T = {STEPS}, hidden {HIDDEN}")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> int:
    """Print the table and draw the figure; 1 if a cell does other than the aim says."""
    parser = argparse.ArgumentParser(prog="benchmarks.real_adding", description=__doc__)
    parser.add_argument("--blocks", type=int, default=BLOCKS, help=f"of {BLOCK} sequences")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the shuffling")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args(argv)
    cells = (*LEARN, *FAIL)
    with tqdm(total=len(cells) * len(RATES) * options.blocks, unit=" blocks") as bar:
        runs = [train(c, rate, options.blocks, options.seed, bar) for c in cells for rate in RATES]
    best = {
        cell: min((run for run in runs if run.cell == cell), key=lambda run: run.validation[-1])
        for cell in cells
    }
    print(f"{options.blocks * BLOCK // BATCH} steps of {BATCH} sequences, T = {STEPS}")
    print("cell    rate  validation      test  seconds")
    for run in runs:
        mark = "  <- best by validation" if run is best[run.cell] else ""
        print(f"{run.cell:5} {run.rate:6g}  {run.validation[-1]:10.5f}", end="")
        print(f"  {run.test:8.5f}  {run.seconds:7.1f}{mark}")
    draw(best, options.figure)
    print(f"figure: {options.figure}")
    return int(any((best[cell].test < AIM) != (cell in LEARN) for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
