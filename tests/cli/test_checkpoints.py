"""Trainings that were interrupted, by Ctrl-C or by kill -9, and go on bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow.cli import checkpoints
from staticflow.cli.main import main
from tests.support.places import ROOT

POEM = "the cat sat on the mat and the dog lay in the fog\n" * 60
TABLE = ("train", "t.csv", "--target", "y", "--hidden", "8", "--epochs", "6", "--no-progress")
TEXT = ("train", "p.txt", "--hidden", "8", "--epochs", "6", "--no-progress")
SERIES = ("train", "t.csv", "--target", "a", "--window", "3", "--hidden", "4", "--epochs", "6",
          "--no-progress")  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 2))
    lines = [f"{a!r},{b!r},{2 * a - b!r}" for a, b in rows.tolist()]
    Path("t.csv").write_text("\n".join(["a,b,y", *lines, ""]))
    Path("p.txt").write_text(POEM)


def state(path: str) -> dict[str, Any]:
    """All of a saved session that training goes on from, and its logs."""
    session = sf.Session.load(path)
    slots = {f"{name} of the optimizer": values for name, values in session._state.slots.items()}
    counts = {"step": np.array(session.step_count), "epoch": np.array(session.epoch_count)}
    return {**session.params, **session.states, **slots, **counts}


def assert_same(one: str, other: str) -> None:
    mine, theirs = state(one), state(other)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def stop_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Ctrl-C right after so many epochs."""
    real = checkpoints.Keeper.__call__

    def noted(keeper: checkpoints.Keeper, session: sf.Session, log: dict[str, float]) -> None:
        real(keeper, session, log)
        if len(keeper._training.logs) == epochs:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoints.Keeper, "__call__", noted)
    monkeypatch.setattr(checkpoints, "_COPY_SECONDS", 0.0)


@pytest.mark.parametrize("command", [TABLE, TEXT, SERIES], ids=["table", "text", "series"])
def test_a_training_goes_on_bit_for_bit(
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command, "--out", "whole.sf", "--plot", "whole.svg"]) == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert main([*command, "--out", "parts.sf", "--checkpoint", "run.sf"]) == 130
    said = capsys.readouterr().err
    assert "interrupted; epoch 2 of 6 is in run.sf, for --resume; the best, " in said
    assert not Path("parts.sf").exists() and sf.Session.load("run.sf").epoch_count == 2
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        assert main([*command[:2], "--resume", "run.sf", "--out", "parts.sf"]) == 130
    assert sf.Session.load("run.sf").epoch_count == 5
    options = ("--resume", "run.sf", "--out", "parts.sf", "--plot", "parts.svg", "--no-progress")
    assert main([*command[:2], *options]) == 0
    assert_same("whole.sf", "parts.sf")
    assert Path("whole.svg").read_text() == Path("parts.svg").read_text()
    assert main(["train", command[1], "--resume", "run.sf", "--out", "again.sf"]) == 0
    assert_same("again.sf", "parts.sf")


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the checkpoint, with its own loss; also if it was before the interruption."""
    losses = {1: 5.0, 2: 1.0, 3: float("nan"), 4: 3.0, 5: 2.0, 6: 1.0}
    real = checkpoints.Keeper.__call__
    states: dict[int, Any] = {}

    def noted(keeper: checkpoints.Keeper, session: sf.Session, log: dict[str, float]) -> None:
        epoch = len(keeper._training.logs) + 1
        states[epoch] = {name: array.copy() for name, array in session.params.items()}
        real(keeper, session, {**log, "val_loss": losses[epoch]})
        if epoch in (3, 5):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoints.Keeper, "__call__", noted)
    monkeypatch.setattr(checkpoints, "_COPY_SECONDS", 0.0)
    assert main([*TABLE, "--checkpoint", "run.sf"]) == 130
    for code in (130, 0):
        assert main(["train", "t.csv", "--resume", "run.sf", "--no-progress"]) == code
        best = sf.Session.load("run-best.sf")
        assert best.epoch_count == 2
        for name, array in best.params.items():
            np.testing.assert_array_equal(array, states[2][name])
    assert main(["evaluate", "run-best.sf", "t.csv"]) == 0
    assert main(["predict", "run.sf", "t.csv"]) == 0, "a checkpoint is a model as well"


def test_without_rows_held_out_there_is_no_best_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TABLE, "--test-fraction", "0", "--checkpoint", "run.sf"]) == 0
    assert not Path("run-best.sf").exists()
    assert "t.sf, t-loss.svg, run.sf\n" in capsys.readouterr().out


def test_a_full_disk_does_not_end_a_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each checkpoint that fails is said; what cannot be written in the end is an error."""
    real, tried = sf.Session.save, []

    def save(session: sf.Session, path: Any, extra: Any = None) -> None:
        tried.append(session.epoch_count)
        if session.epoch_count < 6 and "best" not in str(path):
            raise OSError(28, "No space left on device", str(path))
        real(session, path, extra)

    monkeypatch.setattr(sf.Session, "save", save)
    monkeypatch.setattr(checkpoints, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "_SAVE_SHARE", 1e9)
    assert main([*TABLE, "--checkpoint", "run.sf"]) == 0
    assert "run.sf cannot be written: No space left on device; training goes on" in (
        capsys.readouterr().err
    )
    assert sf.Session.load("run.sf").epoch_count == sf.Session.load("t.sf").epoch_count == 6


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_process_that_is_ended(how: int) -> None:
    """At some moment; what it has left goes on to the same model."""
    command = (
        "train", "digits", "--hidden", "16", "--epochs", "2000", "--no-progress", "--no-plot"
    )  # fmt: skip
    arguments = [*command, "--out", "never.sf", "--checkpoint", "run.sf"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "staticflow", *arguments], env=environment)
    deadline = time.monotonic() + 60
    while not Path("run.sf").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(how)
    assert process.wait(timeout=20) == (130 if how == signal.SIGINT else -how)
    assert not Path("never.sf").exists() and Path("run-best.sf").exists()
    assert 0 < sf.Session.load("run.sf").epoch_count < 2000
    assert main(["train", "digits", "--resume", "run.sf", "--no-plot", "--out", "parts.sf"]) == 0
    assert main([*command, "--out", "whole.sf"]) == 0
    assert_same("whole.sf", "parts.sf")
