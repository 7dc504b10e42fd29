"""What a fit shows while it runs and leaves behind: the progress bar, the history, its picture."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from staticflow.session.report.history import History
from staticflow.session.report.plot import svg
from staticflow.session.report.progress import Progress

EPOCHS = [
    {"loss": 2.0, "val_loss": 2.1},
    {"loss": 0.5, "val_loss": math.nan, "accuracy": 0.8},
    {"loss": 0.02, "val_loss": 0.3, "accuracy": 0.9},
]


def history() -> History:
    found = History()
    for log in EPOCHS:
        found.append(log)
    return found


def test_a_history_holds_the_logs_of_all_epochs() -> None:
    found = history()
    assert found.epochs == EPOCHS and len(found) == 3 and list(found) == EPOCHS
    assert found.names() == ["loss", "val_loss", "accuracy"]
    assert found.curve("loss") == [2.0, 0.5, 0.02]
    assert math.isnan(found.curve("accuracy")[0])
    with pytest.raises(KeyError, match="no 'acc'; it logged loss, val_loss, accuracy"):
        found.curve("acc")


def test_a_log_is_copied() -> None:
    log = {"loss": 1.0}
    found = History()
    found.append(log)
    log["loss"] = 2.0
    assert found.curve("loss") == [1.0]


def drawn(text: str) -> tuple[list[str], list[str]]:
    """The points of every curve, and every text of an SVG."""
    name = "{http://www.w3.org/2000/svg}"
    tree = ElementTree.fromstring(text)
    curves = [str(e.get("points")) for e in tree.iter(f"{name}polyline")]
    return curves, [str(e.text) for e in tree.iter(f"{name}text")]


def test_the_svg_has_every_curve(tmp_path: Path) -> None:
    path = tmp_path / "loss.svg"
    assert history().plot(path) is None
    curves, texts = drawn(path.read_text())
    assert [len(points.split()) for points in curves] == [3, 2, 2], "NaN is left out"
    assert {"loss", "val_loss", "accuracy", "epoch", "0.1", "1"} <= set(texts)


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"loss": []},
        {"loss": [1.0]},
        {"loss": [0.0, 0.0]},
        {"loss": [-1.0, 1.0]},
        {"loss": [math.nan, math.inf]},
        {"loss": [1e-300, 1e300]},
        {"a < b & c": [1.0, 2.0]},
    ],
)
def test_the_svg_of_odd_curves(curves: dict[str, list[float]]) -> None:
    points, texts = drawn(svg(curves))
    assert set(curves) <= set(texts)
    numbers = [float(n) for pair in " ".join(points).split() for n in pair.split(",")]
    assert all(0 <= n <= 640 for n in numbers)


def test_other_formats_and_figures_come_from_matplotlib(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    history().plot(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len(history().plot().axes) == 2


def test_without_matplotlib_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'staticflow\[plot\]'.* \.svg"):
        history().plot(tmp_path / "loss.png")
    history().plot(tmp_path / "loss.svg")


def test_progress_shows_epochs_steps_and_losses(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, 10) as bar:
        for epoch in range(2):
            for step in range(10):
                bar.update(10 * epoch + step + 1, loss=0.5)
            bar.epoch_end({"loss": 0.25, "val_loss": 0.125})
    last = capsys.readouterr().err.split("\r")[-1]
    assert all(part in last for part in ("epoch 2/2", "20/20 steps", "loss 0.25, val_loss 0.125"))


def test_progress_of_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, None) as bar:
        bar.update(7)
        bar.epoch_end({"loss": 1.0})
    last = capsys.readouterr().err.split("\r")[-1]
    assert "epoch 1/1 7 steps" in last and "%" not in last


def test_progress_ends_its_line_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Progress(2, 10) as bar:
        bar.update(3)
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith("\n")


def test_no_progress_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, 1, enabled=False) as bar:
        bar.update(1, loss=1.0)
        bar.epoch_end({"loss": 1.0})
    assert capsys.readouterr().err == ""


def test_a_fit_of_no_epochs_has_an_empty_plot() -> None:
    assert History().plot().axes[0].get_legend() is None
