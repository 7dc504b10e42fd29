"""Data files that cannot be learnt from, and what the command line says about each of them.

A case is a file's name, its bytes (or what makes it), and a part of the message. The tables are
meant for columns `a`, `b` and the classes `side`, as the models of test_cli_broken.py know them.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GOOD = "a,b,side\n" + "".join(f"{k},{k % 3},{'left' if k % 2 else 'right'}\n" for k in range(12))
Make = bytes | Callable[[Path], None]


@dataclass(frozen=True)
class Broken:
    """A file, and a part of what is said about it."""

    name: str
    content: Make
    says: str

    def write(self, folder: Path) -> Path:
        """Put the file into a folder."""
        path = folder / self.name
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path


def csv(name: str, text: str, says: str) -> Broken:
    return Broken(f"{name}.csv", text.encode(), says)


def with_row(row: str) -> str:
    """A good table with a row in place of the second, which is line 3."""
    lines = GOOD.splitlines()
    lines[2] = row
    return "\n".join([*lines, ""])


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def columns(**changed: Any) -> dict[str, Any]:
    """The arrays of a good table; None leaves one out."""
    sides = np.array(["left", "right"] * 6)
    arrays = {"a": np.arange(12.0), "b": np.arange(12.0) % 3, "side": sides, **changed}
    return {name: array for name, array in arrays.items() if array is not None}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    """A .npy file of a header that may claim anything."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def claimed(shape: str, descr: str = "<f8") -> bytes:
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}", b"\0" * 96)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def with_flag(at: int, value: int) -> bytes:
    """An archive whose directory says of its member that it needs a password, or a method."""
    data = bytearray(zipped({"a.npy": claimed("(12,)")}))
    data[data.index(b"PK\x01\x02") + at] = value
    data[data.index(b"PK\x03\x04") + at - 2] = value
    return bytes(data)


def parquet(table: Any) -> bytes:
    from pyarrow import parquet as pq

    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


CSV = [
    Broken("empty.csv", b"", "empty.csv is empty"),
    Broken("blank.csv", b"\n\n\n", "blank.csv is empty"),
    Broken("header.csv", b"a,b,side\n", "header.csv has no rows of data"),
    Broken("header2.csv", b"a,b,side", "header2.csv has no rows of data"),
    Broken("random.csv", np.random.default_rng(0).bytes(2000), "random.csv is not UTF-8 text"),
    Broken("nul.csv", GOOD.encode().replace(b"1,1", b"1\0,1"), "nul.csv: line 3 holds a NUL"),
    Broken("zeros.csv", b"\0" * 5000, "zeros.csv: line 1 holds a NUL"),
    Broken("utf16.csv", GOOD.encode("utf-16"), "utf16.csv is not UTF-8 text"),
    Broken(
        "latin1.csv",
        with_row("1,1,gauche \xe9").encode("latin-1"),
        "latin1.csv is not UTF-8 text at line 3",
    ),
    Broken("zip.csv", zipped({"a.csv": GOOD.encode()}), "zip.csv is not UTF-8 text at line 1"),
    Broken("gzip.csv", b"\x1f\x8b\x08" + bytes(range(256)), "gzip.csv is not UTF-8 text at line 1"),
    csv("short", with_row("1,1"), "short.csv: line 3 has 2 cells, the header has 3"),
    csv("long", with_row("1,1,left,4"), "long.csv: line 3 has 4 cells, the header has 3"),
    csv("quote", with_row('1,"1,left'), "quote.csv: line 3 has 2 cells, the header has 3; a quote"),
    csv("twice", GOOD.replace("a,b", "a,a"), "twice.csv: two columns are called 'a'"),
    csv("nameless", GOOD.replace("a,b", "a,"), "nameless.csv: column 2 has no name"),
    csv("headless", "1,2,3\n4,5,6\n7,8,9\n", "headless.csv has no header"),
    csv("semicolons", GOOD.replace(",", ";").replace("a;b;", "a,b;"), "semicolons.csv"),
    csv("missing", with_row("1,,left"), "missing.csv: column 'b' at line 3 is missing"),
    csv("text", with_row("1,few,left"), "text.csv: column 'b' at line 3 is text ('few')"),
    csv("comma", with_row('1,"1,5",left'), "comma.csv: column 'b' at line 3 is text ('1,5')"),
    csv("nan", with_row("1,nan,left"), "nan.csv: column 'b' at line 3 is missing"),
    csv("infinite", with_row("1,-inf,left"), "infinite.csv: column 'b' at line 3 is infinite"),
    csv("overflow", with_row("1,1e400,left"), "overflow.csv: column 'b' at line 3 is infinite"),
    csv("large", with_row("1,1e300,left"), "large.csv: column 'b' at line 3 is too large"),
    csv("cell", with_row(f"1,{'x' * 200_000},left"), "cell.csv: the cell at line 3 has more than"),
    csv("digits", with_row(f"1,{'9' * 5000},left"), "digits.csv: column 'b' at line 3 is infinite"),
]

