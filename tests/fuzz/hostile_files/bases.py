"""The files that hostile ones are made of: models large and small, tables, and a cache entry."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

import staticflow as sf
from staticflow import ops
from staticflow.graph.pytree import flatten
from staticflow.native.toolchain.disk_cache import _encode
from staticflow.native.toolchain.objects import ObjectCode
from staticflow.session.files.checkpoint import DATA, describe
from tests.ops.cases.table import CASES
from tests.support.finite_differences import leaves_for
from tests.support.places import FIXTURES

Array = np.ndarray[Any, Any]
Model = tuple[Any, dict[str, Array]]
KEY = "ab" * 32
WRITTEN = FIXTURES / "0.1.0"


def bases() -> dict[str, list[Any]]:
    """What there is to change, by kind."""
    models = [*written(), *small_graphs(), *loops(), *matrices()]
    return {"model": models, "csv": tables(), "npz": archives(), "entry": [entry()]}


def written() -> list[Model]:
    """Models that version 0.1.0 has written."""
    found = []
    for path in sorted(WRITTEN.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            data = json.loads(file.metadata()[DATA])
        found.append((data, load_file(path)))
    return found


def as_data(session: sf.Session) -> Model:
    data, tensors = describe(session._state, {})
    return json.loads(json.dumps(data)), {k: np.array(v) for k, v in tensors.items()}


def small_graphs() -> list[Model]:
    """Every fourth case of an op as a model of its own, with parameters and derivatives."""
    found = []
    for case in CASES[::4]:
        xs = leaves_for(case.inputs)
        ys = flatten(case.call(*xs))
        slopes: list[sf.Node] = []
        if case.smooth and ys[0].type.is_float and any(x.type.is_float for x in xs):
            slopes = sf.grad((ys[0] * ys[0]).sum(), [x for x in xs if x.type.is_float])
        found.append(as_data(sf.Session(outputs=[*ys, *slopes])))
    return found


def loops() -> list[Model]:
    """Small loops within each other, trained by several optimizers."""
    found = []
    for optimizer in (sf.optim.SGD(0.1), sf.optim.Adam(sf.optim.cosine(0.1, 9)), sf.optim.Lion()):
        x, w = sf.input("x", ("time", "batch", 2)), sf.param("w", (2, 2))
        last, ys = sf.scan(lambda h, x, w=w: (ops.tanh(x @ w + h),) * 2, x[0] * 0.0, x)  # type: ignore[misc]
        y = sf.cond(last.sum() > 0.0, lambda last=last: last * 2.0, last)  # type: ignore[misc]
        halved = sf.while_loop(lambda v: v.sum() > 1.0, lambda v: v * 0.5, y * y, max_steps=9)
        session = sf.Session((ys * ys).mean() + halved.sum(), {"y": y}, None, optimizer)
        found.append(as_data(session))
    return found


def matrices() -> list[Model]:
    """Native routines, gathers, and sizes that follow from others."""
    a, x = sf.input("a", ("b", 3, 3), "float64"), sf.input("x", ("n", "m"))
    i = sf.input("i", ("k",), "int64")
    outputs = [
        [ops.solve(a, a + 1.0), ops.slogdet(a)[1]],
        [ops.svd(a)[0], ops.qr(a)[1]],
        [ops.eigh(a)[0], ops.expm(a), ops.cumprod(a, -1), ops.sort(a, 1)],
        [ops.take(x, i, axis=0), sf.grad((ops.take(x, i, axis=0) ** 2).sum(), x)],
        [x[1:, ::-1].reshape(-1), ops.pad(x, ((1, 0), (0, 2))), ops.random.normal(x.shape) + x],
        [ops.take_along_axis(x, ops.argsort(x, 1), 1), ops.concatenate([x, x + 1.0], 1)],
    ]
    return [as_data(sf.Session(outputs=each)) for each in outputs]


def tables() -> list[bytes]:
    """Small tables of numbers and words."""
    rows = [f"{k / 7:.3f},{k % 3},{'ab'[k % 2]},{-k}" for k in range(30)]
    return [("p,q,kind,r\n" + "\n".join(rows) + "\n").encode(), b"level\n1\n2\n3\n4\n"]


def archives() -> list[bytes]:
    """Arrays as np.savez writes them, compressed or not."""
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(
            stream,
            X=np.arange(60.0).reshape(20, 3),
            y=np.arange(20) % 2,
            s=np.array(["a", "b"] * 10),
        )
        found.append(stream.getvalue())
    return found


def entry() -> bytes:
    """An entry whose code is none."""
    return _encode(KEY, ObjectCode(("one", "two"), ("malloc",), bytes(range(256)) * 4))
