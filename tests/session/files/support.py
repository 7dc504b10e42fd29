"""A session with all that a file holds, and files that somebody has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import staticflow as sf
from staticflow import models, ops
from staticflow.optim import algorithms as optim
from staticflow.session.files.checkpoint import DATA, DIGEST, digest_of

Array = np.ndarray[Any, Any]


def network(optimizer: Any = None, seed: int = 3, dtype: str = "float32") -> sf.Session:
    """With dropout, batch norm (states), labels, a metric, frozen and undecayed parameters."""
    x = sf.input("x", ("batch", 6), dtype)
    label = sf.input("label", ("batch",), "int64")
    net = models.FNN([6, 9, 4], dropout=0.2, norm="batch")
    shift = sf.param("shift", (4,), init="ones", trainable=False, dtype=dtype)
    scale = sf.param("scale", (4,), init=lambda rng, shape: rng.uniform(1, 2, shape),
                     decay=False, lr_scale=0.5, dtype=dtype)  # fmt: skip
    table = sf.const(np.arange(8.0).reshape(2, 4).astype(dtype))
    y = net(x) * scale + shift + table[1]
    loss = ops.softmax_cross_entropy(y, label).mean()
    hit = ops.equal(ops.argmax(y, axis=-1), label).astype("float32").mean()
    return sf.Session(
        loss=loss,
        outputs={"y": y, "pair": (y[:, 0], [ops.exp(-y)])},
        metrics={"accuracy": hit},
        optimizer=optimizer or optim.AdamW(1e-2),
        seed=seed,
        threads=1,
    )


def rewritten(path: Path, change: Any) -> None:
    """Change a file's data, and sign it again."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        content = json.loads(file.metadata()[DATA])
    tensors = load_file(path)
    change(content, tensors)
    text = json.dumps(content)
    save_file(tensors, path, {DATA: text, DIGEST: digest_of(text, tensors)})
