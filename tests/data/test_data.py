"""Data: the bundled digits, splits, and tables from files with their errors."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from staticflow.data import DataError, load_digits, read_table, split_rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def to_file(text: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return to_file


def test_digits_are_scikit_learns() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits, theirs = load_digits(), datasets.load_digits()
    np.testing.assert_array_equal(digits.images, theirs.data)
    np.testing.assert_array_equal(digits.labels, theirs.target)
    assert digits.images.dtype == np.float32


def test_digits_carry_their_licence() -> None:
    import staticflow.data

    text = (Path(staticflow.data.__file__).parent / "LICENSE-digits.txt").read_text()
    assert "CC BY 4.0" in text and "10.24432/C50P49" in text


@pytest.mark.parametrize("seed", range(5))
def test_a_split_is_a_partition(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, 203)
    split = split_rows(203, 0.2, seed, labels)
    assert sorted([*split.train, *split.test]) == list(range(203))
    assert len(split.test) == 41
    share = np.bincount(labels) * 41 / 203
    assert np.abs(np.bincount(labels[split.test], minlength=5) - share).max() < 1


def test_a_split_follows_its_seed() -> None:
    first, again, other = (split_rows(100, 0.25, seed).test for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_class_keeps_a_row_to_train_on() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2])
    split = split_rows(6, 0.5, 0, labels)
    assert set(labels[split.train]) == {0, 1, 2}


@pytest.mark.parametrize("labels", [None, np.array([0, 1]), np.array([0, 0])])
def test_the_smallest_split(labels: np.ndarray | None) -> None:
    split = split_rows(2, 0.2, 0, labels)
    assert (len(split.train), len(split.test)) == (1, 1)


@pytest.mark.parametrize(("rows", "fraction"), [(1, 0.2), (10, 0.0), (10, 1.0)])
def test_impossible_splits(rows: int, fraction: float) -> None:
    with pytest.raises(ValueError, match=r"split|fraction"):
        split_rows(rows, fraction, 0)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(write: Callable[..., Path], delimiter: str) -> None:
    lines = [["a", '"b, c"', "kind"], ["1", "2.5", "x"], [" -3e2", "4", "y"]]
    path = write("\ufeff" + "\r\n".join(delimiter.join(line) for line in lines) + "\r\n\r\n")
    table = read_table(path)
    assert table.names == ["a", "b, c", "kind"]
    np.testing.assert_array_equal(table.matrix(["a", "b, c"]), [[1, 2.5], [-300, 4]])
    assert table.is_text("kind") and not table.is_text("a")
    assert table.labels("kind").tolist() == ["x", "y"]


FILE_ERRORS = {
    "empty": ("", "is empty"),
    "no header": ("1,2\n3,4\n", "no header; add a first line that names the columns"),
    "no rows": ("a,b\n", "no rows of data"),
    "equal names": ("a,b,a\n1,2,3\n", "two columns are called 'a'"),
    "no name": ("a,,c\n1,2,3\n", "column 2 has no name"),
    "ragged": ("a,b\n1,2\n\n3\n", "line 4 has 1 cells, the header has 2"),
    "binary": (b"a,b\n\xff\xfe,1\n", "is not UTF-8 text"),
}


@pytest.mark.parametrize("case", FILE_ERRORS)
def test_a_file_that_is_no_table(write: Callable[..., Path], case: str) -> None:
    text, message = FILE_ERRORS[case]
    with pytest.raises(DataError, match=message):
        read_table(write(text))


CELL_ERRORS = {
    "empty": ("", r"column 'b' at line 3 is missing; fill the cell in"),
    "nan": ("nan", r"column 'b' at line 3 is missing"),
    "NA": ("NA", r"column 'b' at line 3 is missing"),
    "text": ("red", r"column 'b' at line 3 is text \('red'\) where a number is needed; .*--drop b"),
    "infinite": ("-inf", r"column 'b' at line 3 is infinite"),
}


@pytest.mark.parametrize("case", CELL_ERRORS)
def test_a_cell_that_is_no_number(write: Callable[..., Path], case: str) -> None:
    cell, message = CELL_ERRORS[case]
    table = read_table(write(f"a,b\n1,2\n3,{cell}\n5,6\n"))
    np.testing.assert_array_equal(table.numbers("a"), [1, 3, 5])
    with pytest.raises(DataError, match=message):
        table.matrix(["a", "b"])


def test_a_missing_label(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="column 'kind' at line 3 is missing"):
        read_table(write("a,kind\n1,x\n2, \n")).labels("kind")


def test_an_unknown_column(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="no column 'c'; the columns are a, b"):
        read_table(write("a,b\n1,2\n")).numbers("c")


def test_unknown_files(tmp_path: Path, write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"one of \.csv, .*, not '\.xlsx'"):
        read_table(write("", "data.xlsx"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_table(tmp_path / "folder.csv")


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(12).reshape(3, 2, 2), y=np.array(["a", "b", "a"]), z=[1.0, 2, 3])
    table = read_table(path)
    assert table.names == ["x0", "x1", "x2", "x3", "y", "z"]
    np.testing.assert_array_equal(table.matrix(["x0", "x3"]), [[0, 3], [4, 7], [8, 11]])
    assert table.labels("y").tolist() == ["a", "b", "a"]
    assert table.labels("z").tolist() == ["1", "2", "3"]


def test_npz_errors(tmp_path: Path, write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="is not an NPZ file, as"):
        read_table(write("PK nonsense", "bad.npz"))
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((3, 2)), y=np.ones(4))
    with pytest.raises(DataError, match="differ in length: x1 has 3 rows, y has 4"):
        read_table(path)
    np.savez(path, x=np.array([None, "a"], dtype=object))
    with pytest.raises(DataError, match="not an NPZ file of plain arrays"):
        read_table(path)
    np.savez(path, x=np.float64(3.0))
    with pytest.raises(DataError, match="array 'x' is float64 of shape"):
        read_table(path)


@pytest.mark.parametrize("cut", [10, 100, -30])
def test_a_truncated_npz(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.arange(100.0))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="is not an NPZ file"):
        read_table(path)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    kinds = pyarrow.array(["x", "y", "x"])
    columns = {"a": [1, 2, None], "kind": kinds, "coded": kinds.dictionary_encode()}
    columns["sure"] = [True, False, True]
    parquet.write_table(pyarrow.table(columns), path)
    table = read_table(path)
    assert table.labels("kind").tolist() == table.labels("coded").tolist() == ["x", "y", "x"]
    assert table.numbers("sure").tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="column 'a' at row 2 is missing"):
        table.numbers("a")
    parquet.write_table(pyarrow.table({"when": [[1], [2], [3]]}), path)
    with pytest.raises(DataError, match=r"column 'when' holds list"):
        read_table(path)


def test_a_broken_parquet_file(write: Callable[..., Path]) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_table(write("nonsense", "data.parquet"))


def test_parquet_without_pyarrow(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"need pyarrow: pip install 'staticflow\[parquet\]'"):
        read_table(write("", "data.parquet"))


def test_text_and_archives_that_are_none(tmp_path: Path) -> None:
    """Characters beyond Unicode, and a version of the format that nobody has."""
    path = tmp_path / "words.npz"
    np.savez(path, kind=np.array(["ab", "cd"]), y=np.arange(2))
    whole = path.read_bytes()
    member = whole.index(b"a\0\0\0b\0\0\0")
    broken = bytearray(whole)
    broken[member + 3] = 0xF0
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("kind.npy", bytes(broken[whole.index(b"\x93NUMPY") : member + 16]))
    with pytest.raises(DataError, match="'kind' is damaged"):
        read_table(path)
    directory = whole.rindex(b"PK\x01\x02")
    path.write_bytes(whole[: directory + 6] + b"\xff\xff" + whole[directory + 8 :])
    with pytest.raises(DataError, match="not an NPZ file"):
        read_table(path)
