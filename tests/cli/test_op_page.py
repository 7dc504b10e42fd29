"""The page of ops: every op is on it, with a type and a derivative, and closed forms are true."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import numpy as np
import pytest

from staticflow import ops
from staticflow.cli.main import main
from staticflow.cli.op_page.closed_forms import FORMULAS, WORDS
from staticflow.cli.op_page.page import (
    PARTS,
    SUBJECTS,
    Entry,
    cotangents,
    entries,
    example,
    op_page,
)
from staticflow.graph.dims import evaluate
from staticflow.graph.kinds import MapRow
from staticflow.graph.leaves import Input
from staticflow.graph.node import Kind
from staticflow.graph.op_table import table
from staticflow.graph.traversal import leaves
from staticflow.graph.types import FLOATS
from staticflow.runtime.interpreter import interpret
from tests.compiler.formula.cases import NUMPY, SIZES

# Of each subject, and of files that have several
SUBJECT_OF = {
    "where": "Comparison, logic and choice", "exp": "Functions of one number",
    "round": "Arithmetic", "add": "Arithmetic", "median": "Reductions and statistics",
    "nansum": "Reductions and statistics", "einsum": "Matrix products", "det": "Linear algebra",
    "softmax": "Activations, losses and layers", "mse": "Activations, losses and layers",
    "reshape": "Shape", "take": "Indexing and order", "linspace": "Creation",
    "normal": "Random numbers", "stop_gradient": "Meaning",
}  # fmt: skip
SIGNATURES = {
    "exp": "(x: 'Any', /) -> 'Node'",
    "where": "(condition: 'Any', x: 'Any', y: 'Any', /) -> 'Node'",
    "softmax": "(x: 'Any', axis: 'Any' = -1) -> 'Node'",
    "moveaxis": "(x: 'Any', source: 'Any', destination: 'Any') -> 'Node'",
}


@pytest.fixture(scope="module")
def listed() -> dict[str, Entry]:
    return {entry.name: entry for entry in entries()}


def test_every_op_is_listed(listed: dict[str, Entry]) -> None:
    assert set(listed) == set(table())
    page = op_page()
    for entry in listed.values():
        assert f"| `{entry.signature}` |" in page
        assert entry.doc and entry.type_rule and entry.derivative, entry
        assert entry.subject in page


def test_every_differentiable_row_has_a_formula(listed: dict[str, Entry]) -> None:
    for op in table().values():
        if op.kind is Kind.MAP and isinstance(op.row, MapRow) and op.row.vjp is not None:
            assert op.formula, op.name
            assert listed[op.name].derivative == op.formula
            assert op.formula.count(",") >= len(op.row.inputs) - 1, op.name


def test_derivatives_are_legible(listed: dict[str, Entry]) -> None:
    by_parts = [entry.name for entry in listed.values() if entry.derivative == PARTS]
    assert not by_parts, "give them a closed form"
    assert max(len(entry.derivative) for entry in listed.values()) < 120


def test_closed_forms_are_of_ops() -> None:
    assert set(FORMULAS) | set(WORDS) <= set(table())
    assert not set(FORMULAS) & set(WORDS)


def arrays(name: str) -> tuple[list[Any], Any, dict[str, Any]]:
    """The operands of an example, its result, and what the names in a formula stand for."""
    op = table()[name]
    operands, (result, *_) = example(op)
    rng = np.random.default_rng(5)
    values: dict[str, Any] = {}
    for x in operands:
        shape = [evaluate(n, SIZES) for n in x.shape]
        drawn = rng.normal(size=shape) if x.dtype in FLOATS else rng.integers(0, 3, shape)
        values[x.name] = drawn.astype(x.dtype)
    if "a" in values and values["a"].ndim == 2:
        values["a"] = values["a"] @ values["a"].T + np.eye(len(values["a"]))
    if name.startswith("nan"):
        values["x"][1, 1] = np.nan
    parameters = inspect.signature(op.function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default not in (p.empty, None)}
    return list(operands), result, {"shift": 1, "repeats": 2, **defaults, **values}


@pytest.mark.parametrize("name", FORMULAS)
def test_closed_forms_are_true(name: str) -> None:
    operands, y, names = arrays(name)
    floats = [x for x in operands if x.dtype in FLOATS]
    made = cotangents(floats, y)
    given = np.random.default_rng(6).normal(size=[evaluate(n, SIZES) for n in y.shape])
    env = {x: names[x.name] for x in operands}
    env |= {leaf: given for leaf in leaves(made, Input) if leaf.name == "G"}
    result, *expected = interpret([y, *made], env)
    names = {**NUMPY, **names, "G": given} | ({} if "y" in names else {"y": result})
    for formula, value in zip(FORMULAS[name], expected, strict=True):
        actual = eval(formula, names)
        np.testing.assert_allclose(actual, value, rtol=2e-3, atol=2e-4, err_msg=formula)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# Ops")
    assert "| `matmul(a, b)` |" in printed and "`G @ b.T`, `a.T @ G`" in printed


def headings(page: str) -> dict[str, str]:
    """The heading under which the page has each signature."""
    found: dict[str, str] = {}
    heading = ""
    for line in page.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("| `"):
            found[line.split("`")[1]] = heading
    return found


def test_ops_stand_under_their_subjects_with_their_signatures(listed: dict[str, Entry]) -> None:
    """As they did not once a function stood around each of them: one heading had them all."""
    under = headings(op_page())
    assert set(under.values()) == set(SUBJECTS) and len(under) == len(table())
    for name, subject in SUBJECT_OF.items():
        assert under[listed[name].signature] == subject, name
    for op in table().values():
        names = list(inspect.signature(op.function).parameters)
        shown = inspect.signature(
            eval(f"lambda {listed[op.name].signature[len(op.name) + 1 : -1]}: 0")
        )
        assert list(shown.parameters) == names, op.name
        assert names[:1] != ["values"] and "args" not in names, op.name


def test_help_shows_what_functions_take() -> None:
    shown = {name: pydoc.plain(pydoc.render_doc(getattr(ops, name))) for name in SIGNATURES}
    for name, signature in SIGNATURES.items():
        assert f"\n{name}{signature}\n" in shown[name], shown[name]


def test_other_names_are_told(listed: dict[str, Entry]) -> None:
    assert listed["sigmoid"].doc.endswith("Also called `expit`.")
    named = {n for n in ops.__all__ if callable(getattr(ops, n))} - set(table())
    docs = " ".join(entry.doc for entry in listed.values())
    assert all(f"`{name}`" in docs for name in named), named
