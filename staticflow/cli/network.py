"""The network of a `train` command, declared as any user would."""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import staticflow as sf
from staticflow import models, ops
from staticflow.cli.errors import CommandError
from staticflow.models.scaling import Scaler, Standard

if TYPE_CHECKING:
    from staticflow.graph.node import Node

_MOST_PARAMETERS = 2**31 - 1
_HIDDEN = {"fnn": (128, 64), "rnn": (128,), "lstm": (128,), "gru": (128,)}
_LEARNING_RATE = {"sgd": 0.05, "lion": 3e-4}
_DROPOUT = 0.2  # the digits gain a per cent of accuracy by it
_CELLS = {"rnn": "tanh", "lstm": "lstm", "gru": "gru"}


def widths(options: argparse.Namespace) -> tuple[int, ...]:
    """The hidden layers' widths."""
    given: tuple[int, ...] | None = options.hidden
    return _HIDDEN[options.model] if given is None else given


def updates(options: argparse.Namespace, rows: int) -> int:
    """The updates of an epoch, each of so many batches as are accumulated."""
    batches = -(-rows // options.batch_size)
    return int(-(-batches // options.accumulate))


def trained(options: argparse.Namespace, epochs: int) -> str:
    """How it was trained, for the table of results."""
    together = f", {options.accumulate} for each update" if options.accumulate > 1 else ""
    return f"{epochs} epochs of batches of {options.batch_size}{together}"


def check_size(options: argparse.Namespace, inputs: int, outputs: int) -> None:
    """Refuse networks that no machine has the memory for."""
    layers = [inputs, *widths(options), outputs]
    gates = {"lstm": 4, "gru": 3}.get(options.model, 1)
    count = gates * sum(n * m for n, m in pairwise(layers))
    if options.model != "fnn":
        count += gates * sum(n * n for n in widths(options))
    if count > _MOST_PARAMETERS:
        given = ",".join(map(str, widths(options)))
        raise CommandError(
            f"--hidden {given} makes {count:,} parameters; more than {_MOST_PARAMETERS:,} "
            "are no small network"
        )


def describe(options: argparse.Namespace, inputs: int | str, outputs: int) -> str:
    """The network in a line."""
    return f"{options.model} {'-'.join(map(str, (inputs, *widths(options), outputs)))}"


def build(
    options: argparse.Namespace,
    features: int,
    steps: int | None,
    classes: int,
    total_steps: int,
    scales: tuple[Scaler, Scaler],
) -> sf.Session:
    """A session on inputs `x` and `y` as they come; no class means that `y` is a number.

    Both are float64: what differs between rows may be small beside what they have in common.
    """
    check_size(options, features if steps is None else features // steps, max(1, classes))
    shape = (features,) if steps is None else (steps, features // steps)
    x_scale, y_scale = Standard("x", shape), Standard("y", ())
    x = sf.input("x", ("batch", *shape), "float64")
    last = _body(options, x_scale.apply(x, "float32"), shape[-1], classes)
    loss, outputs, metrics = _classifier(last) if classes else _regressor(last, y_scale)
    session = sf.Session(
        loss=loss,
        outputs=outputs,
        metrics=metrics,
        optimizer=optimizer(options, total_steps),
        seed=options.seed,
        threads=options.threads,
    )
    session.load_params(x_scale.values(scales[0]))
    if not classes:
        session.load_params(y_scale.values(scales[1]))
    return session


def _body(options: argparse.Namespace, x: Node, width: int, classes: int) -> Node:
    hidden, out = widths(options), max(1, classes)
    dropout = options.dropout
    if dropout is None:
        dropout = _DROPOUT if options.model == "fnn" and classes else 0.0
    if options.model == "fnn":
        sizes = [width, *hidden, out]
        return models.FNN(sizes, activation=options.activation, dropout=dropout)(x)
    return models.FNN([hidden[0], out], name="head")(recurrent(options, dropout)(x))


def recurrent(options: argparse.Namespace, dropout: float, sequences: bool = False) -> models.RNN:
    """The recurrent layers, which are equally wide."""
    hidden = widths(options)
    if len(set(hidden)) != 1:
        raise CommandError(
            f"the layers of --model {options.model} are equally wide: --hidden 64,64"
        )
    cell = _CELLS[options.model]
    layers = len(hidden)
    return models.RNN(hidden[0], cell, layers, dropout=dropout, return_sequences=sequences)


def _classifier(logits: Node) -> tuple[Node, dict[str, Node], dict[str, Node]]:
    y = sf.input("y", ("batch",), dtype="int64")
    right = ops.equal(ops.argmax(logits, axis=-1), y).astype("float32")
    outputs = {"probabilities": ops.softmax(logits)}
    return ops.softmax_cross_entropy(logits, y).mean(), outputs, {"accuracy": right.mean()}


def _regressor(last: Node, scale: Standard) -> tuple[Node, dict[str, Node], dict[str, Node]]:
    y = sf.input("y", ("batch",), "float64")
    scaled = last[:, 0]
    outputs = {"prediction": scale.undo(scaled, "float64")}
    return ops.mse(scaled, scale.apply(y, "float32")), outputs, {}


def optimizer(options: argparse.Namespace, total_steps: int) -> Any:
    """The optimizer; its rate falls to 0 over all steps unless it is to stay."""
    kinds = {
        "sgd": sf.optim.SGD,
        "rmsprop": sf.optim.RMSProp,
        "adagrad": sf.optim.Adagrad,
        "adam": sf.optim.Adam,
        "adamw": sf.optim.AdamW,
        "lion": sf.optim.Lion,
    }
    lr = options.lr or _LEARNING_RATE.get(options.optimizer, 2e-3)
    rate = sf.optim.cosine(lr, total_steps) if options.schedule == "cosine" else lr
    momentum = {"momentum": 0.9} if options.optimizer == "sgd" else {}
    return kinds[options.optimizer](rate, weight_decay=options.weight_decay, **momentum)
