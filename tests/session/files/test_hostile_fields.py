"""Single changes to a model file by one who knows its structure, each refused when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.cli.main import main
from tests.session.files.support import rewritten
from tests.support.places import FIXTURES

Change = Callable[[Any, dict[str, Any]], None]
CODE = "x\n    import os\n    os.abort()"


def everything(path: Path) -> None:
    """A file with an op of every kind that is attacked."""
    x, i = sf.input("x", ("n", 4)), sf.input("i", ("k",), "int64")
    a, w = sf.input("a", ("n", 3, 3), "float64"), sf.param("w", (4, 4))
    mean = sf.state("mean", (4,), "zeros")
    sf.update(mean, 0.5 * mean + x.mean(axis=0))
    table = sf.const(np.arange(8, dtype=np.float32).reshape(2, 4))
    last, ys = sf.scan(lambda h, r: (ops.tanh(r @ w + h),) * 2, table[:1], ops.ones((5, 1, 4)))
    halved = sf.while_loop(lambda v: v.sum() > 1.0, lambda v: v * 0.5, last * last, max_steps=9)
    branch = sf.cond(last.sum() > 0.0, lambda: last * 2.0, last)
    outputs = [
        x[1:, ::-1].reshape(-1), ops.pad(x, ((1, 0), (0, 2))), ops.take(x, i, axis=0), ys, branch,
        ops.concatenate([x, x + mean], 1), x.T @ x, ops.sort(x, 1), ops.expand_dims(x, 1), halved,
        ops.random.normal(x.shape), ops.one_hot(i, 5), ops.svd(a)[0], ops.qr(a)[0], ops.inv(a),
        ops.dropout(x @ w, 0.5), ops.cumsum(x, 1), ops.diagonal(a, 0, 1, 2), x.max(axis=1),
        sf.grad(ops.take(x, i, axis=0).sum(), x), ops.embedding(w, i),
        ops.broadcast_to(w[0], (3, 4)),
    ]  # fmt: skip
    loss = (x @ w).mean() + 0.0 * mean.sum()
    sf.Session(loss, outputs, None, sf.optim.SGD(lambda step: 0.1 / (step + 1.0))).save(path)


def of(op: str, **fields: Any) -> Change:
    """Set fields of the first node with an op, or of each if it is a leaf."""

    def change(content: Any, tensors: Any) -> None:
        node = next(n for n in content["graph"]["nodes"] if n["op"] == op)
        assert {*fields} - {"params"} <= node["fields"].keys(), node
        node["fields"].update(fields)

    return change


def node(op: str, **entries: Any) -> Change:
    """Set entries of the first node with an op."""

    def change(content: Any, tensors: Any) -> None:
        next(n for n in content["graph"]["nodes"] if n["op"] == op).update(entries)

    return change


def a_type(op: str, **entries: Any) -> Change:
    """Set what the type of the first leaf of a class says."""

    def change(content: Any, tensors: Any) -> None:
        found = next(n for n in content["graph"]["nodes"] if n["op"] == op)
        found["fields"]["type"].update(entries)

    return change


def custom_call(content: Any, tensors: Any) -> None:
    fields = {"definition": None, "routine_name": CODE, "shapes": [], "dtypes": [], "single": True}
    content["graph"]["nodes"][-1].update(op="CustomCall", fields=fields)


def schedule_of_a_parameter(content: Any, tensors: Any) -> None:
    nodes = content["graph"]["nodes"]
    content["graph"]["optimizer"]["fields"]["lr"]["rate"] = next(
        k for k, n in enumerate(nodes) if n["op"] == "Param"
    )


def another_updates_type(content: Any, tensors: Any) -> None:
    content["graph"]["updates"][0][1] = 0


def doubled_sizes(content: Any, tensors: Any) -> None:
    text = "*".join(f"(a{k} + 1)" for k in range(60))
    a_type("Input", shape=[{"dim": text}, 4])(content, tensors)


def step_count(value: Any) -> Change:
    return lambda content, tensors: content.update(step_count=value)


def random_state(**numbers: Any) -> Change:
    return lambda content, tensors: content["rng"]["state"].update(numbers)


def negative_position(content: Any, tensors: Any) -> None:
    content["graph"]["loss"] = {"node": -1}


HOSTILE: dict[str, tuple[Change, str]] = {
    "a routine": (custom_call, "CustomCall: definition"),
    "a row's attribute": (of("Map", params=[["x", CODE]]), "Map: params"),
    "a draw": (of("Random", dist=CODE), "there are no draws"),
    "a draw's dtype": (of("Random", dtype=CODE), "draws of"),
    "a draw's stream": (of("Random", token=CODE), "without a stream"),
    "a count's dtype": (of("Iota", dtype=CODE), "iota"),
    "a pad's value": (of("Pad", value=CODE), "Pad: value"),
    "a reversal": (of("RunningSum", reverse=CODE), "RunningSum: reverse"),
    "a leaf's dtype": (a_type("Input", type="float16"), "there is no dtype"),
    "a size of its own": (a_type("Input", shape=[{"dim": "n - 7"}, 4]), " is float"),
    "a size of code": (a_type("Input", shape=[{"dim": CODE}, 4]), "not a size"),
    "a negative size": (a_type("Input", shape=[{"dim": "n"}, -4]), " is float"),
    "a size too long": (doubled_sizes, "too long an expression"),
    "a slice": (of("Slice", starts=[-100, 0]), "reads outside"),
    "a slice's steps": (of("Slice", steps=[1, 0]), "slice: "),
    "a slice's rank": (of("Slice", starts=[0]), "slice: 1 bounds"),
    "a shape": (of("Reshape", shape=[1 << 20]), "reshape"),
    "groups": (of("Reshape", groups=[[1, 1]]), "reshape"),
    "a pad": (of("Pad", before=[-1, 0]), "reads outside"),
    "an axis": (of("Take", axis=7), "no axis 7"),
    "an axis of a sum": (of("Reduce", axes=[9]), "no axes of"),
    "axes twice": (of("Reduce", axes=[0, 0]), "no axes of"),
    "a permutation": (of("Transpose", perm=[0, 0]), "transpose"),
    "inserted axes": (of("Expand", axes=[5]), "no axes of"),
    "a broadcast": (of("Broadcast", shape=[1 << 40, 4]), "broadcast"),
    "columns": (of("Svd", k=40), "svd: 40 columns"),
    "columns of q": (of("Qr", k=1), "qr: 1 columns"),
    "a diagonal": (of("Diagonal", length=300), "diagonal: 300"),
    "a scatter": (of("ScatterAdd", axis=1), "scatteradd"),
    "a part": (of("Part", index=17), "no part 17"),
    "a scan's length": (of("Scan", length=6), "has not 6 elements"),
    "a scan's slots": (of("Scan", carries=[]), "slots differ|is scanned"),
    "a loop's test": (of("While", test={"node": 0}), "while: |is outside"),
    "fewer operands": (node("Dot", **{"in": [0]}), "takes 2 arrays"),
    "an operand to come": (node("Dot", **{"in": [0, 10**6]}), "does not come before"),
    "an operand from behind": (node("Dot", **{"in": [0, -1]}), "does not come before"),
    "a root from behind": (negative_position, "does not come before"),
    "a seed": (of("Hyper", label="arena"), "there is no 'arena'"),
    "a constant": (a_type("Const", shape=[1 << 20]), "a constant of"),
    "a rate": (schedule_of_a_parameter, "no number|depends on"),
    "an update": (another_updates_type, "is updated by"),
    "a place": (node("Dot", at=[{"x": 1}, "y"]), "no line"),
    "a name": (node("Dot", label=7), "no name"),
    "a count": (step_count(-1), "no number of steps"),
    "a large count": (step_count(1 << 64), "no number of steps"),
    "a generator": (random_state(inc=-3), "random generator"),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("hostile") / "m"
    everything(path)
    assert sf.Session.load(path).outputs
    return path.read_bytes()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_change_is_refused(name: str, original: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(original)
    change, message = HOSTILE[name]
    rewritten(path, change)
    with pytest.raises(sf.GraphError, match=f"(?s)model: .*({message})"):
        sf.Session.load(path)


def test_what_a_pickle_holds_goes_through_the_same_checks() -> None:
    x, w = sf.input("x", ("n", 3)), sf.param("w", (3, 3))
    session = sf.Session(outputs=ops.tanh(x @ w))
    function = sf.function([x, w], ops.tanh(x @ w))
    for value, what in ((session, "session"), (function, "function")):
        make, (data, tensors) = value.__reduce__()
        nodes = data["graph"]["nodes"] if value is session else data["nodes"]
        a_type("Input", shape=[{"dim": "n"}, 4])({"graph": {"nodes": nodes}}, tensors)
        with pytest.raises(sf.GraphError, match=f"a pickled {what}: dot"):
            make(data, tensors)
        data["version"] = 7
        with pytest.raises(sf.GraphError, match=f"a pickled {what}: version 7"):
            make(data, tensors)


def test_states_of_another_shape_in_a_text_models_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.model"
    path.write_bytes((FIXTURES / "0.1.0" / "text.model").read_bytes())
    assert main(["generate", str(path), "--length", "3"]) == 0
    rewritten(path, lambda content, tensors: content["extra"]["fields"].update(states=[[-1, 6]]))
    assert main(["generate", str(path), "--length", "3"]) == 2
    assert "'states' are another network's" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"seed": -1}, {"mean": [1 << 2000] * 3}, {"target_std": 1e999}])
def test_numbers_in_a_card_that_are_none(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "numbers.model"
    path.write_bytes((FIXTURES / "0.1.0" / "table_numbers.model").read_bytes())
    data = FIXTURES / "0.1.0" / "table_numbers.train.csv"
    assert main(["evaluate", str(path), str(data)]) == 0
    rewritten(path, lambda content, tensors: content["extra"]["fields"].update(change))
    assert main(["evaluate", str(path), str(data)]) == 2
    assert "its card is not" in capsys.readouterr().err
