"""Networks of Keras and Flax taken in: their values, and their weights back."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from tests.models.support import Holder

EXPORTED = Path(__file__).parent / "exported"
RNG = np.random.default_rng(0)


def arrays_of(name: str) -> dict[str, Any]:
    with np.load(EXPORTED / f"{name}.npz") as data:
        return dict(data)


@pytest.mark.parametrize("name", ["recurrent", "functional"])
def test_a_file_of_keras(name: str) -> None:
    pytest.importorskip("h5py")
    net, data = models.from_keras(EXPORTED / f"{name}.keras"), arrays_of(f"keras_{name}")
    session = sf.Session(outputs=net.outputs)
    (x,) = net.inputs
    for k, key in enumerate(net.outputs):
        found = session.run(key, {x: data["x"]})
        np.testing.assert_allclose(found, data[f"y{k}"], rtol=0, atol=1e-6 * np.abs(found).max())
    assert "Imported(" in repr(net) and net.parameters
    loss = ops.mse(next(iter(net.outputs.values())), 0.25)
    trainer = sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-2))
    losses = [trainer.step({x: data["x"]}) for _ in range(4)]
    assert losses[-1] < losses[0]


def test_a_file_of_weights_needs_the_layers() -> None:
    pytest.importorskip("h5py")
    weights, whole = EXPORTED / "recurrent.weights.h5", EXPORTED / "recurrent.keras"
    with pytest.raises(sf.GraphError, match="does not say of which layers"):
        models.from_keras(weights)
    first, second = (
        sf.Session(outputs=models.from_keras(*given).outputs).params
        for given in ((whole,), (weights, whole))
    )
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value)
    with pytest.raises(sf.GraphError, match="has not the shape"):
        models.from_keras(weights, EXPORTED / "functional.keras")


def test_damaged_files_of_keras(tmp_path: Path) -> None:
    """Cut off, with layers of other classes, or with members that are larger than they are."""
    pytest.importorskip("h5py")
    path = tmp_path / "m.keras"
    data = (EXPORTED / "recurrent.keras").read_bytes()
    for size in (0, 100, len(data) // 2, len(data) - 40):
        path.write_bytes(data[:size])
        with pytest.raises(sf.GraphError, match=r"m\.keras: the file is damaged"):
            models.from_keras(path)
    with zipfile.ZipFile(EXPORTED / "recurrent.keras") as archive:
        config, weights = (archive.read(n) for n in ("config.json", "model.weights.h5"))

    def changed(text: bytes, values: bytes, **options: Any) -> None:
        with zipfile.ZipFile(path, "w", **options) as archive:
            archive.writestr("config.json", text)
            archive.writestr("model.weights.h5", values)

    layers = json.loads(config)
    layers["config"]["layers"][-1]["class_name"] = "Lambda"
    changed(json.dumps(layers).encode(), weights)
    with pytest.raises(sf.GraphError, match="is a Lambda, which is not supported"):
        models.from_keras(path)
    changed(config, weights[:2000])
    with pytest.raises(sf.GraphError, match="the file is damaged"):
        models.from_keras(path)
    changed(config, bytes(1 << 28), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(sf.GraphError, match=r"would be 268,435,456 bytes"):
        models.from_keras(path)
    changed(b"[" * 100_000, weights)
    with pytest.raises(sf.GraphError, match="the file is damaged"):
        models.from_keras(path)
    for text, match in ((b'{"class_name": "Sequential", "config": {}}', "no model"),
                        (b'{"class_name": "Own", "config": {}}', "made by its own code"),
                        (b"[]", "no model")):  # fmt: skip
        changed(text, weights)
        with pytest.raises(sf.GraphError, match=match):
            models.from_keras(path)


def test_arrays_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(4096))
    path = tmp_path / "w.weights.h5"
    for link in (h5py.ExternalLink("other.h5", "/x"), h5py.SoftLink("/layers")):
        shutil.copy(EXPORTED / "recurrent.weights.h5", path)
        with h5py.File(path, "a") as file:
            del file["layers/dense/vars/0"]
            file["layers/dense/vars/0"] = link
        with pytest.raises(sf.GraphError, match="is no plain array"):
            models.from_keras(path, EXPORTED / "recurrent.keras")
    shutil.copy(EXPORTED / "recurrent.weights.h5", path)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/0"]
        where = [(str(tmp_path / "secret"), 0, 3 * 3 * 4)]
        file["layers/dense/vars"].create_dataset("0", (3, 3), "f4", external=where)
    with pytest.raises(sf.GraphError, match="is no plain array"):
        models.from_keras(path, EXPORTED / "recurrent.keras")
    shutil.copy(EXPORTED / "recurrent.weights.h5", path)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset("0", (1 << 20, 1 << 20), "f4", chunks=(1, 1024))
    with pytest.raises(sf.GraphError, match="has 0 bytes"):
        models.from_keras(path, EXPORTED / "recurrent.keras")


def test_a_model_object_of_keras_and_back() -> None:
    keras = pytest.importorskip("keras")
    source = keras.saving.load_model(EXPORTED / "recurrent.keras")
    data = arrays_of("keras_recurrent")
    net = models.from_keras(source)
    session = sf.Session(outputs=net.outputs)
    for values in (session.params, session.states):
        for value in values.values():
            value[...] = RNG.uniform(0.1, 0.5, value.shape)
    models.to_keras(session, source)
    found = session.run(next(iter(net.outputs)), {next(iter(net.inputs)): data["x"]})
    theirs = keras.ops.convert_to_numpy(source(data["x"]))
    np.testing.assert_allclose(found, theirs, atol=1e-6)
    before = [np.array(w) for w in source.get_weights()]
    with pytest.raises(sf.GraphError, match="the session has no"):
        models.to_keras(Holder({}), source)
    for a, b in zip(before, source.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


CELLS = {"LSTMCell": "lstm", "OptimizedLSTMCell": "lstm", "GRUCell": "gru", "SimpleCell": "tanh"}


def flax_tree(name: str) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The parameters as Flax has them, and the rest of the file."""
    data = arrays_of(name)
    tree: dict[Any, Any] = {}
    for path, value in data.items():
        keys = [int(k) if k.isdigit() else k for k in path.split("/")]
        if len(keys) > 1:
            place = tree
            for key in keys[:-1]:
                place = place.setdefault(key, {})
            place[keys[-1]] = value
    return tree, data


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_weights_of_flax_and_back(kind: str, cell: str) -> None:
    tree, data = flax_tree(f"{kind}_{cell}")
    x = sf.input("x", ("batch", "time", 3))
    rnn = models.RNN(4, CELLS[cell], layers=2, return_sequences=True)
    body = models.FNN([4, 6, 2], norm="layer", epsilon=1e-6)
    y = body(rnn(x))
    session = sf.Session(outputs={"y": y}, params=models.from_flax(tree, [rnn, body]))
    found = session.run("y", {"x": data["x"]})
    np.testing.assert_allclose(found, data["y"], rtol=0, atol=1e-6 * np.abs(data["y"]).max())
    for name, value in session.params.items():
        apart = cell == "GRUCell" and kind == "nnx" and name.endswith("bias_hh")
        absent = kind == "linen" and name == "fnn.1.bias"
        if not absent:
            value[...] = RNG.normal(size=value.shape)
        if apart:
            value[8:] = 0.0  # which nnx's GRUCell has not
    back = models.to_flax(session, [rnn, body], tree)
    again = sf.Session(outputs={"y": y}, params=models.from_flax(back, [rnn, body]))
    np.testing.assert_allclose(again.run("y", {"x": data["x"]}), session.run("y", {"x": data["x"]}),
                               rtol=1e-5, atol=1e-6)  # fmt: skip


