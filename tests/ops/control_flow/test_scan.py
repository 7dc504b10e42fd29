"""`sf.scan` against the interpreter and JAX: structures, lengths, directions, derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.graph.node import Kind
from staticflow.graph.traversal import toposort
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, check_program, close
from tests.support.scan_programs import PROGRAMS, data, recurrent
from tests.support.sharding import assert_close, force, train

# The last of them is compared with JAX as well.
LENGTHS = [{"time": n, "batch": 2} for n in (0, 1, 2, 7, 5)]


@pytest.fixture(autouse=True)
def _double() -> Any:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)


@pytest.mark.peers
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_derivatives(name: str) -> None:
    program, shapes = PROGRAMS[name]
    check_program(program, shapes, LENGTHS, {"ids": "int32"})


# Shards: a recurrent net trains as one


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_shards_train_as_one(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    one = train(lambda: recurrent(cell), 1)
    for threads in (2, 3):
        assert_close(train(lambda: recurrent(cell), threads), one)


# What is refused


H, X = sf.input("h", (4,)), sf.input("x", ("time", 4))
REFUSED: dict[str, tuple[type[Exception], Any]] = {
    r"carry changes its type.*float32\[4\] in init, float32\[2\] from": (
        sf.ShapeError, lambda: sf.scan(lambda h, x: (h[:2], None), H, X),
    ),
    r"carry\['b'\] changes its type.*float32\[4\] in init, float64\[4\]": (
        sf.DTypeError,
        lambda: sf.scan(
            lambda s, x: ({"a": s["a"], "b": s["b"].astype("float64")}, x), {"a": H, "b": H}, X
        ),
    ),
    r"carry\[1\] changes its type": (
        sf.ShapeError, lambda: sf.scan(lambda s, x: ((s[0], s[1][:1]), None), (H, H), X),
    ),
    "of the structure of init": (
        sf.GraphError, lambda: sf.scan(lambda h, x: ((h, h), None), H, X),
    ),
    r"must return \(carry, y\)": (sf.GraphError, lambda: sf.scan(lambda h, x: h, H, X)),
    "a length is needed": (sf.GraphError, lambda: sf.scan(lambda h, x: (h, None), H, None)),
    "leading axes of xs differ": (
        sf.ShapeError, lambda: sf.scan(lambda h, x: (h, None), H, (X, H)),
    ),
    "need a leading axis": (
        sf.ShapeError, lambda: sf.scan(lambda h, x: (h, None), H, sf.input("s", ())),
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message: str) -> None:
    kind, make = REFUSED[message]
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        make()
    assert "test_scan.py" in str(caught.value)


def test_another_length_compiles_nothing() -> None:
    """Sizes are run-time values: one program, of one code size."""
    x, h = sf.input("x", ("time", 3)), sf.input("h", (3,))
    _, every = sf.scan(lambda h, row: (ops.tanh(h + row),) * 2, h, x)
    f = sf.function([x, h], every)
    program = f.runner.program
    for n in (3, 0, 1000):
        rows = data(n, n, 3)
        close([f(rows, rows.sum(0))], interpret([every], {x: rows, h: rows.sum(0)}), str(n), 1e-5)
    assert f.runner.program is program


def test_constants_are_computed_once() -> None:
    """What does not depend on the slots stays outside, computed once."""
    x, w = sf.input("x", ("time", 3)), sf.input("w", (3,))
    _, every = sf.scan(lambda _, row: (None, row * ops.exp(w)), None, x)
    (scan,) = (n for n in toposort([every]) if n.op.kind is Kind.LOOP)
    assert all(n.op.name != "exp" for n in toposort(scan.op.body))


def test_a_length_beside_elements_must_agree() -> None:
    x = sf.input("x", ("time", 3))
    last, _ = sf.scan(lambda h, row: (h + row, None), ops.zeros((3,)), x, length="time")
    assert last.shape == (3,)
    with pytest.raises(sf.ShapeError, match="leading axes of xs differ"):
        sf.scan(lambda h, row: (h + row, None), ops.zeros((3,)), x, length=4)


def test_a_length_of_run_time_without_elements() -> None:
    """It is that of another input, and may be none at all."""
    w, h = sf.input("w", (3, 3), "float64"), sf.input("h", (3,), "float64")
    x = sf.input("x", ("time",), "float64")
    last, every = sf.scan(lambda h, _: (ops.tanh(h @ w),) * 2, h, None, length="time")
    outputs = [last, every, *sf.grad(ops.sum(last) + ops.sum(every**2) * ops.sum(x), [w, h, x])]
    f = sf.function([w, h, x], outputs)
    for n in (5, 0, 1, 12):
        arrays = arrays_for([w, h, x], {"time": n})
        wanted = interpret(outputs, dict(zip([w, h, x], arrays, strict=True)))
        close(f(*arrays), wanted, f"length {n}")


def test_a_step_looks_nothing_up_in_a_table_without_rows() -> None:
    """Where a step is made at all; of other sizes there would be nothing but foreign memory."""
    table, chosen = sf.input("table", ("rows", 100_000)), sf.input("chosen", ("time",), "int64")

    def step(h: Any, k: Any) -> Any:
        return h + 1.0, ops.take(table, k, axis=0)

    _, ys = sf.scan(step, sf.const(0.0), chosen + 0)
    session = sf.Session(outputs={"y": ys})

    def arrays(rows: int, steps: int) -> dict[str, Any]:
        return {
            "table": np.ones((rows, 100_000), np.float32),
            "chosen": np.zeros(steps, np.int64),
        }

    assert session.run("y", arrays(2, 3)).sum() == 300_000
    assert session.run("y", arrays(0, 0)).shape == (0, 100_000)
    with pytest.raises(sf.GraphError, match="no element"):
        session.run("y", arrays(0, 3))
    with pytest.raises(ValueError, match="no element"):
        session.jit("y")(*arrays(0, 3).values())
