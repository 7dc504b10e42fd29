"""The matrix products that drivers call by name."""

from __future__ import annotations

from staticflow.native.gemm.epilogue_text import Tile
from staticflow.native.toolchain.code_unit import CodeUnit
from staticflow.native.toolchain.objects import External, KernelSource, Signature
from staticflow.native.toolchain.source_hash import products_key
from staticflow.native.toolchain.target import vector_bytes
from staticflow.native.toolchain.toolchain import Toolchain, symbol_suffix
from staticflow.native.toolchain.watch import stopped

DTYPES = {"f4": "float32", "f8": "float64"}
GEMM_SIGNATURE = Signature("", ("i8",) * 13)
PRODUCT_SIGNATURE = Signature("", ("i8",) * 14)
PACKED_SIGNATURE = Signature("", ("i8",) * 10)
PACK_SIGNATURE = Signature("i8", ("i8",) * 9)

# A large product is made in pieces of some 50 ms, and left unfinished when the stop flag is set.
# Along the summed axis, pieces pack every element once, as the whole product would.
PIECE = {"f4": 1 << 29, "f8": 1 << 28}  # multiplications
PIECE_ROWS, PIECE_DEPTH = 1024, 256
PRODUCT = '''
def product(m, n, k, a, a_row, a_column, b, b_row, b_column, c, c_row, add, work, stop):
    """C = A @ B, or C += A @ B; strides are in elements."""
    if m * n * k <= PIECE:
        gemm(m, n, k, a, a_row, a_column, b, b_row, b_column, c, c_row, add, work)
        return
    rows = min(m, PIECE_ROWS)
    depth = max(PIECE // (rows * n), PIECE_DEPTH)
    for i in range(0, m, rows):
        for p in range(0, k, depth):
            if load_acquire(stop) != 0:
                if stopped(stop) != 0:
                    return
            left = a + ITEM * (i * a_row + p * a_column)
            right = b + ITEM * p * b_row
            gemm(
                min(rows, m - i), n, min(depth, k - p), left, a_row, a_column,
                right, b_row, b_column, c + ITEM * i * c_row, c_row, add if p == 0 else 1, work,
            )
'''

# The worth of panels, measured for 2 to 32 rows of A: those of a turned B pay after 1 or 2 uses,
# of a straight one, which must be more than the first-level cache holds, after 2 to 8.
FEWEST_TURNED, FEWEST_STRAIGHT = 3, 10
NEAR_BYTES = 1 << 15
PACK = '''
def pack(m, n, k, b, b_row, b_column, to, count, most):
    """Copy B into panels for `count` products, if that pays; whether it did."""
    if count < FEWEST_TURNED or m < 2 or n < LANES or k < LANES or m * n * k > most:
        return 0
    if b_column == 1 and (count < FEWEST_STRAIGHT or n <= PANEL or n * k <= NEAR):
        return 0
    copy_panels(b, to, b_row, b_column, k, n)
    return 1
'''


def product(toolchain: Toolchain, suffix: str) -> External:
    """The matrix product of a dtype, which a stop flag cuts short."""
    names = {
        "PIECE": PIECE[suffix],
        "PIECE_ROWS": PIECE_ROWS,
        "PIECE_DEPTH": PIECE_DEPTH,
        "ITEM": 4 if suffix == "f4" else 8,
    }
    source = KernelSource(
        name="product",
        source=PRODUCT,
        signature=PRODUCT_SIGNATURE,
        externals={"gemm": gemm(toolchain, suffix), "stopped": stopped(toolchain)},
        namespace=lambda: names,
        namespace_key=(str(names),),
        noalias=False,
    )
    return toolchain.kernel(source).external


def gemm(toolchain: Toolchain, suffix: str) -> External:
    """The matrix product of a dtype, in one piece."""
    _load_gemm(toolchain, suffix)
    return External(f"sf_gemm_{suffix}", GEMM_SIGNATURE)


def product_with_epilogue(
    toolchain: Toolchain, unit: CodeUnit, tile: Tile, kernel: External
) -> External:
    """The product that does `tile` with its result, as code of a program's unit; `kernel` does it
    where the product can't.
    """
    from staticflow.native.gemm.epilogue import finish_ir

    width = vector_bytes()
    general = product(toolchain, tile.suffix).symbol
    most = PIECE[tile.suffix]
    shaped = (str(width), str(most), repr(tile), general, kernel.symbol)
    key = ["finish", *shaped, products_key()]
    own = f"sf_finished_{symbol_suffix(key)}"
    symbols = {"function": own, "product": general, "kernel": kernel.symbol}
    unit.module(lambda: finish_ir(DTYPES[tile.suffix], width, tile, symbols, most), key)
    words = len(PRODUCT_SIGNATURE.arguments) - 1 + len(tile.others)
    return External(own, Signature("", ("i8",) * words))


def packed_gemm(toolchain: Toolchain, suffix: str) -> External:
    """The matrix product of a dtype, with panels for B; see `gemm.prepacked`."""
    _load_gemm(toolchain, suffix)
    return External(f"sf_packed_{suffix}", PACKED_SIGNATURE)


def turned(toolchain: Toolchain, suffix: str) -> External:
    """The copy of a matrix, turned; see `gemm.transpose`."""
    _load_gemm(toolchain, suffix)
    return External(f"sf_turn_{suffix}", Signature("", ("i8",) * 4))


def pack(toolchain: Toolchain, suffix: str) -> External:
    """What copies a matrix into panels if that pays, and says whether it did."""
    from staticflow.native.gemm.tile import tile_heights

    _load_gemm(toolchain, suffix)
    item = 4 if suffix == "f4" else 8
    lanes = vector_bytes() // item
    names = {
        "LANES": lanes,
        "PANEL": max(tile_heights(vector_bytes())) * lanes,
        "NEAR": NEAR_BYTES // item,
        "FEWEST_TURNED": FEWEST_TURNED,
        "FEWEST_STRAIGHT": FEWEST_STRAIGHT,
    }
    source = KernelSource(
        name="pack",
        source=PACK,
        signature=PACK_SIGNATURE,
        externals={"copy_panels": External(f"sf_pack_{suffix}", Signature("", ("i8",) * 6))},
        namespace=lambda: names,
        namespace_key=(str(names),),
        noalias=False,
    )
    return toolchain.kernel(source).external


def _load_gemm(toolchain: Toolchain, suffix: str) -> None:
    from staticflow.native.gemm.dispatch import gemm_ir

    width = vector_bytes()
    key = ["gemm", suffix, str(width), products_key()]
    toolchain.module(lambda: gemm_ir(DTYPES[suffix], width), key)
