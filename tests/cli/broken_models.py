"""Model files that cannot be used, made from good ones, and what is said about each of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

import staticflow as sf
from tests.cli.broken_tables import GOOD, Broken, dangling, fifo, flipped, folder, loop, npz, zeros

Data = dict[str, Any]


def parts(good: bytes) -> tuple[Data, dict[str, np.ndarray]]:
    """The data and tensors of a model file."""
    size = int.from_bytes(good[:8], "little")
    return json.loads(json.loads(good[8 : 8 + size])["__metadata__"]["staticflow"]), load(good)


def digest(text: str, tensors: dict[str, np.ndarray]) -> str:
    """What covers the data and the tensors of a file."""
    state = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        array = tensors[key]
        state.update(f"\0{key}\0{array.dtype.name}\0{array.shape}\0".encode() + array.tobytes())
    return state.hexdigest()


def signed(good: bytes, change: Callable[[Data], object]) -> bytes:
    """The file with its data changed, under a digest that fits: as another version may write it."""
    data, tensors = parts(good)
    change(data)
    text = json.dumps(data)
    return save(tensors, {"staticflow": text, "staticflow.sha256": digest(text, tensors)})


def with_card(good: bytes, **fields: Any) -> bytes:
    return signed(good, lambda data: data["extra"]["fields"].update(fields))


def plain_session(path: Path) -> None:
    """What Session.save writes: a model, but none of the command line's."""
    x = sf.input("x", ("batch", 2))
    sf.Session(outputs={"y": x @ sf.param("w", (2, 1))}).save(path)


def foreign_extra(path: Path) -> None:
    x = sf.input("x", ("batch", 2))
    sf.Session(outputs={"y": x * 2.0}).save(path, extra={"notes": "mine"})


def header(text: bytes, claim: int | None = None) -> bytes:
    """A safetensors file of a header that claims to have some length."""
    return (len(text) if claim is None else claim).to_bytes(8, "little") + text


def damaged_files(good: bytes) -> Iterator[tuple[str, bytes]]:
    """What the disk, or another program, makes of a file."""
    size = int.from_bytes(good[:8], "little")
    yield "empty", b""
    yield "few", good[:5]
    yield "cut-header", good[:200]
    yield "cut-data", good[:-8]
    yield "longer", good + b"x" * 8
    yield "random", np.random.default_rng(4).bytes(4000)
    yield "table", GOOD.encode()
    yield "archive", npz(a=np.ones(3))
    yield "flipped-length", flipped(good, 0)
    yield "flipped-header", flipped(good, 300)
    yield "flipped-first", flipped(good, 8 + size)
    yield "flipped-last", flipped(good, len(good) - 1)
    yield "long-header", header(b"{}", 10**15)
    yield "longest-header", header(b"{}", 2**64 - 1)
    yield "null", header(b"null")
    yield "list", header(b"[1]")
    yield "nested", header(b"[" * 100_000)
    yield "unsigned", header(b'{"__metadata__":{"staticflow":"{}"}}')
    for name, change in {
        "no-graph": lambda data: data.pop("graph"),
        "no-nodes": lambda data: data["graph"].update(nodes=[]),
        "outputs": lambda data: data["graph"].update(outputs={"kind": "x"}),
        "params": lambda data: data.update(params=["zz"]),
        "rng": lambda data: data.update(rng={}),
        "threads": lambda data: data.update(threads="many"),
        "seed": lambda data: data.update(seed=-1),
    }.items():
        yield name, signed(good, change)


def damaged_cards(good: bytes, text_model: bytes) -> Iterator[tuple[str, bytes]]:
    """Files whose network is whole, but not what is said of it."""
    yield "no-kind", signed(good, lambda data: data["extra"].pop("kind"))
    yield "other-kind", signed(good, lambda data: data["extra"].update(kind="image"))
    yield "text-kind", signed(good, lambda data: data["extra"].update(kind="text"))
    yield "no-fields", signed(good, lambda data: data["extra"].update(fields=[1]))
    yield "no-features", signed(good, lambda data: data["extra"]["fields"].pop("features"))
    yield "more-fields", with_card(good, colour="red")
    yield "mean-text", with_card(good, mean=["a", "b"])
    yield "mean-short", with_card(good, mean=[0.0])
    yield "features-numbers", with_card(good, features=[1, 2])
    yield "features-many", with_card(good, features=["a", "b", "c"])
    yield "classes-number", with_card(good, classes=5)
    yield "classes-many", with_card(good, classes=["a", "b", "c"])
    yield "classes-none", with_card(good, classes=None)
    yield "target-number", with_card(good, target=3)
    yield "target-flag", with_card(good, seed=True)
    yield "fraction-text", with_card(good, test_fraction="x")
    yield "fraction-many", with_card(good, test_fraction=1.5)
    yield "window", with_card(good, window=-3)
    yield "steps", with_card(good, steps=3)
    yield "steps-none", with_card(good, steps=0)
    yield "model-none", with_card(good, model=None)
    extra = parts(good)[0]["extra"]
    yield "swapped", signed(text_model, lambda data: data.update(extra=extra))
    extra = parts(text_model)[0]["extra"]
    yield "swapped-text", signed(good, lambda data: data.update(extra=extra))
    yield "alphabet", with_card(text_model, alphabet="abc")
    yield "states", with_card(text_model, states=[[1, 3]])
    yield "states-flat", with_card(text_model, states=[1, 3])


def broken_models(good: bytes, text_model: bytes) -> Iterator[Broken]:
    """Files of every kind; `good` is a model of classes."""
    for name, content in damaged_files(good):
        yield Broken(f"{name}.sf", content, f"{name}.sf: ")
    for name, content in damaged_cards(good, text_model):
        yield Broken(f"{name}.sf", content, f"{name}.sf is damaged: its card is not as")
    for name, weights in {
        "weights": save({"w": np.ones(3, np.float32)}),
        "none": header(b"{}"),
    }.items():
        yield Broken(f"{name}.sf", weights, f"{name}.sf: there are weights in this file, but no")
    for name, version in {"future": 99, "no-version": None}.items():
        content = signed(good, lambda data, version=version: data.update(version=version))
        yield Broken(f"{name}.sf", content, f"{name}.sf: version {version} of the file format")
    theirs = "was not written by this version's `staticflow train`"
    yield Broken("session.sf", plain_session, f"session.sf {theirs}")
    yield Broken("extra.sf", foreign_extra, f"extra.sf {theirs}")
    card = signed(good, lambda data: data["extra"].update({"staticflow-card": 99}))
    yield Broken("card.sf", card, f"card.sf {theirs}")
    yield Broken("card-list.sf", signed(good, lambda d: d.update(extra=[1])), "card-list.sf")
    yield Broken("folder.sf", folder, "folder.sf cannot be read: Is a directory")
    yield Broken("fifo.sf", fifo, "fifo.sf is a pipe or a device")
    yield Broken("zeros.sf", zeros, "zeros.sf is a pipe or a device")
    yield Broken("loop.sf", loop, "loop.sf cannot be read: Too many levels of symbolic links")
    yield Broken("dangling.sf", dangling, "there is no model file dangling.sf")