NPZ = [
    Broken("empty.npz", b"", "empty.npz is not an NPZ file"),
    Broken("random.npz", np.random.default_rng(1).bytes(3000), "random.npz is not an NPZ file"),
    Broken("csv.npz", GOOD.encode(), "csv.npz is not an NPZ file"),
    Broken("npy.npz", claimed("(12,)"), "npy.npz is not an NPZ file"),
    Broken("cut.npz", npz(**columns())[:400], "cut.npz is not an NPZ file"),
    Broken("tail.npz", npz(**columns())[-300:], "tail.npz is"),
    Broken("flipped.npz", flipped(npz(**columns()), 200), "flipped.npz is not an NPZ file"),
    Broken("nothing.npz", zipped({}), "nothing.npz has no rows"),
    Broken("texts.npz", zipped({"a.txt": b"hello"}), "texts.npz is not an NPZ file"),
    Broken("noheader.npz", zipped({"a.npy": b"hello"}), "noheader.npz is not an NPZ file"),
    Broken(
        "badheader.npz", zipped({"a.npy": npy("{'descr': ")}), "badheader.npz is not an NPZ file"
    ),
    Broken(
        "nodtype.npz", zipped({"a.npy": claimed("(12,)", "<q9")}), "nodtype.npz is not an NPZ file"
    ),
    Broken(
        "claims.npz",
        zipped({"a.npy": claimed("(1000000000000,)")}),
        "claims.npz is not an NPZ file",
    ),
    Broken(
        "claims2.npz",
        zipped({"a.npy": claimed("(99999999999999999999,)")}),
        "claims2.npz is not an NPZ file",
    ),
    Broken("negative.npz", zipped({"a.npy": claimed("(-12,)")}), "negative.npz is not an NPZ file"),
    Broken("few.npz", zipped({"a.npy": claimed("(13,)")}), "few.npz is not an NPZ file"),
    Broken("objects.npz", npz(**columns(a=np.array([1, "x"] * 6, object))), "objects.npz"),
    Broken("scalar.npz", npz(**columns(a=np.array(1.0))), "scalar.npz: array 'a' is float64 of"),
    Broken("complex.npz", npz(**columns(a=np.ones(12, complex))), "complex.npz: array 'a' is"),
    Broken("dates.npz", npz(**columns(a=np.zeros(12, "M8[s]"))), "dates.npz: array 'a' is"),
    Broken("records.npz", npz(**columns(a=np.zeros(12, "f4,i4"))), "records.npz: array 'a' is"),
    Broken("lengths.npz", npz(**columns(a=np.ones(11))), "lengths.npz: the arrays differ"),
    Broken("norows.npz", npz(a=np.ones(0), side=np.ones(0)), "norows.npz has no rows"),
    Broken("nowidth.npz", npz(a=np.ones((12, 0))), "nowidth.npz has no rows"),
    Broken("nan.npz", npz(**columns(a=np.full(12, np.nan))), "nan.npz: column 'a' at row 0 is"),
    Broken("inf.npz", npz(**columns(b=np.full(12, np.inf))), "inf.npz: column 'b' at row 0 is inf"),
    Broken(
        "clash.npz",
        npz(**columns(a=np.ones((12, 2)), a0=np.ones(12))),
        "clash.npz: two columns are called 'a0'",
    ),
    Broken("password.npz", with_flag(8, 1), "password.npz is not an NPZ file of plain arrays"),
    Broken("method.npz", with_flag(10, 99), "method.npz is not an NPZ file of plain arrays"),
]


