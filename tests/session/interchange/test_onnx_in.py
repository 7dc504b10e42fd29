"""`sf.from_onnx`: models of other libraries, their training, control flow, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.onnx_out.model import model_of
from tests.session.interchange.onnx_runs import on_runtime

onnx: Any = pytest.importorskip("onnx")
parser: Any = pytest.importorskip("onnx.parser")
EXPORTED = Path(__file__).parent / "exported"
RNG = np.random.default_rng(0)


def loaded(name: str) -> tuple[Any, dict[str, Any], list[Any]]:
    """A model of another library, its inputs and its outputs."""
    with np.load(EXPORTED / f"{name}.npz") as data:
        feeds = {k[3:]: data[k] for k in data if k.startswith("in.")}
        outputs = [data[k] for k in data if k.startswith("out.")]
    return sf.from_onnx(EXPORTED / f"{name}.onnx"), feeds, outputs


@pytest.mark.parametrize("name", sorted(p.stem for p in EXPORTED.glob("*.onnx")))
def test_a_model_of_another_library(name: str, tmp_path: Path) -> None:
    """It has its values, also when it is exported and taken in again, and it can be trained."""
    model, feeds, wanted = loaded(name)
    session = sf.Session(outputs=model.outputs)
    session.export_onnx(tmp_path / "again.onnx")
    again = sf.from_onnx(tmp_path / "again.onnx")
    env = {node: feeds[key] for key, node in again.inputs.items()}
    env |= {p: p.op.init for p in again.parameters.values()}
    copies = interpret(list(again.outputs.values()), env, training=False)
    found = session.run(list(model.outputs.values()), feeds)
    for ours, copy, right in zip(found, copies, wanted, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(copy, right, rtol=1e-5, atol=1e-6)
    if not model.parameters:
        return
    floats = [y for y in model.outputs.values() if y.type.is_float]
    loss = ops.mean(ops.square(floats[0] - 0.25))
    trainer = sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-2))
    losses = [trainer.step(feeds) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_a_model_is_explained_and_differentiated() -> None:
    model, feeds, _ = loaded("sklearn_regressor")
    (x,), (y,) = model.inputs.values(), model.outputs.values()
    assert "tanh" in sf.explain(y)
    gradient = sf.grad(y.sum(), x)
    slope = sf.Session(outputs={"gradient": gradient}).run("gradient", feeds)
    assert slope.shape == feeds["X"].shape and np.abs(slope).max() > 0


def test_weights_keep_their_names_and_values() -> None:
    model, _, _ = loaded("torchscript_mlp")
    assert {"0.weight", "0.bias", "1.running_mean", "6.weight"} <= set(model.parameters)
    trained = {name for name, p in model.parameters.items() if p.op.trainable}
    assert "1.weight" in trained and "1.running_mean" not in trained
    assert str(model.inputs["x"].type) == "float32[batch, 3]"
    assert "OnnxModel(x: float32[batch, 3]" in repr(model)


def text(body: str, inputs: str, outputs: str, opset: int = 18, more: str = "") -> Any:
    """A model from ONNX's own notation."""
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}, "own" : 1]>\n'
        f"g ({inputs}) => ({outputs}) {{\n{body}\n}}\n{more}"
    )


def values_of(model: Any, feeds: dict[str, Any], **options: Any) -> list[Any]:
    """By the interpreter: that machine code has the same values, other tests show."""
    taken = sf.from_onnx(model, **options)
    env = {node: np.asarray(feeds[name]) for name, node in taken.inputs.items()}
    env |= {p: p.op.init for p in taken.parameters.values()}
    return interpret(list(taken.outputs.values()), env, training=False)