def test_trees_that_do_not_fit() -> None:
    tree, _ = flax_tree("linen_LSTMCell")
    rnn = models.RNN(4, "lstm", layers=2)
    with pytest.raises(sf.GraphError, match=r"fnn\.0\.weight \(7, 4\) +\| "):
        models.from_flax(tree, [rnn, models.FNN([4, 7, 2], norm="layer")])
    with pytest.raises(sf.GraphError, match="are not those of"):
        models.from_flax(tree, [models.RNN(4, "lstm", layers=3), models.FNN([4, 6, 2])])
    parts = {"Dense_0": models.FNN([4, 6], name="head")}
    with pytest.raises(sf.GraphError, match="are not those of"):
        models.from_flax(tree, parts)  # which leaves the rest over
    gru, data = flax_tree("nnx_GRUCell")
    rnn, body = models.RNN(4, "gru", layers=2), models.FNN([4, 6, 2], norm="layer", epsilon=1e-6)
    body(rnn(sf.input("x", ("batch", "time", 3))))
    values = models.from_flax(gru, [rnn, body])
    values["rnn.0.bias_hh"][8:] = 1.0
    with pytest.raises(sf.GraphError, match="has no bias, and ours is not all 0"):
        models.to_flax(Holder(values), [rnn, body], gru)
    assert data["x"].shape == (4, 5, 3)
