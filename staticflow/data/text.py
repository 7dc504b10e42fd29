"""A text as numbers: its characters, and windows in which each is to be foretold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from staticflow.data.errors import DataError
from staticflow.data.opening import check_file, line_not_utf8, unreadable

Codes = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Text:
    """The characters of a file."""

    source: str
    characters: str

    def alphabet(self) -> str:
        """Every character that occurs, in order of code point."""
        return "".join(sorted(set(self.characters)))


def read_text(path: str | Path) -> Text:
    """Read a UTF-8 file."""
    path = Path(path)
    check_file(path)
    try:
        characters = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise line_not_utf8(path) from None
    except OSError as error:
        raise unreadable(path, error) from error
    return Text(str(path), characters)


def encode(characters: str, alphabet: str, source: str) -> Codes:
    """The place of each character in the alphabet."""
    number = {character: k for k, character in enumerate(alphabet)}
    strange = next((c for c in characters if c not in number), None)
    if strange is not None:
        raise DataError(f"{source}: the model was trained without the character {strange!r}")
    return np.array([number[character] for character in characters], np.int64)


def windows(codes: Codes, length: int) -> tuple[Codes, Codes]:
    """Consecutive rows of `length` characters, and the character after each; a rest is left out."""
    rows = (len(codes) - 1) // length
    used = rows * length
    return codes[:used].reshape(rows, length), codes[1 : used + 1].reshape(rows, length)
