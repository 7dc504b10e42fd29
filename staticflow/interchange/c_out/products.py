"""Matrix products as C functions for fixed sizes and strides.

Sums stay in a small block of registers over the whole inner size: some columns of some rows, in
loops of fixed length that compilers make vectors of. What has no neighbouring columns, such as a
matrix times a vector, is sums of elements side by side, each in several parts.
"""

from __future__ import annotations

from typing import NamedTuple

from staticflow.interchange.c_out.words import C_TYPES
from staticflow.interchange.c_out.writer import CWriter

BLOCK = {"f4": 64, "f8": 32}  # columns of one row that are summed at a time
ROWS = 4  # rows at a time, with a quarter of the columns each
PARTS = {"f4": 16, "f8": 8}  # of a sum whose terms lie side by side


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


def product_text(product: Product) -> str:
    """The function called {name} of pointers to A, B and C; of one that turns, to B, A and C."""
    write = CWriter()
    kind = C_TYPES[product.suffix]
    parameters = ", ".join(f"const {kind} *restrict {letter}" for letter in "ab")
    with write.block(f"static void {{name}}({parameters}, {kind} *restrict c)"):
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
    """The sums of some rows and columns from i and j on."""
    kind, suffix = C_TYPES[product.suffix], product.suffix
    columns = f"for (ptrdiff_t q = 0; q < {width}; ++q)"
    for r in range(rows):
        row = f"(i + {r})" if r else "i"
        start = f"c[{_scaled(row, product.c[0])} + {_scaled('(j + q)', product.c[1])}]"
        write(f"{kind} sum{r}[{width}];")
        write(f"{columns} sum{r}[q] = {start if product.adds else '0'};")
    with write.block(f"for (ptrdiff_t p = 0; p < {product.k}; ++p)"):
        for r in range(rows):
            row = f"(i + {r})" if r else "i"
            at = f"{_scaled(row, product.a[0])} + {_scaled('p', product.a[1])}"
            write(f"const {kind} x{r} = a[{at}];")
        at = f"{_scaled('p', product.b[0])} + {_scaled('(j + q)', product.b[1])}"
        for r in range(rows):
            sum_ = f"sum{r}[q]"
            write(f"{columns} {sum_} = SF_FMA_{suffix.upper()}(x{r}, b[{at}], {sum_});")
    for r in range(rows):
        row = f"(i + {r})" if r else "i"
        target = f"c[{_scaled(row, product.c[0])} + {_scaled('(j + q)', product.c[1])}]"
        write(f"{columns} {target} = sum{r}[q];")


def _dots(write: CWriter, product: Product) -> None:
    """Each element as the sum of products of elements along a row of A and a column of B."""
    kind, suffix = C_TYPES[product.suffix], product.suffix
    parts = PARTS[suffix] if product.k >= 2 * PARTS[suffix] else 1
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
