"""Learning a text, character by character: `train` on a .txt file, and `generate`.

One network serves two graphs with the same parameters: over windows, to train; and on from a state,
to generate.

    characters -> embedding -> rnn -> head -> logits of the next character
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import staticflow as sf
from staticflow import models, ops
from staticflow.cli import network
from staticflow.cli.errors import CommandError
from staticflow.cli.model_card import Card, TextCard, load_model
from staticflow.cli.source import fingerprint
from staticflow.data.text import Codes, Text, encode, read_text, windows

if TYPE_CHECKING:
    from staticflow.session.session import Session

_EPOCHS, _TEST_FRACTION, _STEPS = 10, 0.1, 64
_LONG = 512  # characters of a window in a test, so that few of them lack what came before
_SMALLEST = 1000  # characters of a text that is worth learning
_EMBEDDING = 32


class TextProblem:
    """The next character of a text; see `train.Problem`."""

    def __init__(self, options: argparse.Namespace) -> None:
        _check(options)
        self._options = options
        self._text = read_text(options.source)
        self.name = Path(options.source).stem
        self.epochs: int = options.epochs or _EPOCHS
        self._steps: int = options.steps or _STEPS
        fraction = _TEST_FRACTION if options.test_fraction is None else options.test_fraction
        alphabet = self._text.alphabet()
        if len(alphabet) == 1:
            raise CommandError(f"{options.source} holds one character only, {alphabet!r}")
        codes = encode(self._text.characters, alphabet, self._text.source)
        self.train, self.test = split_text(codes, fraction)
        if len(self.train) < max(_SMALLEST, 2 * self._steps):
            raise CommandError(
                f"{options.source} is too short to learn from: {len(codes)} characters"
            )
        self.card = TextCard(
            model=network.describe(options, len(alphabet), len(alphabet)),
            alphabet=alphabet,
            states=_state_shapes(options),
            characters=fingerprint(codes),
            test_fraction=fraction,
        )

    def session(self) -> Session:
        rows = len(self.train) // self._steps
        return build(self._options, self.card, self.epochs * network.updates(self._options, rows))

    def training_data(self) -> dict[str, Codes]:
        return _feeds(self.train, self._steps)

    def test_data(self) -> dict[str, Codes] | None:
        return _feeds(self.test, _LONG) if len(self.test) > 1 else None

    def results(self, session: Session) -> list[tuple[str, str]]:
        numbers = sum(array.size for array in session.params.values())
        count = f"{len(self.train):,} characters to train on, {len(self.test):,} to test on"
        rows = [
            ("model", f"{self.card.model}, {numbers:,} parameters"),
            ("data", f"{self._text.source}: {count}; {len(self.card.alphabet)} different ones"),
            ("training", network.trained(self._options, self.epochs)),
        ]
        if len(self.test) > 1:
            rows.append(("test", f"{bits(session, self.test):.3f} bits a character"))
        return rows


def _check(options: argparse.Namespace) -> None:
    for name in ("target", "drop", "task", "window"):
        if getattr(options, name):
            raise CommandError(f"--{name} is for tables; {options.source} is a text")
    if options.model == "fnn":
        raise CommandError(f"{options.source} is a text; learn it with --model gru, lstm or rnn")


def split_text(codes: Codes, fraction: float) -> tuple[Codes, Codes]:
    """The beginning to train on, and the end to test on."""
    cut = len(codes) - math.ceil(len(codes) * fraction)
    return codes[:cut], codes[cut:]


def _feeds(codes: Codes, length: int) -> dict[str, Codes]:
    x, y = windows(codes, min(length, len(codes) - 1))
    return {"x": x, "y": y}


def bits(session: Session, codes: Codes) -> float:
    """Cross entropy in bits a character."""
    return float(session.evaluate(_feeds(codes, _LONG), batch_size=64)["loss"]) / math.log(2)


def _state_shapes(options: argparse.Namespace) -> list[list[int]]:
    hidden = network.widths(options)
    shape = [1, hidden[0]] if len(hidden) == 1 else [len(hidden), 1, hidden[0]]
    return [shape] * (2 if options.model == "lstm" else 1)


def build(options: argparse.Namespace, card: TextCard, total_steps: int) -> Session:
    """A session that trains on `x` and `y`, and goes on from `text` and `state0`, `state1`."""
    symbols = len(card.alphabet)
    network.check_size(options, _EMBEDDING, symbols)
    table = sf.param("embedding", (symbols, _EMBEDDING), init="normal")
    rnn = network.recurrent(options, options.dropout or 0.0, sequences=True)
    head = models.FNN([network.widths(options)[0], symbols], name="head")

    x = sf.input("x", ("batch", "time"), dtype="int64")
    y = sf.input("y", ("batch", "time"), dtype="int64")
    loss = ops.softmax_cross_entropy(head(rnn(ops.embedding(table, x))), y).mean()

    text = sf.input("text", (1, "length"), dtype="int64")
    before = [sf.input(f"state{k}", tuple(shape)) for k, shape in enumerate(card.states)]
    start = before[0] if len(before) == 1 else before
    ys, after = rnn(ops.embedding(table, text), initial_state=start, return_state=True)
    states = [after] if isinstance(after, sf.Node) else list(after)
    outputs = {"next": head(ys[0, -1]), **{f"state{k}": s for k, s in enumerate(states)}}
    return sf.Session(
        loss=loss,
        outputs=outputs,
        optimizer=network.optimizer(options, total_steps),
        seed=options.seed,
        threads=options.threads,
    )


def load_text_model(path: Path) -> tuple[Session, TextCard]:
    """A model of a text."""
    session, card = load_model(path)
    if isinstance(card, Card):
        raise CommandError(f"{path} is a model of a table's rows; use it with `staticflow predict`")
    return session, card


def held_out(card: TextCard, text: Text) -> tuple[Codes, str]:
    """The characters to evaluate on: of the text trained on, its end."""
    codes = encode(text.characters, card.alphabet, text.source)
    if card.test_fraction and fingerprint(codes) == card.characters:
        return split_text(codes, card.test_fraction)[1], "the end held out from training"
    return codes, "all characters"
