"""Class labels from files: equal numbers are one class, words are compared as they are spelt."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import staticflow as sf
from staticflow.cli.main import main
from staticflow.data.table import same_spelling

QUICK = ["--target", "y", "--no-plot", "--no-progress", "--epochs", "2", "--hidden", "8"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, label: Any, head: str = "u,y", index: bool = False) -> None:
    """A file of 60 rows; `label(k, high)` spells whether a value is high."""
    numbers = random.Random(0)
    values = [numbers.gauss(0, 1) for _ in range(60)]
    rows = [f"{k}," * index + f"{v},{label(k, v > 0)}" for k, v in enumerate(values)]
    Path(name).write_text("\n".join([head, *rows]) + "\n")


def classes(source: str, *options: str) -> list[str] | None:
    assert main(["train", source, *QUICK, "--out", "model.sf", *options]) == 0
    found: list[str] | None = sf.Session.load("model.sf").extra["fields"]["classes"]
    return found


def test_equal_numbers_are_one_class(capsys: pytest.CaptureFixture[str]) -> None:
    write("both.csv", lambda k, high: int(high) if k % 2 else float(high))
    write("whole.csv", lambda k, high: int(high))
    write("floats.csv", lambda k, high: f"{float(high)}" if k % 3 else f" {float(high):.3e}")
    assert classes("both.csv") == ["0", "1"]
    for source in ("whole.csv", "floats.csv"):
        assert main(["evaluate", "model.sf", source]) == 0
    results = [x for x in capsys.readouterr().out.splitlines() if x.startswith("result")]
    assert len(results) == 2 and results[0] == results[1]
    assert classes("floats.csv") == ["0", "1"]
    assert main(["evaluate", "model.sf", "whole.csv"]) == 0


@pytest.mark.parametrize(
    ("high", "low", "options"),
    [("NA", "EU", ["--task", "classify"]), ("NA", "EU", []), ("none", "some", []),
     ("1E5", "2B7", []), ("1E5", "100000x", []), ("7", "07b", [])],
)  # fmt: skip
def test_words_are_as_they_are_spelt(high: str, low: str, options: list[str]) -> None:
    write("data.csv", lambda k, up: high if up else low)
    assert classes("data.csv", *options) == sorted([high, low])
    assert main(["evaluate", "model.sf", "data.csv"]) == 0


def test_a_number_among_words_is_not_another(capsys: pytest.CaptureFixture[str]) -> None:
    write("data.csv", lambda k, up: "1E5" if up else "2B7")
    write("other.csv", lambda k, up: "100000")
    assert classes("data.csv") == ["1E5", "2B7"]
    assert main(["evaluate", "model.sf", "other.csv"]) == 2
    assert "is '100000'; the model knows the classes 1E5, 2B7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (lambda k, up: "" if k == 7 else ["a", "b"][up], "line 9 is missing"),
        (lambda k, up: "?" if k == 7 else ["a", "b"][up], "line 9 is missing"),
        (lambda k, up: "NA" if k % 9 == 7 else int(up), "line 9 is missing"),
        (lambda k, up: "O" if k == 7 else int(up), "text ('O') where a number is needed"),
    ],
)
def test_missing_cells_and_slips_are_refused(
    label: Any, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("data.csv", label)
    assert main(["train", "data.csv", *QUICK]) == 2
    assert text in capsys.readouterr().err


def test_an_index_without_a_name_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    write("index.csv", lambda k, up: int(up), ",u,y", index=True)
    write("plain.csv", lambda k, up: int(up))
    assert classes("index.csv") == ["0", "1"]
    assert sf.Session.load("model.sf").extra["fields"]["features"] == ["u"]
    assert main(["evaluate", "model.sf", "plain.csv", "--all"]) == 0
    write("two.csv", lambda k, up: int(up), "u,,y", index=True)
    assert main(["train", "two.csv", *QUICK]) == 2
    assert "column 2 has no name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("label", "spelt"),
    [("1", "1"), ("1.0", "1"), ("1e0", "1"), ("-0.0", "0"), ("+2", "2"), ("0.50", "0.5"),
     ("9007199254740993", "9007199254740993"), ("nan", "nan"), ("x1", "x1"), ("1e400", "1e400")],
)  # fmt: skip
def test_spellings(label: str, spelt: str) -> None:
    assert same_spelling(label) == spelt
