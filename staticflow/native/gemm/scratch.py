"""How much scratch memory a matrix product takes: known to those who provide it and who use it."""

from __future__ import annotations

HALF_BYTES = 1 << 19  # one half for panels of B, one for a block of A
GEMM_WORK_BYTES = 2 * HALF_BYTES  # at a cache line; one for each product that runs at a time
QUAD_ROWS, QUAD_COLUMNS = 8, 8  # so many rows, and no more columns, for `gemm.skinny.quads`
