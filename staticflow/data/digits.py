"""The UCI handwritten digits, bundled so that the first training run needs nothing else.

Their licence (CC BY 4.0) and origin stand in `LICENSE-digits.txt` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_FILE = Path(__file__).parent / "digits.npz"


@dataclass(frozen=True)
class Digits:
    """1 797 images of 8 x 8 pixels from 0 to 16, as rows of 64, and the digit that each shows."""

    images: np.ndarray[Any, np.dtype[np.float32]]
    labels: np.ndarray[Any, np.dtype[np.int64]]


def load_digits() -> Digits:
    """Load the bundled handwritten digits."""
    with np.load(_FILE, allow_pickle=False) as arrays:
        return Digits(arrays["images"].astype(np.float32), arrays["labels"].astype(np.int64))
