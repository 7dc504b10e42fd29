"""Standard streams that are missing, closed, full, read by nobody or ASCII alone are survived."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from staticflow.session.report.streams import Stream
from tests.support.places import ROOT
from tests.support.small_nets import data, regression

GREEK = "höhe,άλφα\n" + "".join(f"{k},{k % 3}\n" for k in range(12))
TRAIN = "train t.csv --target höhe --task regress --hidden 4 --epochs 2"
FULL = Path("/dev/full")


class Refusing(io.StringIO):
    """A stream that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        self.write("")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def ascii_only() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


STREAMS: dict[str, Callable[[], Any]] = {
    "none": lambda: None, "closed": closed, "full": Refusing, "ascii": ascii_only
}  # fmt: skip


@pytest.mark.parametrize("kind", STREAMS)
def test_a_fit_with_its_bar_needs_no_standard_error(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = regression()
    with monkeypatch.context() as patch:
        stream = STREAMS[kind]()
        patch.setattr(sys, "stderr", stream)
        history = session.fit(data(64), epochs=3, batch_size=32)
    assert len(history) == 3 and session.step_count == 6
    if kind == "ascii":
        assert b"epoch 3/3" in stream.buffer.getvalue()


def test_characters_that_an_encoding_lacks_are_escaped() -> None:
    beneath = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = Stream(beneath)
    assert stream.write("höhe \udc80\n") == 7
    stream.flush()
    assert beneath.buffer.getvalue() == b"h\\xf6he \\udc80\n"


def test_an_error_in_writing_is_passed_on() -> None:
    found: list[Exception] = []
    stream = Stream(Refusing(), found.append)
    stream.write("a")
    stream.flush()
    assert [type(error) for error in found] == [OSError, OSError]
    assert not Stream(closed()).isatty() and not Stream(None).isatty()
    with pytest.raises(OSError, match="no file"):
        Stream(None).fileno()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, a text, and a model of each."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "t.csv").write_text(GREEK, encoding="utf-8")
    (folder / "p.txt").write_text("ένα δύο τρία\n" * 200, encoding="utf-8")
    assert shell(folder, f"{TRAIN} --no-plot") == (0, "")
    assert shell(folder, "train p.txt --hidden 4 --epochs 1 --no-plot") == (0, "")
    return folder


def shell(folder: Path, command: str, **environment: str) -> tuple[int, str]:
    """The exit code of a command line, and what it complains about; its bar is left out."""
    done = subprocess.run(
        f"exec {sys.executable} -m staticflow {command}",
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line and "epoch " not in line]
    return done.returncode, "\n".join(lines)


needs_devices = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
SURVIVED = {
    "a service": f"{TRAIN} --out a.sf --plot a.svg <&- >&- 2>&-",
    "no standard output": f"{TRAIN} --out b.sf --no-plot >&-",
    "no standard error": f"{TRAIN} --out c.sf --no-plot 2>&-",
    "a full standard error": f"{TRAIN} --out d.sf --no-plot 2>/dev/full",
    "a complaint into a full standard error": "predict none.sf t.csv 2>/dev/full",
    "no standard output for answers": "predict t.sf t.csv >&-",
}


@needs_devices
@pytest.mark.parametrize("case", SURVIVED)
def test_streams_that_are_not_there(trained: Path, case: str) -> None:
    code, complaint = shell(trained, SURVIVED[case])
    assert (code, complaint) == (2 if "none.sf" in SURVIVED[case] else 0, "")
    if "--out" in SURVIVED[case]:
        from staticflow import Session

        name = SURVIVED[case].split("--out ")[1].split()[0]
        assert Session.load(trained / name).epoch_count == 2


@needs_devices
@pytest.mark.parametrize("command", ["predict t.sf t.csv", "inspect t.sf --source", "ops"])
def test_a_full_standard_output_is_said(trained: Path, command: str) -> None:
    says = "staticflow: the output cannot be written: No space left on device"
    assert shell(trained, f"{command} >/dev/full") == (2, says)


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}], ids=str)
def test_an_ascii_terminal(trained: Path, environment: dict[str, str]) -> None:
    for command in ("predict t.sf t.csv", "inspect t.sf", "generate p.sf --length 20"):
        assert shell(trained, command, **environment) == (0, "")
    code, complaint = shell(trained, "train t.csv --target none", **environment)
    assert code == 2 and "there is no column 'none'; the columns are h" in complaint


def test_a_pipe_of_messages_that_nobody_reads(trained: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "staticflow", *TRAIN.split(), "--out", "e.sf", "--no-plot"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        arguments, cwd=trained, env=environment, stdout=subprocess.PIPE, stderr=writer, text=True
    )
    os.close(writer)
    assert done.returncode == 0 and "e.sf" in done.stdout
