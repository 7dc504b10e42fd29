"""Files are data: whatever stands in one, it is refused in words, or is a graph like any other."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.errors import Where
from staticflow.graph.node import apply
from staticflow.graph.printer import format_graph
from staticflow.graph.pytree import flatten
from staticflow.runtime.graph_json import Encoder
from staticflow.session.files.decode import Decoder, check_sizes
from tests.fuzz.graphs.maker import make_graph, outputs_of, with_gradients
from tests.ops.cases.case import Case
from tests.ops.cases.table import CASES
from tests.session.files.support import rewritten
from tests.support.finite_differences import leaves_for

NAMES = ["x\nimport os\nos.abort()", "x'''\r\n#", "\u2028\u0085\x0c", "é²\u0301名", "if", "T"]
NAMES += ["n" * 999]


@pytest.mark.parametrize("name", NAMES)
def test_any_text_can_be_a_name(name: str, tmp_path: Path) -> None:
    """Generated source holds what is made of a name, never the name; jitted code as well."""
    x, w = sf.input(name, ("batch", 3)), sf.param(name, (3, 2), init="ones")
    y = ops.tanh(x @ w).named(name)
    session = sf.Session(loss=y.sum(), outputs={name: y}, optimizer=sf.optim.SGD(0.1))
    rows = np.ones((4, 3), np.float32)
    session.save(tmp_path / "m")
    loaded = sf.Session.load(tmp_path / "m")
    for each in (session, loaded):
        expected = np.tanh(np.full((4, 2), 3, np.float32))
        np.testing.assert_allclose(each.run(name, {name: rows}), expected, rtol=1e-6)
        np.testing.assert_allclose(each.jit(name)(rows), expected, rtol=1e-6)
        names = {n.id for n in ast.walk(ast.parse(each.source)) if isinstance(n, ast.Name)}
        assert all(n.isascii() and len(n) < 100 for n in names) and "os" not in names
        assert each.explain()


def test_a_recorded_line_is_neither_code_nor_read(tmp_path: Path, monkeypatch: Any) -> None:
    """The name of a source file in a model is shown, in one line, and the file stays closed."""
    x = sf.input("x", ("batch", 3))
    session = sf.Session(outputs={"y": ops.exp(x) + 1})
    session.save(tmp_path / "m")
    secret = tmp_path / "secret.py"
    secret.write_text("password = 1\n")

    def place(content: Any, tensors: Any) -> None:
        for node in content["graph"]["nodes"]:
            node["at"] = [f"{secret}\n    import os; os.abort()", 1]

    rewritten(tmp_path / "m", place)
    loaded = sf.Session.load(tmp_path / "m")
    loaded.run("y", {"x": np.ones((2, 3), np.float32)})
    source = loaded.source
    assert "password" not in source + loaded.explain()
    assert "\n    import os" not in source
    here = apply(x.op, where=Where(str(secret), 1))
    assert "password" in str(here.where)  # a line of this process is shown


def there_and_back(outputs: list[sf.Node]) -> None:
    """The graph as data, and made again: every op passes its check, and nothing is another."""
    encoder = Encoder()
    structure = encoder.structure(outputs)
    nodes = json.loads(json.dumps(encoder.nodes))
    decoder = Decoder(nodes, [], encoder.tensors)
    made = decoder.structure(structure)
    check_sizes(made)
    assert without_places(made) == without_places(outputs)


def without_places(nodes: list[sf.Node]) -> str:
    return re.sub(r"  # .*", "", format_graph(nodes))


def with_derivatives(xs: Sequence[sf.Node], ys: Sequence[sf.Node]) -> list[sf.Node]:
    """Outputs, and what both modes make of them."""
    moving = [x for x in xs if x.type.is_float]
    found = list(ys)
    for y in ys:
        if y.type.is_float and moving:
            slopes = sf.grad(ops.sum(y * y), moving)
            found += [*slopes, sf.jvp(y, moving[:1], [ops.ones_like(moving[0])])]
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_function_makes_passes_its_checks(case: Case) -> None:
    xs = leaves_for(case.inputs)
    y = case.call(*xs)
    ys = flatten(y)
    there_and_back(with_derivatives(xs, ys) if case.smooth else ys)


@pytest.mark.parametrize("seed", range(200))
def test_random_graphs_pass_the_checks_of_their_ops(seed: int) -> None:
    graph = make_graph(random.Random(seed).randrange, "x", 8, exact=bool(seed % 2))
    outputs = outputs_of(graph)
    there_and_back([*outputs, *with_gradients(graph, outputs)])


MATRIX_OPS: dict[str, Any] = {
    "solve": lambda a: ops.solve(a, a + 1.0),
    "inv": ops.inv,
    "det": ops.det,
    "slogdet": lambda a: ops.slogdet(a)[1],
    "cholesky": ops.cholesky,
    "qr": lambda a: ops.qr(a)[1],
    "eigh": lambda a: ops.eigh(a)[0],
    "vectors": lambda a: ops.eigh(a)[1],
    "svd": lambda a: ops.svd(a)[0],
    "svdvals": ops.svdvals,
    "expm": ops.expm,
    "diagonal": lambda a: ops.diagonal(a, 0, -2, -1),
    "cumprod": lambda a: ops.cumprod(a, -1),
    "sort": lambda a: ops.sort(a, 0),
    "convolve": lambda a: ops.convolve(a[..., 0].ravel(), a[..., 0, :].ravel()),
    "softmax": lambda a: ops.softmax(a) + ops.dropout(a, 0.5),
    "prod": lambda a: a.prod(axis=-1),
}


@pytest.mark.parametrize("shape", [(3, 3), ("n", "n"), ("b", 4, 4)], ids=str)
@pytest.mark.parametrize("name", MATRIX_OPS)
def test_linear_algebra_passes_its_checks(name: str, shape: Any) -> None:
    a = sf.input("a", shape, "float64")
    y = MATRIX_OPS[name](a)
    there_and_back([y, *sf.grad((y * y).sum(), [a])])


def test_loops_pass_their_checks() -> None:
    x, w = sf.input("x", ("time", "batch", 3)), sf.param("w", (3, 3))

    def step(h: Any, x: Any) -> Any:
        h = ops.tanh(x @ w + ops.dropout(h, 0.1))
        small = sf.while_loop(lambda v: (v * v).sum() > 1.0, lambda v: v / 2.0, h, max_steps=4)
        return small, sf.cond(h.sum() > 0.0, lambda: h * 2.0, lambda: -h)

    for remat in (None, 3, True):
        last, ys = sf.scan(step, x[0] * 0.0, x, remat=remat, reverse=remat is None)
        slope = sf.grad((ys * ys).sum() + last.sum(), w)
        there_and_back([last, ys, slope, sf.grad((slope * slope).sum(), w)])
        there_and_back([sf.jvp(ys, [w], [ops.ones_like(w)])])