def check_runtime(model: Any, feeds: dict[str, Any], **options: Any) -> None:
    """Our values are ONNX Runtime's."""
    for ours, theirs in zip(
        values_of(model, feeds, **options), on_runtime(model, feeds), strict=True
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def test_sizes_that_the_model_computes() -> None:
    body = """
        s = Shape(x)
        zero = Constant<value = int64[1] {0}>()
        minus = Constant<value = int64[1] {-1}>()
        two = Constant<value = int64 {2}>()
        n = Gather(s, zero)
        doubled = Mul(n, two)
        last = Constant<value = int64[1] {2}>()
        to = Concat<axis = 0>(doubled, last)
        y = Reshape(x, to)
        flat = Concat<axis = 0>(n, minus)
        z = Reshape(x, flat)
        count = Cast<to = 1>(n)
        w = Div(z, count)
    """
    model = text(body, "float[batch, 4] x", "float[n, 2] y, float[m, 4] w")
    check_runtime(model, {"x": RNG.normal(size=(3, 4)).astype("f4")})


CONTROL = {
    "scan": """
        h, ys = Scan<num_scan_inputs = 1, scan_input_directions = [1], body = body (
            float[3] h, float[3] row) => (float[3] h2, float[3] y) {
                h2 = Add(h, row)
                y = Mul(h2, outer)
            }>(start, x)
    """,
    "loop": """
        n = Constant<value = int64 {4}>()
        yes = Constant<value = bool {1}>()
        h, ys = Loop<body = body (int64 i, bool c, float[3] h)
                => (bool c2, float[3] h2, float[3] y) {
                c2 = Identity(c)
                k = Cast<to = 1>(i)
                h2 = Add(h, k)
                y = Mul(h2, outer)
            }>(n, yes, start)
    """,
    "while": """
        yes = Constant<value = bool {1}>()
        h = Loop<body = body (int64 i, bool c, float[3] h) => (bool c2, float[3] h2) {
                h2 = Add(h, outer)
                total = ReduceSum<keepdims = 0>(h2)
                most = Constant<value = float {20.0}>()
                c2 = Less(total, most)
            }>(, yes, start)
        ys = Identity(x)
    """,
    "if": """
        total = ReduceSum<keepdims = 0>(x)
        none = Constant<value = float {0.0}>()
        test = Less(total, none)
        h = If<then_branch = a () => (float[3] r) { r = Neg(start) },
               else_branch = b () => (float[3] s) { s = Add(start, outer) }>(test)
        ys = Identity(x)
    """,
}  # fmt: skip


@pytest.mark.parametrize("name", CONTROL)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_control_flow(name: str, sign: float) -> None:
    model = text(CONTROL[name], "float[4, 3] x, float[3] start, float[3] outer",
                 "float[3] h, float[4, 3] ys")  # fmt: skip
    feeds = {"x": sign * np.abs(RNG.normal(size=(4, 3))).astype("f4"),
             "start": RNG.normal(size=3).astype("f4"),
             "outer": RNG.uniform(0.5, 1.0, 3).astype("f4")}  # fmt: skip
    check_runtime(model, feeds)
    taken = sf.from_onnx(model)
    if name == "scan":
        gradient = sf.grad(ops.sum(taken.outputs["ys"]), taken.inputs["start"])
        assert np.isfinite(
            sf.function(list(taken.inputs.values()), gradient)(*feeds.values())
        ).all()


def recurrent(kind: str, **attributes: Any) -> Any:
    """One recurrent node with all of its inputs, and random weights."""
    helper, to = onnx.helper, onnx.numpy_helper.from_array
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    both = 2 if attributes.get("direction") == "bidirectional" else 1
    peephole = attributes.pop("peepholes", False)
    shapes = {"W": (both, gates * 4, 3), "R": (both, gates * 4, 4), "B": (both, 8 * gates)}
    if peephole:
        shapes["P"] = (both, 12)
    rng = np.random.default_rng(1)
    arrays = [to(rng.normal(size=s).astype("f4"), name) for name, s in shapes.items()]
    states = ["h0", "c0"][: 2 if kind == "LSTM" else 1]
    names = ["x", "W", "R", "B", "n", *states, *(["P"] if peephole else [])]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(states)]
    node = helper.make_node(kind, names, outputs, hidden_size=4, **attributes)
    info = [helper.make_tensor_value_info("x", 1, ["time", "batch", 3]),
            helper.make_tensor_value_info("n", 6, ["batch"]),
            *(helper.make_tensor_value_info(s, 1, [both, "batch", 4]) for s in states)]  # fmt: skip
    results = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    graph = helper.make_graph([node], "g", info, results, arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    feeds = {"x": rng.normal(size=(5, 3, 3)).astype("f4"), "n": np.array([5, 2, 1], np.int32)}
    return model, feeds | {s: rng.normal(size=(both, 3, 4)).astype("f4") for s in states}


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {"direction": d}) for kind in ("RNN", "LSTM", "GRU")
      for d in ("forward", "reverse", "bidirectional")),
    ("GRU", {"linear_before_reset": 1}), ("LSTM", {"clip": 0.5}), ("GRU", {"clip": 0.5}),
    ("LSTM", {"peepholes": True}), ("LSTM", {"peepholes": True, "clip": 0.7}),
    ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Tanh"],
              "activation_alpha": [0.3], "activation_beta": [0.4]}),
    ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
    ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [0.5],
             "activation_beta": [1.5]}),
    ("GRU", {"activations": ["Sigmoid", "Relu"], "linear_before_reset": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "attributes"), SETTINGS, ids=str)
def test_a_recurrent_operator(kind: str, attributes: dict[str, Any]) -> None:
    model, feeds = recurrent(kind, **attributes)
    check_runtime(model, feeds)


def test_input_forget_couples_the_gates() -> None:
    """Against the formula: f = 1 - i."""
    model, feeds = recurrent("LSTM", input_forget=1)
    w, r, b = (onnx.numpy_helper.to_array(t)[0] for t in model.graph.initializer)
    h, c = feeds["h0"][0], feeds["c0"][0]
    feeds["n"][:] = 5
    for row in feeds["x"]:
        i, o, _, g = np.split(row @ w.T + h @ r.T + b[:16] + b[16:], 4, -1)
        i, o = 1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-o))
        c = (1 - i) * c + i * np.tanh(g)
        h = o * np.tanh(c)
    np.testing.assert_allclose(values_of(model, feeds)[1][0], h, rtol=1e-4, atol=1e-5)


