"""A character model of a real text, against the same network in PyTorch: bits and wall time.

    python -m benchmarks.real_text

The text is CPython's own documentation of its topics (`pydoc_data.topics`, 465 000 characters).
Both start from the same weights and take the same number of steps of Adam on windows of 64
characters, 32 a batch, at a rate that falls along a cosine. The aim is PyTorch's bits a character,
on the last tenth of the text, within 2 %.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from staticflow.cli.parser import build_parser
from staticflow.cli.text_task import TextProblem, bits
from staticflow.data.text import windows

WITHIN = 0.02
RATE, LONG = 2e-3, 512
CELLS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}

Array = np.ndarray[Any, Any]


def problem(folder: Path, options: argparse.Namespace) -> TextProblem:
    """What `staticflow train topics.txt` learns."""
    from pydoc_data import topics

    path = folder / "topics.txt"
    path.write_text("\n".join(topics.topics.values()), encoding="utf-8")
    command = ["train", str(path), "--model", options.model, "--epochs", str(options.epochs)]
    return TextProblem(build_parser().parse_args(command))


class TorchModel(torch.nn.Module):
    """The same network, from the same weights."""

    def __init__(self, cell: str, weights: dict[str, Array]) -> None:
        super().__init__()
        symbols, width = weights["embedding"].shape
        hidden = weights["rnn.0.weight_hh"].shape[0]
        self.embedding = torch.nn.Embedding(symbols, width)
        self.rnn = CELLS[cell](width, hidden, batch_first=True)
        self.head = torch.nn.Linear(hidden, symbols)
        self.embedding.weight.data = torch.tensor(weights["embedding"])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(self.rnn, f"{name}_l0").data = torch.tensor(weights[f"rnn.0.{name}"].T.copy())
        self.head.weight.data = torch.tensor(weights["head.0.weight"].T.copy())
        self.head.bias.data = torch.tensor(weights["head.0.bias"])

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        ys, _ = self.rnn(self.embedding(x))
        return torch.nn.functional.cross_entropy(self.head(ys).flatten(0, 1), y.flatten())


def train_torch(net: TorchModel, x: Array, y: Array, epochs: int, batch: int) -> float:
    """Seconds."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), RATE, fused=True)
    total = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    feeds = torch.tensor(x), torch.tensor(y)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            net.loss(feeds[0][rows], feeds[1][rows]).backward()
            optimizer.step()
            schedule.step()
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    """Print both; 1 if ours needs more bits."""
    parser = argparse.ArgumentParser(prog="benchmarks.real_text", description=__doc__)
    parser.add_argument("--model", choices=list(CELLS), default="gru")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        text = problem(Path(folder), options)
    feeds, test = text.training_data(), text.test_data()
    assert test is not None
    session = text.session()
    net = TorchModel(options.model, {name: a.copy() for name, a in session.params.items()})

    start = time.perf_counter()
    session.fit(feeds, epochs=options.epochs, batch_size=32, progress=False)
    seconds = time.perf_counter() - start
    ours = bits(session, text.test)
    their_seconds = train_torch(net, feeds["x"], feeds["y"], options.epochs, 32)
    with torch.no_grad():
        x, y = (torch.tensor(part) for part in windows(text.test, LONG))
        theirs = net.loss(x, y).item() / math.log(2)
    print(f"{text.card.model}, {options.epochs} epochs of {-(-len(feeds['x']) // 32)} steps")
    print(f"staticflow  {ours:.3f} bits a character  {seconds:.1f} s, compilation included")
    print(f"PyTorch     {theirs:.3f} bits a character  {their_seconds:.1f} s")
    return int(ours > theirs * (1 + WITHIN))


if __name__ == "__main__":
    sys.exit(main())
