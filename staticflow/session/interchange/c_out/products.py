"""Matrix products as C functions for fixed sizes and strides.

Sums stay in a small block of registers over the whole inner size: some columns of some rows, in
loops of fixed length that compilers make vectors of. What has no neighbouring columns, such as a
matrix times a vector, is sums of elements side by side, each in several parts.
"""

from __future__ import annotations

from typing import NamedTuple

from staticflow.session.interchange.c_out.words import C_TYPES
from staticflow.session.interchange.c_out.writer import CWriter

BLOCK = {"f4": 64, "f8": 32}  # columns of one row that are summed at a time
ROWS = 4  # rows at a time, with a quarter of the columns each
PARTS = {"f4": (16, 8, 4), "f8": (8, 4, 2)}  # of a sum whose terms lie side by side


class Product(NamedTuple):
    """C = A @ B, or C += A @ B: sizes, and how far apart rows and columns are."""

    suffix: str
    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    c: tuple[int, int]
    adds: bool

    @property
    def turned(self) -> Product:
        """C' = B' @ A', with A and B exchanged."""
        return Product(
            self.suffix, self.n, self.m, self.k, self.b[::-1], self.a[::-1], self.c[::-1], self.adds
        )

    @property
    def turns(self) -> bool:
        """Whether the exchange gives columns side by side: of a turned matrix times a vector."""
        return self.n == 1 and self.m > 1 and self.a[0] == 1 and self.c[0] == 1


def product_text(product: Product, apart: bool = True) -> str:
    """The function called {name} of pointers to A, B and C; of one that turns, to B, A and C.

    They are `restrict` if they are to places `apart` in all calls.
    """
    write = CWriter()
    kind = C_TYPES[product.suffix]
    star = "*restrict " if apart else "*"
    parameters = ", ".join(f"const {kind} {star}{letter}" for letter in "ab")
    with write.block(f"static void {{name}}({parameters}, {kind} {star}c)"):
        write.comment(f"[{product.m}, {product.k}] @ [{product.k}, {product.n}]")
        _body(write, product.turned if product.turns else product)
    return write.text


def _body(write: CWriter, product: Product) -> None:
    if product.k == 0 and product.adds:
        for letter in "abc":
            write(f"(void){letter};")
        return
    if product.k == 0:
        write("(void)a;")
        write("(void)b;")
    if product.n == 1 or (product.b[1] != 1 and product.b[0] == 1):
        _dots(write, product)
        return
    rows = ROWS if product.m >= ROWS else 1
    whole = product.m // rows * rows
    _rows(write, product, 0, whole, rows)
    if whole < product.m:
        _rows(write, product, whole, product.m, 1)


def _scaled(name: str, stride: int) -> str:
    return name if stride == 1 else f"{name} * {stride}"


