"""The operators of `ai.onnx.ml` that exporters of scikit-learn write around networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import staticflow.ops as ops
from staticflow.graph.node import Node
from staticflow.session.interchange.onnx_in.elementwise import Writer
from staticflow.session.interchange.onnx_in.values import Call


def _scaler(c: Call) -> Any:
    x = c[0]
    x = x if x.type.is_float else x.astype("float32")
    offset, scale = (
        np.array(c.attribute(k, d), x.dtype) for k, d in (("offset", [0.0]), ("scale", [1.0]))
    )
    return (x - offset) * scale


def _feature_extractor(c: Call) -> Any:
    """Along the last axis; of a vector, a row."""
    x = c[0] if c[0].ndim > 1 else c[0][None]
    return ops.take(x, ops.ravel(c[1]), -1)


def _normalizer(c: Call) -> Any:
    x, how = c[0], c.attribute("norm", "MAX")
    size = ops.abs(x)
    if how == "L1":
        whole = ops.sum(size, -1, keepdims=True)
    elif how == "L2":
        whole = ops.sqrt(ops.sum(ops.square(x), -1, keepdims=True))
    else:
        whole = ops.max(size, -1, keepdims=True)
    return x / ops.where(ops.equal(whole, 0), 1.0, whole)


def _linear(c: Call) -> Any:
    x, targets = c[0], int(c.attribute("targets", 1))
    rows = np.array(c.attribute("coefficients", ()), x.dtype)
    if rows.size % targets:
        c.refuse("its coefficients are none for each target", f"{rows.size} for {targets}")
    y = x @ rows.reshape(targets, -1).T
    shift = c.attribute("intercepts")
    y = y if not shift else y + np.array(shift, x.dtype)
    return _transformed(c, y)


def _transformed(c: Call, y: Node) -> Node:
    how = c.attribute("post_transform", "NONE")
    known: dict[str, Any] = {"NONE": lambda v: v, "LOGISTIC": ops.sigmoid, "SOFTMAX": ops.softmax}
    if how not in known:
        c.refuse(f"post_transform {how!r} is not supported")
    result: Node = known[how](y)
    return result


def _imputer(c: Call) -> Any:
    x, fill = c[0], np.array(c.attribute("imputed_value_floats", ()), c[0].dtype)
    missing = c.attribute("replaced_value_float", float("nan"))
    lost = ops.isnan(x) if np.isnan(missing) else ops.equal(x, missing)
    return ops.where(lost, fill, x)


ML: Mapping[str, Writer] = {
    "ArrayFeatureExtractor": _feature_extractor, "Imputer": _imputer, "LinearRegressor": _linear,
    "Normalizer": _normalizer, "Scaler": _scaler,
}  # fmt: skip
