"""`staticflow generate`: a text that goes on from a prompt, by a character model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.cli.model_card import TextCard
from staticflow.cli.text_task import load_text_model
from staticflow.data.text import Codes, encode

if TYPE_CHECKING:
    from staticflow.session.session import Session


def run(options: argparse.Namespace) -> int:
    """Print the prompt and what follows, as it comes."""
    session, card = load_text_model(options.model)
    writer = TextGenerator(session, card, options.seed)
    # Without a prompt a text begins as after the end of a line, or any character.
    begin = "\n" if "\n" in card.alphabet else card.alphabet[0]
    logits = writer.read(encode(options.prompt or begin, card.alphabet, "--prompt"))
    sys.stdout.write(options.prompt)
    for _ in range(options.length):
        code = writer.draw(logits, options.temperature)
        sys.stdout.write(card.alphabet[code])
        sys.stdout.flush()
        logits = writer.read([code])
    sys.stdout.write("\n")
    return 0


class TextGenerator:
    """A text that grows, one character at a time, from the state of what came before."""

    def __init__(self, session: Session, card: TextCard, seed: int) -> None:
        self._session = session
        self._rng = np.random.default_rng(seed)
        self._names = [f"state{k}" for k in range(len(card.states))]
        self._states = [np.zeros(shape, np.float32) for shape in card.states]

    def read(self, codes: Sequence[int] | Codes) -> np.ndarray[Any, Any]:
        """Take in characters; returns the logits of the next."""
        feeds = dict(zip(self._names, self._states, strict=True))
        text = np.asarray(codes, np.int64)[None]
        found = self._session.run(["next", *self._names], {"text": text, **feeds})
        self._states = found[1:]
        logits: np.ndarray[Any, Any] = found[0]
        return logits

    def draw(self, logits: np.ndarray[Any, Any], temperature: float) -> int:
        """A character by its probability."""
        above = logits.astype(np.float64).ravel()
        with np.errstate(over="ignore"):  # at a low temperature, all but the likeliest have -inf
            weights = np.exp((above - np.max(above)) / temperature)
        return int(self._rng.choice(len(weights), p=weights / weights.sum()))
