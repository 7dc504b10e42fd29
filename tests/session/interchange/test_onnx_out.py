"""`session.export_onnx`: networks, loops, names, sizes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.session.interchange.onnx_out.model import model_of
from tests.session.interchange.onnx_runs import check_export, kinds, on_reference, on_runtime

onnx: Any = pytest.importorskip("onnx")
RNG = np.random.default_rng(0)
CELLS = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN", "relu": "RNN"}


def test_a_classifier_reads_as_people_write_one(tmp_path: Path) -> None:
    x = sf.input("x", ("batch", 8))
    logits = models.FNN([8, 16, 3], norm="batch", dropout=0.5)(x)
    session = sf.Session(outputs={"logits": logits, "p": ops.softmax(logits)})
    session.states["fnn.0.norm.running_mean"][...] = RNG.normal(size=16)
    path = tmp_path / "model.onnx"
    session.export_onnx(path)
    model = onnx.load(path)
    assert kinds(model)[:2] == ["MatMul", "Add"] and kinds(model)[-3:] == [
        "MatMul",
        "Add",
        "Softmax",
    ]
    names = {a.name for a in model.graph.initializer}
    assert {"fnn.0.weight", "fnn.0.bias", "fnn.0.norm.running_mean", "fnn.1.weight"} <= names
    assert model.producer_name == "staticflow"
    assert model.metadata_props[0].key == "staticflow"
    assert model.graph.node[-1].doc_string.startswith("test_onnx_out.py:")
    feeds = {"x": RNG.normal(size=(5, 8)).astype("f4")}
    for peer in (on_runtime, on_reference):
        found = peer(model, feeds)
        for theirs, name in zip(found, ("logits", "p"), strict=True):
            np.testing.assert_allclose(theirs, session.run(name, feeds), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start", [False, True])
def test_a_recurrent_network(cell: str, dtype: str, start: bool) -> None:
    """With lengths, of which one is 0 and one beyond the time; the reference implementation leaves
    lengths out, so it is no judge.
    """
    x, lengths = sf.input("x", ("batch", "time", 3), dtype), sf.input("n", ("batch",), "int64")
    parts = 2 if cell == "lstm" else 1
    begin = [ops.full((4, x.shape[0], 5), 0.5, dtype)] * parts if start else None
    net = models.RNN(5, cell, layers=2, bidirectional=True, return_sequences=True)
    y, last = net(x, lengths=lengths, initial_state=begin, return_state=True)
    states = last if isinstance(last, tuple) else (last,)
    outputs = {"y": y, **{f"state_{k}": s for k, s in enumerate(states)}}
    feeds = {"x": RNG.normal(size=(4, 7, 3)).astype(dtype), "n": np.array([7, 0, 3, 9])}
    model = check_export(outputs, feeds, peers=(on_runtime,))
    # ONNX Runtime has no float64 kernel for these
    assert kinds(model).count(CELLS[cell] if dtype == "float32" else "Scan") == 4


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_a_recurrent_network_without_lengths(cell: str) -> None:
    x = sf.input("x", ("batch", "time", 3))
    y = models.RNN(5, cell)(x)
    model = check_export({"y": y}, {"x": RNG.normal(size=(4, 7, 3)).astype("f4")})
    assert CELLS[cell] in kinds(model)


def test_a_users_own_lstm_is_one() -> None:
    """With sums the other way round and without a bias."""
    x = sf.input("x", ("time", "batch", 3))
    w, u = sf.param("w", (3, 16)), sf.param("u", (4, 16))
    zero = ops.zeros((x.shape[1], 4))

    def step(state: Any, now: sf.Node) -> Any:
        i, f, g, o = ops.split(state[0] @ u + now @ w, 4, -1)
        c = ops.tanh(g) * ops.sigmoid(i) + state[1] * ops.sigmoid(f)
        h = ops.tanh(c) * ops.sigmoid(o)
        return (h, c), h

    (h, _), ys = sf.scan(step, (zero, zero), x)
    model = check_export({"h": h, "ys": ys}, {"x": RNG.normal(size=(6, 2, 3)).astype("f4")})
    assert "LSTM" in kinds(model) and "Scan" not in kinds(model)


def peephole(x: sf.Node) -> sf.Node:
    w, u, p = sf.param("w", (3, 4)), sf.param("u", (4, 4)), sf.param("p", (4,), "ones")

    def step(state: sf.Node, now: sf.Node) -> Any:
        h = ops.tanh(now @ w + state @ u + p * state)
        return h, (h.sum(), {"h": h})

    last, (totals, ys) = sf.scan(step, ops.zeros((2, 4)), x, reverse=True)
    return last.sum() + totals.sum() + ys["h"].sum()


def counted(x: sf.Node) -> sf.Node:
    """Steps without anything that is scanned, around a scan."""

    def step(total: sf.Node, _: Any) -> Any:
        inner, _ = sf.scan(lambda c, row: (c * 0.5 + row.sum() + total, None), 0.0, x)
        return inner, None

    return sf.scan(step, ops.zeros(()), None, length=3)[0]


def doubled(x: sf.Node) -> sf.Node:
    limit = ops.abs(x).max() * 50.0
    return sf.while_loop(lambda v: ops.abs(v).max() < limit, lambda v: 2.0 * v, x)


def bounded(x: sf.Node) -> sf.Node:
    return sf.while_loop(lambda v: v.sum() < 1e9, lambda v: v + 1.0, x, max_steps=4)


def branched(x: sf.Node) -> sf.Node:
    big = x.sum() > 0.0
    return sf.cond(big, lambda: ops.exp(x).sum(), lambda: sf.cond(big, x.sum(), lambda: x.min()))


@pytest.mark.parametrize("function", [peephole, counted, doubled, bounded, branched])
@pytest.mark.parametrize("sign", [1, -1])
def test_control_flow(function: Callable[[sf.Node], sf.Node], sign: int) -> None:
    x = sf.input("x", ("time", 2, 3), "float32")
    data = (sign * RNG.uniform(0.1, 1.0, size=(5, 2, 3))).astype("f4")
    model = check_export({"y": function(x)}, {"x": data})
    assert {"Scan", "Loop", "If"} & set(kinds(model))


def test_a_derivative_is_a_graph_like_any_other() -> None:
    x, t = sf.input("x", ("batch", "time", 2)), sf.input("t", ("batch",), "int64")
    logits = models.FNN([4, 3])(models.RNN(4, "gru")(x))
    loss = ops.softmax_cross_entropy(logits, t).mean()
    gradient = sf.grad(loss, x)
    feeds = {"x": RNG.normal(size=(3, 5, 2)).astype("f4"), "t": np.array([0, 2, 1])}
    check_export({"loss": loss, "gradient": gradient}, feeds)


def test_a_small_sigmoid_has_a_logarithm() -> None:
    for dtype in ("float32", "float64"):
        x = sf.input("x", (4,), dtype)
        feeds = {"x": np.array([-200.0, -30.0, 0.0, 9.0], dtype)}
        model = model_of(sf.Session(outputs={"y": ops.log(ops.sigmoid(x))}))
        (found,) = on_runtime(model, feeds)
        np.testing.assert_allclose(found, -np.logaddexp(0, -feeds["x"]), rtol=1e-5)


def test_names_and_outputs_by_choice(tmp_path: Path) -> None:
    x = sf.input("x", ("batch", 3))
    h = ops.tanh(x).named("h")
    session = sf.Session(outputs={"y": h * 2.0, "z": h + 1.0})
    for given, wanted in (
        ("y", ["y"]), (["z", "y"], ["z", "y"]), ({"a": h, "b": h}, ["a", "b"]), (h, ["h"]),
        ({"same": x}, ["same"]), (None, ["y", "z"]),
    ):  # fmt: skip
        session.export_onnx(tmp_path / "m.onnx", given)
        assert [o.name for o in onnx.load(tmp_path / "m.onnx").graph.output] == wanted
    assert "h" in {n for node in model_of(session).graph.node for n in node.output}
    single = sf.Session(outputs=h)
    assert [o.name for o in model_of(single).graph.output] == ["h"]


@pytest.mark.parametrize("opset", [16, 17, 18, 21, None])
def test_opsets(opset: int | None) -> None:
    x = sf.input("x", ("batch", 3))
    y = (x - x.max(1, keepdims=True)).mean(0) + ops.any(x > 0) + models.RNN(2)(x[:, None]).sum()
    session = sf.Session(outputs={"y": y})
    model = model_of(session, opset=opset)
    assert model.opset_import[0].version == (opset or 18)
    feeds = {"x": RNG.normal(size=(4, 3)).astype("f4")}
    np.testing.assert_allclose(on_runtime(model, feeds)[0], session.run("y", feeds), rtol=1e-5)


def refused(tmp_path: Path, outputs: Any, match: str, **options: Any) -> None:
    path, session = tmp_path / "no.onnx", sf.Session(outputs=outputs)
    with pytest.raises(sf.GraphError, match=match) as error:
        session.export_onnx(path, options.get("fetch"), options.get("opset"))
    assert not path.exists()
    assert "test_onnx_out.py:" in str(error.value)


def test_what_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    x = sf.input("x", (3, 3))
    refused(tmp_path, {"y": ops.cholesky(x)}, "cholesky cannot be written in ONNX")
    refused(tmp_path, {"y": x + ops.random.normal((3, 3))}, "random cannot be written")
    inner = sf.cond(x.sum() > 0, lambda: ops.inv(x), lambda: x)
    refused(tmp_path, {"y": inner}, "lu")
    whole = sf.input("n", (3,), "int64") & 3
    refused(tmp_path, {"y": whole}, "bitwise_and cannot be written", opset=17)
    for opset in (7, 1000, True, "18"):
        refused(tmp_path, {"y": x}, "no writing opset", opset=opset)
    refused(tmp_path, {"x": x}, "has the name of an input")
    refused(tmp_path, {"y": x}, "there is no output 'q'", fetch="q")
    with pytest.raises(IsADirectoryError):
        sf.Session(outputs={"y": x}).export_onnx(tmp_path)


def test_members_are_exported_one_by_one_and_as_their_mean() -> None:
    x = sf.input("x", ("batch", 3))
    y = models.RNN(4, "lstm")(models.FNN([3, 4])(x)[:, None])
    session = sf.Session(outputs={"y": y}, members=3)
    feeds = {"x": RNG.normal(size=(5, 3)).astype("f4")}
    wanted = session.run("y", feeds)
    (mean,) = on_runtime(model_of(session), feeds)
    np.testing.assert_allclose(mean, wanted.mean(0), rtol=1e-5, atol=1e-6)
    (one,) = on_runtime(model_of(session.member(1)), feeds)
    np.testing.assert_allclose(one, wanted[1], rtol=1e-5, atol=1e-6)
    names = {a.name for a in model_of(session).graph.initializer}
    assert {"member.0.fnn.0.weight", "member.2.fnn.0.bias"} <= names
    with pytest.raises(sf.GraphError, match="have no mean"):
        model_of(sf.Session(outputs={"y": ops.argmax(y, -1)}, members=2))
