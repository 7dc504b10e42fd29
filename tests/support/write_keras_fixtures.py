"""Writes tests/models/exported: networks of Keras and Flax with their values.

    python -m tests.support.write_keras_fixtures

Needs keras with torch, and flax. A network of Keras is a .keras file and an .npz of its inputs and
outputs; one of Flax is an .npz with its parameters by path, `params/Dense_0/kernel`, beside these.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "models" / "exported"
RNG = np.random.default_rng(0)


def keras_networks() -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    layers, inputs = keras.layers, keras.Input
    both = layers.Bidirectional
    start, middle = inputs((5, 3)), layers.Dense(4)
    joined = layers.Concatenate()([layers.SimpleRNN(4, go_backwards=True)(start),
                                   both(layers.LSTM(3), merge_mode="sum")(start)])  # fmt: skip
    inner = keras.Sequential([layers.Dense(4, activation="gelu"), layers.LayerNormalization()])
    functional = keras.Model(start, [layers.Add()([inner(joined), middle(joined)]), joined])
    networks = {
        "recurrent": keras.Sequential([
            inputs((5,), dtype="int32"), layers.Embedding(7, 3),
            both(layers.LSTM(4, return_sequences=True)), layers.GRU(4, return_sequences=True),
            layers.GRU(3, reset_after=False), layers.BatchNormalization(epsilon=0.01),
            layers.Dropout(0.5), layers.Dense(3, activation="relu"),
            layers.Dense(2, use_bias=False, activation="softmax"),
        ]),
        "functional": functional,
    }  # fmt: skip
    for name, net in networks.items():
        for w in net.weights:
            if "moving" in w.path or "bias" in w.path or "gamma" in w.path:
                w.assign(RNG.uniform(0.2, 1.0, w.shape))
        x = RNG.integers(0, 7, (4, 5)) if name == "recurrent" else RNG.normal(size=(4, 5, 3))
        x = x.astype("i4" if name == "recurrent" else "f4")
        ys = net(x)
        outputs = [y.detach().numpy() for y in (ys if isinstance(ys, list) else [ys])]
        net.save(FOLDER / f"{name}.keras")
        if name == "recurrent":
            net.save_weights(FOLDER / f"{name}.weights.h5")
        np.savez(FOLDER / f"keras_{name}.npz", x=x, **{f"y{k}": y for k, y in enumerate(outputs)})


def flax_networks() -> None:
    import flax.linen as nn
    import jax
    from flax import nnx

    class Linen(nn.Module):  # type: ignore[misc]
        cell: Any

        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            x = nn.RNN(self.cell(4))(x)  # linen numbers modules as they are made
            x = nn.RNN(self.cell(4))(x)
            x = nn.relu(nn.LayerNorm()(nn.Dense(6)(x)))
            return nn.Dense(2, use_bias=False)(x)

    class Nnx(nnx.Module):  # type: ignore[misc]
        def __init__(self, cell: Any, rngs: Any) -> None:
            self.rnns = nnx.List([nnx.RNN(cell(3, 4, rngs=rngs)), nnx.RNN(cell(4, 4, rngs=rngs))])
            self.layers = nnx.List([nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 2, rngs=rngs)])
            self.norm = nnx.LayerNorm(6, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = self.rnns[1](self.rnns[0](x))
            return self.layers[1](nnx.relu(self.norm(self.layers[0](x))))

    x = RNG.normal(size=(4, 5, 3)).astype("f4")
    for name in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"):
        net = Linen(getattr(nn, name))
        variables = net.init(jax.random.key(0), x)
        save_tree(f"linen_{name}", shaken(variables), lambda v, net=net: net.apply(v, x), x)
        module = Nnx(getattr(nnx, name), nnx.Rngs(0))
        tree = shaken(nnx.to_pure_dict(nnx.state(module, nnx.Param)))

        def run(tree: Any, module: Any = module) -> Any:
            nnx.update(module, tree)
            return module(x)

        save_tree(f"nnx_{name}", tree, run, x)


def shaken(tree: Any) -> Any:
    """The tree with biases that are not 0, as they are at first."""
    import jax

    return jax.tree.map(lambda a: a + RNG.normal(size=a.shape).astype("f4") * 0.1, tree)


def save_tree(name: str, tree: Any, run: Any, x: Any) -> None:
    flat: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}/{key}" if path else str(key))
        else:
            flat[path] = np.asarray(value)

    walk(tree, "")
    np.savez(FOLDER / f"{name}.npz", x=x, y=np.asarray(run(tree)), **flat)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    keras_networks()
    flax_networks()
