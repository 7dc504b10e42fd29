"""Loss curves against PyTorch's: same weights, same batches, MNIST, 784-128-10, float32.

    python -m benchmarks.real_curves

The aim is 1e-4 relative for each of the first 200 losses, with SGD with momentum and with Adam.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import torch

import staticflow as sf
from benchmarks.real_mnist import BATCH, Images, load_images, session, torch_net, weights

STEPS, WITHIN = 200, 1e-4
OPTIMIZERS = {
    "SGD with momentum": (
        lambda: sf.optim.SGD(0.05, momentum=0.9),
        lambda net: torch.optim.SGD(net.parameters(), 0.05, momentum=0.9),
    ),
    "Adam": (
        lambda: sf.optim.Adam(1e-3),
        lambda net: torch.optim.Adam(net.parameters(), 1e-3),
    ),
}


def batches(images: Images, steps: int) -> list[Images]:
    """The same rows for both, shuffled anew each epoch."""
    rng = np.random.default_rng(0)
    per_epoch = len(images.y) // BATCH
    epochs = -(-steps // per_epoch)
    rows = [rng.permutation(len(images.y))[: per_epoch * BATCH] for _ in range(epochs)]
    return [images.part(part) for part in np.concatenate(rows).reshape(-1, BATCH)[:steps]]


def our_losses(optimizer: Any, feeds: list[Images]) -> list[float]:
    """A loss before each update."""
    net = session(optimizer, weights())
    return [net.step({"x": batch.x, "y": batch.y}) for batch in feeds]


def torch_losses(make: Any, feeds: list[Images]) -> list[float]:
    """A loss before each update."""
    net = torch_net(weights())
    optimizer = make(net)
    losses = []
    for batch in feeds:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(batch.x)), torch.tensor(batch.y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(argv: list[str] | None = None) -> int:
    """Print the largest relative difference for each optimizer; 1 if one is too large."""
    parser = argparse.ArgumentParser(prog="benchmarks.real_curves", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(argv)
    feeds = batches(load_images(), options.steps)
    worst = []
    for name, (ours, theirs) in OPTIMIZERS.items():
        a, b = our_losses(ours(), feeds), torch_losses(theirs, feeds)
        apart = np.abs(np.array(a) - b) / np.abs(b)
        worst.append(float(apart.max()))
        print(f"{name}: loss {b[0]:.3f} to {b[-1]:.3f} in {len(b)} steps;", end=" ")
        print(f"largest relative difference {worst[-1]:.1e} (aim {WITHIN:g})")
    return int(max(worst) > WITHIN)


if __name__ == "__main__":
    sys.exit(main())
