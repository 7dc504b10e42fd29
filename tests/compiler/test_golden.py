"""The printed graph and the generated source of three small models, word for word.

A change of the compiler that changes what it prints shows here as a difference to read. When it is
as intended, write the texts anew and look at `git diff tests/compiler/golden`:

    python -m pytest tests/compiler/test_golden.py --write-golden
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.printer import format_graph

GOLDEN = Path(__file__).parent / "golden"


def regression() -> sf.Session:
    """One hidden layer, trained by Adam."""
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    y = models.FNN([4, 8, 1], activation="tanh")(x)
    return sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.Adam(1e-3))


def classifier() -> sf.Session:
    """Softmax, with collectives for batch norm, and a draw for dropout."""
    x, labels = sf.input("x", ("batch", 4)), sf.input("labels", ("batch",), "int64")
    logits = models.FNN([4, 8, 3], norm="batch", dropout=0.5)(x)
    loss = ops.softmax_cross_entropy(logits, labels).mean()
    return sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1, momentum=0.9, clip_norm=1.0))


def views() -> sf.Session:
    """Slices, a concatenation, a gather and a reduction along rows, in inference."""
    x, index = sf.input("x", ("n", 6)), sf.input("index", ("k",), "int32")
    halves = ops.concatenate([x[:, ::-2], ops.exp(x[:, :3])], axis=1)
    return sf.Session(outputs=ops.take(halves, index, 0).sum(axis=1))


@pytest.mark.parametrize("make", [regression, classifier, views])
def test_printed_as_before(make: Callable[[], sf.Session], request: pytest.FixtureRequest) -> None:
    session = make()
    roots = [session.outputs] if session.loss is None else [session.loss]
    text = _stable(f"{format_graph(roots)}\n\n{session.source}\n")
    path = GOLDEN / f"{make.__name__}.txt"
    if request.config.getoption("--write-golden"):
        path.write_text(text)
    expected = path.read_text().splitlines()
    difference = difflib.unified_diff(expected, text.splitlines(), "golden", "now", lineterm="")
    assert text.splitlines() == expected, "\n".join(difference)


def _stable(text: str) -> str:
    """Without line numbers, which move for other reasons."""
    return re.sub(r"(\w+\.py):\d+", r"\1", text)
