"""Writes tests/session/interchange/exported: small models of other libraries, and their values.

    python -m tests.support.write_onnx_fixtures [NAME ...]

Needs torch with onnxscript, keras, scikit-learn with skl2onnx, and flax with jax2onnx. Each model
is an .onnx file and an .npz of its inputs and outputs. What exporters write of the machine that
they ran on, stack traces with paths, is taken out.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "session" / "interchange" / "exported"
RNG = np.random.default_rng(0)


def save(name: str, model: Any, feeds: dict[str, Any], outputs: Sequence[Any]) -> None:
    """A model without what it says of the machine, and its values."""
    import onnx

    graphs = [model.graph, *model.functions]
    for graph in graphs:
        for node in graph.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
    del model.graph.metadata_props[:], model.metadata_props[:], model.graph.value_info[:]
    for tensor in model.graph.initializer:
        tensor.ClearField("doc_string")
    onnx.save(model, FOLDER / f"{name}.onnx")
    arrays = {f"in.{k}": np.asarray(v) for k, v in feeds.items()}
    arrays |= {f"out.{k}": np.asarray(v) for k, v in enumerate(outputs)}
    np.savez(FOLDER / f"{name}.npz", **arrays)


def exported(write: Callable[[str], Any]) -> Any:
    """What a library writes to a file."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        write(path)
        return onnx.load(path)


def torch_models(dynamo: bool) -> None:
    import torch

    torch.manual_seed(0)
    prefix = "dynamo" if dynamo else "torchscript"

    def write(name: str, module: Any, x: Any, other: Any, axes: dict[int, str]) -> None:
        dims = {k: torch.export.Dim(v) for k, v in axes.items()}
        options = {"dynamic_shapes": (dims,)} if dynamo else {"dynamic_axes": {"x": axes}}
        model = exported(
            lambda path: torch.onnx.export(
                module, (x,), path, dynamo=dynamo, input_names=["x"], output_names=["y"],
                external_data=False, **options,
            )
        )  # fmt: skip
        save(f"{prefix}_{name}", model, {"x": other.numpy()}, [module(other).detach().numpy()])

    layers = torch.nn
    mlp = layers.Sequential(
        layers.Linear(3, 8), layers.BatchNorm1d(8), layers.GELU(), layers.Dropout(),
        layers.Linear(8, 8, bias=False), layers.ELU(), layers.Linear(8, 2),
    ).eval()  # fmt: skip
    mlp[1].running_mean[:], mlp[1].running_var[:] = torch.randn(8), torch.rand(8) + 0.5
    write("mlp", mlp, torch.randn(5, 3), torch.randn(4, 3), {0: "batch"})

    class Tagger(layers.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.table = layers.Embedding(7, 3)
            options = {"num_layers": 2, "batch_first": True, "bidirectional": True}
            self.rnn = getattr(layers, kind)(3, 4, **options)
            self.norm, self.head = layers.LayerNorm(8), layers.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            y, _ = self.rnn(self.table(x))
            return torch.log_softmax(self.head(self.norm(y[:, -1])), -1)

    for kind in ("LSTM", "GRU"):
        ids = torch.randint(0, 7, (3, 5)), torch.randint(0, 7, (2, 4))
        write(kind.lower(), Tagger(kind).eval(), *ids, {0: "batch", 1: "time"})


def sklearn_models() -> None:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = RNG.normal(size=(50, 4)).astype("f4") * 3 + 1
    labels = (x[:, 0] > 1).astype(int) + (x[:, 1] > 2)
    made = make_pipeline(StandardScaler(), MLPClassifier((6, 5), max_iter=20, random_state=0))
    made.fit(x, labels)
    model = to_onnx(made, x[:1], options={"zipmap": False})
    outputs = [made.predict(x[:6]), made.predict_proba(x[:6]).astype("f4")]
    save("sklearn_classifier", model, {"X": x[:6]}, outputs)
    net = MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=20, random_state=0)
    made = make_pipeline(StandardScaler(), net).fit(x, x[:, 0])
    save("sklearn_regressor", to_onnx(made, x[:1]), {"X": x[:6]}, [made.predict(x[:6])[:, None]])


def keras_models() -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential([
        keras.Input((5, 3)), layers.LSTM(4, return_sequences=True), layers.GRU(4),
        layers.BatchNormalization(), layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    x = RNG.normal(size=(2, 5, 3)).astype("f4")
    outputs = [net(x).detach().numpy()]
    model = exported(lambda path: net.export(path, format="onnx", verbose=False))
    save("keras_rnn", model, {model.graph.input[0].name: x}, outputs)


def jax_models() -> None:
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from jax2onnx import to_onnx

    class Net(nnx.Module):  # type: ignore[misc]
        def __init__(self, rngs: Any) -> None:
            self.a, self.b = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)
            self.norm = nnx.LayerNorm(8, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return nnx.softmax(self.b(self.norm(nnx.gelu(self.a(x)))))

    net, x = Net(nnx.Rngs(0)), RNG.normal(size=(4, 3)).astype("f4")
    model = to_onnx(net, [("B", 3)])
    save("jax_mlp", model, {model.graph.input[0].name: x}, [net(x)])

    def running(x: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = jnp.tanh(row @ jnp.full((3, 3), 0.3) + h)
            return h, h.sum()

        return jax.lax.scan(step, jnp.zeros((3,)), x)[1]

    x = RNG.normal(size=(6, 3)).astype("f4")
    model = to_onnx(running, [(6, 3)])
    save("jax_scan", model, {model.graph.input[0].name: x}, [running(x)])


WRITERS: dict[str, Callable[[], None]] = {
    "dynamo": lambda: torch_models(True), "torchscript": lambda: torch_models(False),
    "sklearn": sklearn_models, "keras": keras_models, "jax": jax_models,
}  # fmt: skip

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for chosen in sys.argv[1:] or WRITERS:
        WRITERS[chosen]()
