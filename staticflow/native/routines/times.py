"""How long native routines take, by their sizes: what the cost model counts for a call.

Each function takes the 4-byte words of an element and the sizes and flags that the routine gets
behind its arrays, and gives nanoseconds. They were fitted to one core of a Zen 5 with matrices of
8 to 400 rows and rows of 100 to 100 000 elements, and are right within a factor of 2 there.
"""

from __future__ import annotations

import math

SQUARINGS = 8  # a usual number of them, which is known at run time only


def cholesky(words: float, batch: int, n: int) -> float:
    return batch * (2 * n**2 + 0.004 * words * n**3)


def lu(words: float, batch: int, n: int) -> float:
    return batch * (2 * n**2 + 0.01 * words * n**3)


def triangular(words: float, batch: int, n: int, k: int, *flags: int) -> float:
    return batch * (2 * n * k + 0.012 * words * n**2 * k)


def lu_solve(words: float, batch: int, n: int, k: int, *flags: int) -> float:
    return 2 * triangular(words, batch, n, k)


def qr(words: float, batch: int, m: int, n: int) -> float:
    return batch * 0.16 * words * m * n * min(m, n)


def squarings(words: float, batch: int, n: int) -> float:
    return batch * SQUARINGS * 0.01 * words * n**3


def eigh(words: float, batch: int, n: int) -> float:
    return batch * (3000 + 25 * n**2 + 0.1 * words * n**3)


def svd(words: float, batch: int, m: int, n: int) -> float:
    return batch * (5000 + 50 * m * n + 0.2 * words * m * n * min(m, n))


def cumsum(words: float, rows: int, n: int, *flags: int) -> float:
    return 0.9 * rows * n


def recurrence(words: float, rows: int, n: int, *flags: int) -> float:
    return 1.2 * rows * n


def argsort(words: float, rows: int, n: int, *flags: int) -> float:
    return 5.4 * rows * n * math.log2(max(n, 2))


def turn(words: float, rows: int, columns: int) -> float:
    return 0.2 * words * rows * columns
