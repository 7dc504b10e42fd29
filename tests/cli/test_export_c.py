"""`staticflow export MODEL out.c`."""

from __future__ import annotations

from pathlib import Path

import pytest

import staticflow as sf
from staticflow import models
from staticflow.cli.main import main


@pytest.fixture(autouse=True)
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    s = sf.input("s", ("batch", "time", 3))
    y = models.RNN(4, return_sequences=True)(s)
    label = sf.input("label", ("batch",))
    loss = ((y[:, -1, 0] - label) ** 2).mean()
    session = sf.Session(loss=loss, outputs={"y": y, "z": y * 2.0}, optimizer=sf.optim.SGD(0.1))
    session.save("model.sf")


def test_a_model_goes_out_as_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "model.sf", "net.c", "--outputs", "y", "--sizes", "batch=2,time=5"]) == 0
    printed = capsys.readouterr().out
    assert "net.h" in printed and "label" not in printed  # which the loss alone reads
    assert "float y[2][5][4]" in Path("net.h").read_text()
    assert main(["export", "model.sf", "net.c", "--stream", "time"]) == 0
    assert "void net_step(net_state *state" in Path("net.h").read_text()
    assert main(["export", "model.sf", "net.c", "--sizes", "time=2", "--derivatives", "s"]) == 0
    assert "float dy_ds[1][2][4][1][2][3]" in Path("net.h").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["net.c"], "the size of dimension 'time' is fixed"),
        (["net.c", "--opset", "18"], "--opset is of ONNX files"),
        (["net.c", "--sizes", "time"], "'time' is no size"),
        (["net.onnx", "--sizes", "time=3"], "are of C files"),
        (["net.onnx", "--training"], "are of C files"),
        (["net.c", "--sizes", "time=3", "--derivatives", "q"], "no output has a derivative by 'q'"),
        (["no/net.c", "--sizes", "time=3"], "there is no folder no"),
    ],
)
def test_what_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["export", "model.sf", *arguments])
    except SystemExit as error:  # of argparse
        code = int(error.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["model.sf"]