def _rows(write: CWriter, product: Product, first: int, end: int, rows: int) -> None:
    """The rows from one to another, some at a time."""
    width = min(BLOCK[product.suffix] // rows, product.n)
    whole = product.n // width * width
    step = "++i" if rows == 1 else f"i += {rows}"
    with write.block(f"for (ptrdiff_t i = {first}; i < {end}; {step})"):
        with write.block(f"for (ptrdiff_t j = 0; j < {whole}; j += {width})"):
            _block(write, product, rows, width)
        if whole < product.n:
            write(f"const ptrdiff_t j = {whole};")
            _block(write, product, rows, product.n - whole)


def _block(write: CWriter, product: Product, rows: int, width: int) -> None:
    """The sums of some rows and columns from i and j on.

    Those of a narrow row are in several parts, or each multiplication would wait for the last.
    """
    kind, suffix = C_TYPES[product.suffix], product.suffix
    columns = f"for (ptrdiff_t q = 0; q < {width}; ++q)"
    parts = _parts_of(product, rows, width)
    for r in range(rows):
        start = _result(product, r) if product.adds else "0"
        for part in range(parts):
            write(f"{kind} {_sum(r, part)}[{width}];")
            write(f"{columns} {_sum(r, part)}[q] = {start if part == 0 else '0'};")
    whole = product.k // parts * parts
    step = "++p" if parts == 1 else f"p += {parts}"
    with write.block(f"for (ptrdiff_t p = 0; p < {whole}; {step})"):
        for part in range(parts):
            for r in range(rows):
                at = f"{_scaled(_plus('i', r), product.a[0])}"
                at += f" + {_scaled(_plus('p', part), product.a[1])}"
                write(f"const {kind} x{r}_{part} = a[{at}];")
        for part in range(parts):
            at = f"{_scaled(_plus('p', part), product.b[0])} + {_scaled('(j + q)', product.b[1])}"
            for r in range(rows):
                name = f"{_sum(r, part)}[q]"
                write(f"{columns} {name} = SF_FMA_{suffix.upper()}(x{r}_{part}, b[{at}], {name});")
    for part in range(product.k - whole):  # what is left
        at = f"{_scaled(str(whole + part), product.b[0])} + {_scaled('(j + q)', product.b[1])}"
        x = f"a[{_scaled('i', product.a[0])} + {_scaled(str(whole + part), product.a[1])}]"
        name = f"{_sum(0, part)}[q]"
        write(f"{columns} {name} = SF_FMA_{suffix.upper()}({x}, b[{at}], {name});")
    for half in (h for h in (2, 1) if h < parts):
        for part in range(half):
            write(f"{columns} {_sum(0, part)}[q] += {_sum(0, part + half)}[q];")
    for r in range(rows):
        write(f"{columns} {_result(product, r)} = {_sum(r, 0)}[q];")


def _parts_of(product: Product, rows: int, width: int) -> int:
    """In how many parts sums over the inner size go, so that there are as many as in a block."""
    if rows > 1 or product.k < 8:
        return 1
    return (
        4 if 4 * width <= BLOCK[product.suffix] else 2 if 2 * width <= BLOCK[product.suffix] else 1
    )


def _sum(row: int, part: int) -> str:
    return f"sum{row}_{part}"


def _plus(name: str, number: int) -> str:
    return f"({name} + {number})" if number else name


def _result(product: Product, row: int) -> str:
    """An element of the result, in the column q of a block."""
    at = f"{_scaled(_plus('i', row), product.c[0])} + {_scaled('(j + q)', product.c[1])}"
    return f"c[{at}]"


def _dots(write: CWriter, product: Product) -> None:
    """Each element as the sum of products of elements along a row of A and a column of B."""
    kind, suffix = C_TYPES[product.suffix], product.suffix
    parts = next((n for n in PARTS[suffix] if product.k >= 2 * n), 1)
    whole = product.k // parts * parts
    with write.block(f"for (ptrdiff_t i = 0; i < {product.m}; ++i)"):
        with write.block(f"for (ptrdiff_t j = 0; j < {product.n}; ++j)"):
            c = f"c[{_scaled('i', product.c[0])} + {_scaled('j', product.c[1])}]"
            write(f"{kind} sum = {c if product.adds else '0'};")
            if parts > 1:
                _parts(write, product, parts, whole)
            if parts == 1 or whole < product.k:
                first = whole if parts > 1 else 0
                with write.block(f"for (ptrdiff_t p = {first}; p < {product.k}; ++p)"):
                    write(f"sum = SF_FMA_{suffix.upper()}({_pair(product, 'p')}, sum);")
            write(f"{c} = sum;")


def _parts(write: CWriter, product: Product, parts: int, whole: int) -> None:
    """Add up most of a sum in parts, and these in pairs."""
    kind, suffix = C_TYPES[product.suffix], product.suffix
    columns = "for (ptrdiff_t q = 0; q < {}; ++q)"
    every = columns.format(parts)
    write(f"{kind} part[{parts}];")
    write(f"{every} part[q] = 0;")
    with write.block(f"for (ptrdiff_t p = 0; p < {whole}; p += {parts})"):
        pair = _pair(product, "(p + q)")
        write(f"{every} part[q] = SF_FMA_{suffix.upper()}({pair}, part[q]);")
    half = parts // 2
    while half:
        write(f"{columns.format(half)} part[q] += part[q + {half}];")
        half //= 2
    write("sum += part[0];")


def _pair(product: Product, p: str) -> str:
    a = f"a[{_scaled('i', product.a[0])} + {_scaled(p, product.a[1])}]"
    return f"{a}, b[{_scaled(p, product.b[0])} + {_scaled('j', product.b[1])}]"
