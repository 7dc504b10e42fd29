"""Damaged and hostile ONNX files: an error of ours, soon, without the memory that they claim."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from tests.session.interchange.test_onnx_in import EXPORTED, recurrent, text

onnx: Any = pytest.importorskip("onnx")
OURS = (sf.GraphError, sf.ShapeError, sf.DTypeError)


def tensor(dims: list[int], **fields: Any) -> Any:
    made = onnx.TensorProto(data_type=1, name="w", dims=dims)
    for name, value in fields.items():
        if name == "external":
            made.data_location = 1
            for key, text_ in value.items():
                made.external_data.add(key=key, value=text_)
        elif name == "floats":
            made.float_data.extend(value)
        else:
            setattr(made, name, value)
    return made


def with_weight(w: Any) -> Any:
    model = text("y = Add(x, w)", "float[2] x", "float[2] y")
    model.graph.initializer.append(w)
    return model


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (tensor([1 << 40]), "with 0 elements"),
        (tensor([1 << 31, 1 << 31, 1 << 31], raw_data=b"12345678"), "with 8 bytes"),
        (tensor([-1], raw_data=b"1234"), "of shape"),
        (tensor([2], floats=[1.0]), "with 1 elements"),
        (tensor([2], raw_data=b"1234567"), "with 7 bytes"),
        (tensor([2], data_type=10, raw_data=b"1234"), "number 10"),
        (tensor([2], external={"location": "w.bin"}), "lies in another file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tensor_that_is_not_there(weight: Any, match: str) -> None:
    with pytest.raises(sf.GraphError, match=match):
        sf.from_onnx(with_weight(weight))


def test_external_data_stays_in_the_models_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "w.bin").write_bytes(np.array([0, 0, 1, 2], "f4").tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")

    def taken(**entries: str) -> Any:
        path = folder / "m.onnx"
        path.write_bytes(with_weight(tensor([2], external=entries)).SerializeToString())
        return sf.from_onnx(path)

    model = taken(location="w.bin", offset="8", length="8")
    np.testing.assert_array_equal(sf.Session(outputs=model.outputs).params["w"], [1, 2])
    for entries, match in (
        ({"location": "../secret"}, "outside of the model's folder"),
        ({"location": str(tmp_path / "secret")}, "outside of the model's folder"),
        ({"location": "link"}, "outside of the model's folder"),
        ({"location": ""}, "outside of the model's folder"),
        ({"location": "none"}, "there is no file"),
        ({"location": "w.bin", "offset": "12"}, "damaged"),
        ({"location": "w.bin", "offset": "-1"}, "damaged"),
        ({"location": "w.bin", "length": "99999999999999999999999"}, "damaged"),
        ({"location": "w.bin", "length": "4"}, "damaged"),
    ):
        with pytest.raises(sf.GraphError, match=match):
            taken(**entries)


def test_what_a_file_claims_costs_nothing() -> None:
    """Sizes without data, a function in a function, thirty times, and a deep nest of branches."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    big = "n = Constant<value = int64[2] {1099511627776, 1099511627776}>()\n"
    fills = text(big + "z = ConstantOfShape(n)\ny = ReduceSum(z)", "float[2] x", "float[1,1] y")
    sf.from_onnx(fills)
    far = "n = Constant<value = int64[2] {1099511627776, 0}>()\ny = "
    sf.from_onnx(text(far + "Pad(x, n)", "float[2] x", "float[m] y"))
    with pytest.raises(sf.GraphError, match="repeats more than"):
        sf.from_onnx(text(far + 'Pad<mode = "edge">(x, n)', "float[2] x", "float[m] y"))
    endless = [
        f'<domain: "own", opset_import: ["" : 18, "own" : 1]>\n'
        f"f{k} (a) => (b) {{ c = own.f{k + 1}(a) b = own.f{k + 1}(c) }}"
        for k in range(20)
    ]
    last = '<domain: "own", opset_import: ["" : 18]>\nf20 (a) => (b) { b = Relu(a) }'
    model = text("y = own.f0(x)", "float[2] x", "float[2] y", more="\n".join([*endless, last]))
    with pytest.raises(sf.GraphError, match=r"more than .* nodes in all"):
        sf.from_onnx(model)
    circle = '<domain: "own", opset_import: ["own" : 1]>\nf (a) => (b) { b = own.f(a) }'
    with pytest.raises(sf.GraphError, match="too deep in each other"):
        sf.from_onnx(text("y = own.f(x)", "float[2] x", "float[2] y", more=circle))
    assert time.process_time() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_weights_of_wrong_shapes_are_refused() -> None:
    """Which the full checker of ONNX lets pass."""
    for name, match in (("W", "W has the wrong shape"), ("R", "R has"), ("B", "B has")):
        model, _ = recurrent("LSTM")
        for w in model.graph.initializer:
            if w.name == name:
                wrong = onnx.numpy_helper.to_array(w)[:, :-1]
                w.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(wrong), name))
        with pytest.raises(sf.GraphError, match=match):
            sf.from_onnx(model)


def damaged(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    copy = bytearray(data)
    change(copy)
    return bytes(copy)


@pytest.mark.parametrize("name", ["dynamo_lstm", "sklearn_classifier", "jax_scan"])
def test_a_damaged_file_is_an_error_of_ours(name: str) -> None:
    """Cut off anywhere, or with bytes changed: it is taken in, or refused in our words."""
    data = (EXPORTED / f"{name}.onnx").read_bytes()
    rng = np.random.default_rng(0)
    cut = [data[:n] for n in rng.integers(0, len(data), 40)]

    def change(copy: bytearray) -> None:
        for place in rng.integers(0, len(copy), 3):
            copy[place] = int(rng.integers(256))

    refused = 0
    for broken in [*cut, *(damaged(data, change) for _ in range(120))]:
        try:
            sf.from_onnx(broken)
        except OURS as error:
            refused += 1
            assert "\n  at test_onnx_hostile.py:" in str(error)
    assert refused > 60


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sf.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(sf.GraphError, match="no plain file"):
        sf.from_onnx(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(sf.GraphError, match=r"empty\.onnx: the file is damaged"):
        sf.from_onnx(tmp_path / "empty.onnx")
