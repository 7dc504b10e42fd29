"""`staticflow export` and `staticflow import`: what a user types, sees and finds on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.cli.main import main
from staticflow.session.files.tensor_file import read_tensors

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def saved() -> sf.Session:
    x = sf.input("x", ("batch", 3))
    y = models.FNN([3, 4, 2])(x)
    session = sf.Session(outputs={"y": y, "p": ops.softmax(y)})
    session.save("model.sf")
    return session


def test_a_model_goes_out_and_comes_in(
    saved: sf.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    feeds = {"x": np.random.default_rng(0).normal(size=(5, 3)).astype("f4")}
    assert main(["export", "model.sf", "out.onnx", "--opset", "17"]) == 0
    assert "outputs  y, p" in capsys.readouterr().out
    assert onnx.load("out.onnx").opset_import[0].version == 17
    (y, p) = ort.InferenceSession("out.onnx").run(["y", "p"], feeds)
    np.testing.assert_allclose(y, saved.run("y", feeds), rtol=1e-5, atol=1e-6)
    assert main(["import", "out.onnx"]) == 0
    assert "input x     float32[batch, 3]" in capsys.readouterr().out
    again = sf.Session.load("out.sf")
    np.testing.assert_allclose(again.run("p", feeds), p, rtol=1e-5, atol=1e-6)
    assert main(["export", "out.sf", "p.onnx", "--outputs", "p"]) == 0
    assert [o.name for o in onnx.load("p.onnx").graph.output] == ["p"]


def test_weights_alone(saved: sf.Session) -> None:
    assert main(["export", "model.sf", "out.safetensors"]) == 0
    tensors = read_tensors("out.safetensors")[1]
    assert tensors.keys() == saved.params.keys()
    for name, value in saved.params.items():
        np.testing.assert_array_equal(tensors[name], value)


def test_a_trained_table_says_what_its_columns_are() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2))
    text = "\n".join(f"{a:.3f},{b:.3f},{'yes' if a > b else 'no'}" for a, b in rows)
    Path("t.csv").write_text(f"left,right,answer\n{text}\n", encoding="utf-8")
    quick = ["--epochs", "1", "--no-progress", "--no-plot", "--hidden", "4"]
    assert main(["train", "t.csv", "--target", "answer", "--out", "t.sf", *quick]) == 0
    assert main(["export", "t.sf", "t.onnx"]) == 0
    props = {p.key: p.value for p in onnx.load("t.onnx").metadata_props}
    assert props["features"] == '["left", "right"]' and props["classes"] == '["no", "yes"]'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "model.sf", "out.xyz"], "ends in .onnx or .safetensors"),
        (["export", "none.sf", "out.onnx"], "none.sf"),
        (["export", "model.sf", "out.onnx", "--opset", "3"], "no writing opset 3"),
        (["export", "model.sf", "out.onnx", "--outputs", "q"], "there is no output 'q'"),
        (["export", "model.sf", "out.safetensors", "--opset", "18"], "this one has weights alone"),
        (["export", "model.sf", "no/out.onnx"], "there is no folder no"),
        (["import", "model.sf"], "ends in .onnx"),
        (["import", "none.onnx"], "none.onnx"),
        (["import", "broken.onnx"], "the file is damaged"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused(
    saved: sf.Session, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.onnx").write_bytes(b"\x08\x09nothing")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err and not captured.out
    assert not {"out.onnx", "out.safetensors", "broken.sf"} & {p.name for p in Path().iterdir()}
