"""What the cases between guard pages have in common: sizes, threads, and settings of the code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.cost_model import Choice
from staticflow.native.threads import call_pool
from staticflow.runtime import blocked_frame as blocking
from staticflow.runtime import fast_call
from staticflow.training import owner_computes as owned
from staticflow.training import split_k as partials
from staticflow.training import trainer as training

Array = NDArray[Any]
THREADS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)
# Around the code's thresholds: lanes of vectors, tiles, quads, rooms of narrow rows, blocks of
# copied operands, depths, slabs, and items that are added up at a time.
EXTENTS = (
    1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95,
    96, 97, 127, 128, 129, 191, 192, 193, 239, 240, 241, 255, 256, 257, 479, 481, 511, 512, 513,
    1023, 1024, 1025, 2047, 2048, 2049,
)  # fmt: skip


@dataclass
class Count:
    """What a case has done."""

    training: int = 0  # steps
    calls: int = 0


@dataclass
class Case:
    """Work that gives the same arrays each time, and what else they must be."""

    about: str
    work: Callable[[Count], list[Array]]
    expected: Callable[[], list[Array]] | None = None
    close: float = 0.0  # to what is expected, relative to the largest element
    equal: float = 0.0  # from run to run
    settings: list[tuple[Any, str, Any]] = field(default_factory=list)


def extent(random: Random, most: int = 2049) -> int:
    """A size: small ones are as likely as all others together."""
    limit = random.choice((9, 33, most, most))
    return random.choice([n for n in EXTENTS if n <= min(limit, most)])


def extents(random: Random, count: int, most: int, product: int) -> list[int]:
    """Sizes with a bounded product, in any order."""
    sizes: list[int] = []
    for _ in range(count):
        sizes.append(extent(random, max(1, min(most, product))))
        product //= sizes[-1]
    random.shuffle(sizes)
    return sizes


def normal(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    """Random numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def settings(random: Random) -> list[tuple[Any, str, Any]]:
    """Let small sizes go the ways of large ones: shards, blocks, pieces and parts of products."""
    found: list[tuple[Any, str, Any]] = []
    if random.random() < 0.75:
        found.append((training, "choose_shards", all_threads))
    if random.random() < 0.25:
        found.append((blocking, "CORE_CACHE_BYTES", 0))
        found.append((blocking, "BLOCK_BYTES", random.choice((64, 1024, 1 << 14))))
        found.append((blocking, "MAX_GRADIENT_SHARE", 1e9))
    if random.random() < 0.3:
        found.append((owned, "LARGER", random.choice((0.0, 0.2))))
    if random.random() < 0.3:
        found.append((partials, "NS_PER_BARRIER", 0.0))
    if random.random() < 0.6:
        found.append((call_pool, "WAKE_AFTER_NS", random.choice((0, 1000))))
        found += [(fast_call, "SHARED_NS", 0.0), (fast_call, "KEEP_GIL_NS", 0.0)]
        found.append((fast_call, "PIECE_NS", random.choice((10.0, 300.0, 5e3))))
    if random.random() < 0.4:
        found.append((fast_call, "CORE_CACHE_BYTES", random.choice((0, 1 << 10, 1 << 14))))
        found.append((fast_call, "PIECE_BYTES", random.choice((64, 1 << 10, 1 << 14))))
    return found


def all_threads(work: Any, threads: int, rows: int, reason: str) -> Choice:
    """In the place of the cost model."""
    return Choice(1 if reason else threads, 1e9, 1e9, reason)