def parquets() -> Iterator[Broken]:
    """Parquet files; pyarrow is needed to make them."""
    import pyarrow as pa

    sides = ["left", "right"] * 6
    numbers = [float(k) for k in range(12)]

    def table(a: Any, names: tuple[str, ...] = ("a", "b", "side")) -> bytes:
        return parquet(pa.table([a, pa.array(numbers), pa.array(sides)], list(names)))

    good = table(pa.array(numbers))
    yield Broken("empty.parquet", b"", "empty.parquet is not a Parquet file")
    yield Broken("random.parquet", np.random.default_rng(2).bytes(3000), "random.parquet is not")
    yield Broken("csv.parquet", GOOD.encode(), "csv.parquet is not a Parquet file")
    yield Broken("cut.parquet", good[:-200], "cut.parquet is not a Parquet file")
    yield Broken("tail.parquet", good[-200:], "tail.parquet is not a Parquet file")
    yield Broken(
        "footer.parquet", flipped(good, len(good) - 60), "footer.parquet is not a Parquet file"
    )
    yield Broken("page.parquet", flipped(good, 30), "page.parquet is not a Parquet file")
    yield Broken("lists.parquet", table(pa.array([[1.0]] * 12)), "lists.parquet: column 'a' holds")
    yield Broken("structs.parquet", table(pa.array([{"x": 1}] * 12)), "structs.parquet: column 'a'")
    yield Broken("nulls.parquet", table(pa.nulls(12)), "nulls.parquet: column 'a'")
    yield Broken("binary.parquet", table(pa.array([b"x"] * 12)), "binary.parquet: column 'a' holds")
    yield Broken(
        "twice.parquet",
        table(pa.array(numbers), ("a", "a", "side")),
        "twice.parquet: two columns are called 'a'",
    )
    yield Broken("null.parquet", table(pa.array([None, *numbers[1:]])), "null.parquet: column 'a'")
    yield Broken("norows.parquet", parquet(pa.table({"a": pa.array([], pa.float64())})), "norows")
    yield Broken("nocolumns.parquet", parquet(pa.table({})), "nocolumns.parquet has no rows")


def folder(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_FILES = [
    Broken(f"{name}{suffix}", make, f"{says}{suffix}{more}")
    for suffix in (".csv", ".npz", ".parquet", ".txt")
    for name, make, says, more in (
        ("folder", folder, "folder", " cannot be read: Is a directory"),
        ("fifo", fifo, "fifo", " is a pipe or a device"),
        ("zeros", zeros, "zeros", " is a pipe or a device"),
        ("loop", loop, "loop", " cannot be read: Too many levels of symbolic links"),
        ("dangling", dangling, "there is no file dangling", ""),
    )
]

SUFFIXES = [
    Broken(name, GOOD.encode(), f"{name}: a table is one of .csv, .tsv, .npz, .parquet, not")
    for name in ("table.xlsx", "table.json", "table.CSV.gz", "table.sf", "table")
]

TEXTS = [
    Broken("empty.txt", b"", "empty.txt is too short"),
    Broken("short.txt", b"abc\nde", "short.txt"),
    Broken("random.txt", np.random.default_rng(3).bytes(3000), "random.txt is not UTF-8 text"),
    Broken("utf16.txt", ("hello world " * 200).encode("utf-16"), "utf16.txt is not UTF-8 text"),
    Broken("one.txt", b"x" * 5000, "one.txt holds one character only, 'x'"),
]
