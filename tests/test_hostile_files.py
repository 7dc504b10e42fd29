"""Files are data: whatever stands in one, it is refused in words, or is a graph like any other."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_checkpoint import rewritten

import staticflow as sf
from staticflow import ops
from staticflow.errors import Where
from staticflow.graph import apply

NAMES = ["x\nimport os\nos.abort()", "x'''\r\n#", "\u2028\u0085\x0c", "é²\u0301名", "if", "T", "n" * 999]


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
    source = loaded._fetches.fetch(loaded.outputs).runner.program.source
    assert "password" not in source + loaded.explain()
    assert "\n    import os" not in source
    here = apply(x.op, where=Where(str(secret), 1))
    assert "password" in str(here.where)  # a line of this process is shown