def test_layout_1_has_the_batch_first() -> None:
    model, feeds = recurrent("LSTM", direction="bidirectional")
    wanted = values_of(model, feeds)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("layout", 1))
    for value, names in zip(model.graph.input, ["bt", "", "b", "b"], strict=True):
        if names:
            dims = value.type.tensor_type.shape.dim
            first, second = (dims[k].dim_param or dims[k].dim_value for k in (0, 1))
            for dim, size in zip(dims, (second, first), strict=False):
                dim.Clear()
                setattr(dim, "dim_param" if isinstance(size, str) else "dim_value", size)
    turned = {k: v if k == "n" else v.swapaxes(0, 1) for k, v in feeds.items()}
    ys, hs, cs = values_of(model, turned)
    np.testing.assert_allclose(ys, wanted[0].transpose(2, 0, 1, 3), rtol=1e-6)
    np.testing.assert_allclose(hs, wanted[1].swapaxes(0, 1), rtol=1e-6)
    np.testing.assert_allclose(cs, wanted[2].swapaxes(0, 1), rtol=1e-6)


def test_an_lstm_goes_in_and_out_as_one() -> None:
    for kind, options in (("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})):
        model, feeds = recurrent(kind, **options)
        taken = sf.from_onnx(model)
        again = model_of(sf.Session(outputs=taken.outputs))
        assert kind in {node.op_type for node in again.graph.node}
        for a, b in zip(on_runtime(again, feeds), on_runtime(model, feeds), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_function_of_the_model() -> None:
    more = """<domain: "own", opset_import: ["" : 18]>
        twice <by> (a) => (b) { k = Constant<value_float: float = @by>() b = Mul(a, k) }"""
    model = text("y = own.twice<by = 3.0>(x)", "float[n] x", "float[n] y", more=more)
    (y,) = values_of(model, {"x": np.ones(2, "f4")})
    np.testing.assert_array_equal(y, [3.0, 3.0])


def test_opsets_change_what_operators_mean() -> None:
    """Softmax over all axes from one on, before 13; axes as attributes."""
    model = text("y = Softmax<axis = 1>(x)\nz = ReduceSum<axes = [1], keepdims = 0>(x)",
                 "float[2, 3, 4] x", "float[2, 3, 4] y, float[2, 4] z", opset=9)  # fmt: skip
    check_runtime(model, {"x": RNG.normal(size=(2, 3, 4)).astype("f4")})
    model = text("lo = Constant<value = float {0.0}>()\ny = Clip<min = 0.0, max = 1.0>(x)",
                 "float[n] x", "float[n] y", opset=7)  # fmt: skip
    check_runtime(model, {"x": RNG.normal(size=5).astype("f4")})


def test_constants_and_dimensions_by_choice() -> None:
    model = text(
        "y = ReduceSum<keepdims = 0>(x, axes)", "float[N, 3] x, int64[1] axes", "float[N] y"
    )
    with pytest.raises(sf.GraphError, match="its input 1, sizes, is computed from data"):
        sf.from_onnx(model)
    taken = sf.from_onnx(model, constants={"axes": [1]}, dims={"N": "rows"})
    assert list(taken.inputs) == ["x"] and str(taken.inputs["x"].type) == "float32[rows, 3]"
    assert sf.from_onnx(model, {"axes": [0]}, {"N": 4}).inputs["x"].shape == (4, 3)
    with pytest.raises(sf.GraphError, match="no input 'axis'"):
        sf.from_onnx(model, constants={"axis": [1]})


REFUSED = [
    (text("y = Relu(x)", "float[n] x", "float[n] y", opset=6), "opset 6 is not supported"),
    (text("y = Relu(x)", "float[n] x", "float[n] y", opset=99), "opset 99 is not supported"),
    (text("y = NonZero(x)\nz = Conv(x, x)\nw = Conv(z, x)", "float[n] x", "int64[m] y, float[n] w"),
     r"got: Conv \(2\), NonZero \(1\)"),
    (text("y = Cast<to = 10>(x)", "float[n] x", "float[n] y"), "converts to a dtype"),
    (text("y = Relu(x)", "float16[n] x", "float16[n] y"), "none of staticflow's dtypes"),
    (text("y = Add(x, z)", "float[2] x", "float[2] y"), "reads 'z', which nothing before it gives"),
    (text("y = MatMul(x, x)", "float[2, 3] x", "float[2, 3] y"), "MatMul of 'y': matmul: inner"),
    (text("y = Transpose<perm = [0, 5]>(x)", "float[2, 3] x", "float[2, 3] y"), "Transpose"),
    (text("y = Gather(x)", "float[2, 3] x", "float[2, 3] y"), "Gather of 'y' takes 2 inputs"),
    (text("y = Scan<num_scan_inputs = 7>(x)", "float[2] x", "float[2] y"), "is no valid node"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "match"), REFUSED, ids=[match for _, match in REFUSED])
def test_what_is_refused(model: Any, match: str) -> None:
    with pytest.raises((sf.GraphError, sf.ShapeError), match=match):
        sf.from_onnx(model)
