"""The command line on broken files and options: one message, exit code 2, nothing written."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from staticflow.cli.main import main
from tests.cli.broken_models import broken_models
from tests.cli.broken_options import CHOICES, FILES, MISSING_ARGUMENTS, NUMBERS
from tests.cli.broken_tables import CSV, GOOD, NO_FILES, NPZ, SUFFIXES, TEXTS, Broken, parquets

QUICK = ("--hidden", "4", "--epochs", "1", "--no-progress", "--no-plot")
POEM = "the cat sat on the mat and the dog lay in the fog\n" * 60

# What Python, NumPy and others say of a file, and nobody understands who does not program.
THEIR_WORDS = re.compile(
    "Traceback|Errno|codec|invalid literal|could not convert|Expecting value|object has no|"
    "index out of range|unexpected keyword|pickle|not subscriptable|reshape|ufunc|deserializ|"
    "Arrow|snappy|thrift|CRC|numpy|positional argument|<class"
)


def call(*arguments: str) -> tuple[int, str, str]:
    """The exit code of a command, and what it printed; no warning is let through."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            code = main(arguments)
        except SystemExit as stop:  # from argparse
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


def refused(arguments: tuple[str, ...], says: str) -> str:
    """What is wrong with how a command was refused; "" for nothing."""
    code, out, err = call(*arguments)
    message = err[max(0, err.find("staticflow")) :]
    if (code, out) != (2, ""):
        return f"{arguments}: exit code {code}, printed {out[:200]!r} and {err[-500:]!r}"
    if says not in message:
        return f"{arguments}: {says!r} is not in {message!r}"
    strange = THEIR_WORDS.search(message)
    return f"{arguments}: {strange[0]!r} is in {message!r}" if strange else ""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Good models, by name."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("good.csv").write_text(GOOD)
        Path("poem.txt").write_text(POEM)
        for arguments in (
            ("good.csv", "--target", "side", "--out", "side.sf"),
            (
                "good.csv",
                "--target",
                "a",
                "--drop",
                "side",
                "--task",
                "regress",
                "--out",
                "number.sf",
            ),
            ("good.csv", "--target", "a", "--window", "3", "--out", "series.sf"),
            ("poem.txt", "--out", "poem.sf"),
        ):
            assert call("train", *arguments, *QUICK)[0] == 0
    return {path.stem: path.read_bytes() for path in folder.glob("*.sf")}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(
    models: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text(GOOD)
    Path("poem.txt").write_text(POEM)
    for name, content in models.items():
        Path(f"{name}.sf").write_bytes(content)


def commands(broken: Broken) -> list[tuple[tuple[str, ...], str]]:
    """Every command that reads a data file, and what it says."""
    name = broken.name
    if name.endswith(".txt"):
        return [(("train", name, *QUICK), broken.says), (("evaluate", "poem.sf", name), name)]
    train = ("train", name, "--target", "side", *QUICK)
    return [(train, broken.says)] + [
        ((command, "side.sf", name), broken.says) for command in ("predict", "evaluate")
    ]


def assert_all_refused(cases: list[tuple[tuple[str, ...], str]]) -> None:
    before = sorted(Path().iterdir())
    found = [wrong for arguments, says in cases if (wrong := refused(arguments, says))]
    assert not found, "\n\n".join(found)
    assert sorted(Path().iterdir()) == before, "something was written"


@pytest.mark.parametrize(
    "files", [CSV, NPZ, NO_FILES, SUFFIXES, TEXTS], ids=["csv", "npz", "none", "suffixes", "texts"]
)
def test_broken_data(files: list[Broken]) -> None:
    for broken in files:
        broken.write(Path())
    assert_all_refused([case for broken in files for case in commands(broken)])


def test_broken_parquet() -> None:
    pytest.importorskip("pyarrow")
    files = list(parquets())
    for broken in files:
        broken.write(Path())
    assert_all_refused([case for broken in files for case in commands(broken)])


def test_broken_models(models: dict[str, bytes]) -> None:
    files = list(broken_models(models["side"], models["poem"]))
    for broken in files:
        broken.write(Path())
    uses = (("predict", "good.csv"), ("evaluate", "good.csv"), ("inspect",), ("generate",))
    assert_all_refused([((use[0], f.name, *use[1:]), f.says) for f in files for use in uses])


def prepare_options(models: dict[str, bytes]) -> None:
    """What the command lines of broken_options.py name."""
    for name in ("sub", "sub.svg"):
        Path(name).mkdir()
    for name in ("pipe", "pipe.svg"):
        os.mkfifo(name)
    Path("link.csv").symlink_to("good.csv")
    for name, text in {
        "one": "a,b,side\n1,2,left\n",
        "two": "a,b,side\n1,2,left\n2,3,right\n",
        "same": "a,b,side\n1,2,left\n2,3,left\n",
        "far": "a,b,side\n1e140,1e140,up\n",
    }.items():
        Path(f"{name}.csv").write_text(text)
    options = ("--target", "side", "--checkpoint", "run.sf", "--out", "other.sf")
    assert call("train", "good.csv", *options, *QUICK)[0] == 0


@pytest.mark.parametrize(
    "table",
    [MISSING_ARGUMENTS, NUMBERS, CHOICES, FILES],
    ids=["missing", "numbers", "choices", "files"],
)
def test_broken_options(models: dict[str, bytes], table: dict[str, str]) -> None:
    prepare_options(models)
    cases = []
    for command, says in table.items():
        words = [{"LONG": "x" * 300}.get(word, word) for word in shlex.split(command)]
        if words[:1] == ["TRAIN"]:
            words = ["train", "good.csv", "--target", "side", "--no-progress", *words[1:]]
        cases.append((tuple(words), says))
    assert_all_refused(cases)


def test_a_plot_without_matplotlib_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    command = ("train", "good.csv", "--target", "side", "--plot", "x.png")
    assert refused(command, "this plot needs matplotlib: pip install 'staticflow[plot]'") == ""
    assert not Path("good.sf").exists()


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("staticflow.cli.commands.predict.outputs", full)
    assert refused(("predict", "side.sf", "good.csv"), "there is not enough memory for this") == ""
