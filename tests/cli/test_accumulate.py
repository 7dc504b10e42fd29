"""`train --accumulate K`: one update of K batches, that of a batch of all their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import staticflow as sf
from staticflow.cli.main import main

OPTIONS = ("--target", "y", "--hidden", "8", "--epochs", "4", "--test-fraction", "0",
           "--no-progress", "--no-plot")  # fmt: skip


def test_accumulated_batches_train_as_one_of_all_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(60, 2))
    lines = [f"{a!r},{b!r},{2 * a - b!r}" for a, b in rows.tolist()]
    Path("t.csv").write_text("\n".join(["a,b,y", *lines, ""]))
    ways = {
        "one.sf": ("--batch-size", "15"),
        "three.sf": ("--batch-size", "5", "--accumulate", "3"),
    }
    for name, way in ways.items():
        assert main(["train", "t.csv", *OPTIONS, *way, "--out", name]) == 0
    assert "4 epochs of batches of 5, 3 for each update" in capsys.readouterr().out
    one, three = (sf.Session.load(name) for name in ways)
    assert one.step_count == three.step_count == 16
    for name, value in one.params.items():
        np.testing.assert_allclose(three.params[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
