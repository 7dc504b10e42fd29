"""The command line on broken files and options: one message, exit code 2, nothing written."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from broken_models import broken_models
from broken_tables import CSV, GOOD, NO_FILES, NPZ, SUFFIXES, TEXTS, Broken, parquets

from staticflow.cli.main import main

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
    message = err[err.find("staticflow") :]
    if (code, out) != (2, ""):
        return f"{arguments}: exit code {code}, printed {out[:200]!r} and {err[-500:]!r}"
    if says not in message:
        return f"{arguments}: {says!r} is not in {message!r}"
    told = re.sub("\n  got: .*", "", message)  # what a damaged model file holds, for who can tell
    strange = THEIR_WORDS.search(told)
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
