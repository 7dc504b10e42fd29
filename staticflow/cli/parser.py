"""The commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)
_MOST = 2**31 - 1  # of whatever is counted
_LARGEST = 1e30  # so that float32 holds its products with what it is multiplied by

MODELS = ("fnn", "rnn", "lstm", "gru")
OPTIMIZERS = ("sgd", "rmsprop", "adagrad", "adam", "adamw", "lion")
_TABLE = "the bundled data set 'digits', or a .csv, .tsv, .npz or .parquet file"
_SOURCE = f"{_TABLE}, or a .txt file"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; `bench` only as an entry of the help, its options are its own."""
    parser = argparse.ArgumentParser(
        prog="staticflow",
        description="Train small neural networks, compiled to one native loop.",
        epilog="staticflow train digits    trains on the bundled handwritten digits",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train a model and save it"))
    _add_predict(commands.add_parser("predict", help="apply a saved model to the rows of a file"))
    _add_evaluate(commands.add_parser("evaluate", help="measure a saved model on known answers"))
    _add_generate(commands.add_parser("generate", help="write text with a character model"))
    _add_inspect(commands.add_parser("inspect", help="show what is in a saved model"))
    _add_export(commands.add_parser("export", help="write a saved model in another format"))
    _add_import(commands.add_parser("import", help="save a model of another framework as ours"))
    commands.add_parser("ops", help="list every op with its type and derivative, as Markdown")
    commands.add_parser("bench", help="measure against other frameworks: bench --help")
    return parser


def _version() -> str:
    try:
        return f"staticflow {version('staticflow')}"
    except PackageNotFoundError:
        return "staticflow, from a checkout"


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=_source, help=_SOURCE)
    data = parser.add_argument_group("data")
    data.add_argument("--target", metavar="COLUMN", help="the column to predict")
    data.add_argument("--drop", metavar="COLUMNS", type=_names, default=(), help="left out")
    data.add_argument(
        "--task", choices=("classify", "regress"), help="default: what the target looks like"
    )
    data.add_argument(
        "--window",
        metavar="N",
        type=_positive,
        help="the rows follow in time: forecast the target from its N values before",
    )
    data.add_argument(
        "--test-fraction", metavar="F", type=_fraction, help="default: 0.2; 0.1 of a text"
    )
    net = parser.add_argument_group("network")
    net.add_argument("--model", choices=MODELS, help="default: fnn; gru for a text or a series")
    net.add_argument("--hidden", metavar="N,N", type=_widths, help="widths of the hidden layers")
    net.add_argument(
        "--activation", type=_activation, default="relu", help="of an fnn: relu, tanh, gelu, ..."
    )
    net.add_argument(
        "--dropout", metavar="P", type=_probability, help="default: 0.2 in an fnn of classes, or 0"
    )
    net.add_argument(
        "--steps", metavar="N", type=_positive, help="time steps that a row, or a text, is cut into"
    )
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", metavar="N", type=_positive, help="default: 30; 10 of a text")
    training.add_argument("--batch-size", metavar="N", type=_positive, default=32)
    training.add_argument(
        "--accumulate", metavar="K", type=_positive, default=1, help="batches that have one update"
    )
    training.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    training.add_argument("--lr", metavar="X", type=_positive_float, help="the learning rate")
    training.add_argument(
        "--schedule", choices=("cosine", "constant"), default="cosine", help="of the learning rate"
    )
    training.add_argument("--weight-decay", metavar="X", type=_no_less_than_0, default=0.0)
    training.add_argument("--seed", metavar="N", type=_seed, default=0)
    training.add_argument("--threads", metavar="N", type=_positive)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE", type=_path, help="default: SOURCE.sf")
    curve = output.add_mutually_exclusive_group()
    curve.add_argument("--plot", metavar="FILE", type=_path, help="default: SOURCE-loss.svg")
    curve.add_argument("--no-plot", action="store_true", help="draw no loss curve")
    output.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=_path,
        help="keep the state after the last epochs there, for --resume, and the best beside it",
    )
    output.add_argument(
        "--resume", metavar="FILE", type=_path, help="go on from a checkpoint, as if without a stop"
    )
    output.add_argument("--no-progress", action="store_true", help="show no progress bar")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=_path, help="a file saved by train")
    parser.add_argument("source", metavar="SOURCE", type=_source, help=_TABLE)
    parser.add_argument("--out", metavar="FILE", type=_path, help="a CSV file; default: print")
    parser.add_argument(
        "--ahead", metavar="N", type=_positive, help="of a series: how many values; default: 1"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="a column for every class as well"
    )


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=_path, help="trained on a .txt file")
    parser.add_argument("--prompt", metavar="TEXT", default="", help="how the text begins")
    parser.add_argument("--length", metavar="N", type=_positive, default=500, help="characters")
    parser.add_argument(
        "--temperature", metavar="X", type=_positive_float, default=0.8, help="lower is more likely"
    )
    parser.add_argument("--seed", metavar="N", type=_seed, default=0)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=_path, help="a file saved by train")
    parser.add_argument("source", metavar="SOURCE", type=_source, help=_SOURCE)
    parser.add_argument(
        "--all", action="store_true", help="the rows it was trained on as well, of the same source"
    )


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=_path, help="a file saved by train")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--graph", action="store_true", help="the graph")
    what.add_argument("--source", action="store_true", help="the generated loops")
    what.add_argument("--memory", action="store_true", help="its kernels and their buffers")
    what.add_argument("--passes", action="store_true", help="what each pass of the compiler leaves")
    what.add_argument(
        "--html", metavar="FILE", type=_path, help="all of it, with the loss curve, as one page"
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=_path, help="a saved model or session")
    parser.add_argument(
        "target", metavar="FILE", type=_path,
        help="out.onnx, out.c, or out.safetensors for weights alone",
    )  # fmt: skip
    parser.add_argument(
        "--outputs", metavar="NAMES", type=_names, default=(), help="default: all of them"
    )
    parser.add_argument("--opset", metavar="N", type=_positive, help="of an ONNX file")
    parser.add_argument(
        "--sizes", metavar="NAME=N", type=_sizes, default=(),
        help="of named dimensions, for C: batch=1,time=50",
    )  # fmt: skip
    parser.add_argument(
        "--stream", metavar="NAME", help="for C: the dimension of which a call takes one element"
    )
    parser.add_argument(
        "--derivatives", metavar="NAMES", type=_names, default=(),
        help="for C: inputs by which to give the outputs' Jacobians too: x,u",
    )  # fmt: skip
    parser.add_argument(
        "--training", action="store_true", help="for C: the training step, and what reads its state"
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FILE", type=_path, help="an ONNX model")
    parser.add_argument(
        "--out", metavar="FILE", type=_path, help="default: its name, ending in .sf"
    )


def _sizes(text: str) -> tuple[tuple[str, int], ...]:
    found = []
    for part in text.split(","):
        name, equals, size = part.partition("=")
        if not name or not equals or not size.isdecimal():
            raise argparse.ArgumentTypeError(f"{part!r} is no size; write batch=1,time=50")
        found.append((name.strip(), int(size)))
    return tuple(found)


def _source(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("name a data set or a file")
    return text


def _activation(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("name one, or leave it out")
    return text


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("name a file")
    return Path(text)


def _positive(text: str) -> int:
    value = _as(int, text, "a whole number")
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    if value > _MOST:
        raise argparse.ArgumentTypeError(f"{text} is more than {_MOST:,}")
    return value


def _seed(text: str) -> int:
    value = _as(int, text, "a whole number")
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 2**63 - 1")
    return value


def _positive_float(text: str) -> float:
    value = _no_less_than_0(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _no_less_than_0(text: str) -> float:
    value = _as(float, text, "a number")
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    if value > _LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is more than {_LARGEST:g}")
    return value


def _probability(text: str) -> float:
    value = _as(float, text, "a number")
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1)")
    return value


_fraction = _probability


def _widths(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(",")) if text != "0" else ()


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _as(kind: Callable[[str], Number], text: str, what: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
