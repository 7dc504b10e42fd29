"""`explain(...).latex()`: the formula in the notation of a textbook, well formed for every case."""

from __future__ import annotations

import copy
import pickle

import pytest

import staticflow as sf
from staticflow import ops
from tests.compiler.formula.expressions import EXPRESSIONS
from tests.compiler.formula.test_explain_cases import SIZES, declared, derivative

FORMS = {
    "quadratic": r"\left(\boldsymbol{A} + \boldsymbol{A}^{T}\right) \boldsymbol{x}",
    "bilinear": r"\boldsymbol{y} \boldsymbol{x}^{T}",
    "det": r"\left|\boldsymbol{A}\right| \left(\boldsymbol{A}^{-1}\right)^{T}",
    "norm": r"\frac{1}{\left\|\boldsymbol{x}\right\|} \boldsymbol{x}",
    "x'log x": r"\boldsymbol{x} \oslash \boldsymbol{y}",
    "exp(a'x)": r"\exp\left(\boldsymbol{y}^{T} \boldsymbol{x}\right) \boldsymbol{y}",
    "exp of a matrix": r"\boldsymbol{B} \odot \exp\left(\boldsymbol{A}\right)",
    "jacobian x . y": r"\operatorname{diag}\left(\boldsymbol{y}\right)",
    "mvn mu": r"-0.5 \left(\boldsymbol{A} + \boldsymbol{A}^{T}\right) "
    r"\left(\boldsymbol{x} - \boldsymbol{\mu}\right)",
    "log det lam": r"\frac{n}{\lambda}",
}


@pytest.mark.parametrize("name", sorted(FORMS))
def test_the_notation_of_a_textbook(name: str) -> None:
    found = sf.explain(derivative(name, declared("named"), "n"))
    assert found.latex() == FORMS[name]
    assert found._repr_latex_() == rf"$\displaystyle {FORMS[name]}$"


@pytest.mark.parametrize("how", ["named", "columns"])
def test_every_formula_is_latex(how: str) -> None:
    leaves = declared(how)
    for name in sorted(EXPRESSIONS)[::2]:
        shown = sf.explain(derivative(name, leaves, SIZES[how][0])).latex()
        plain = shown.replace(r"\{", "").replace(r"\}", "")
        assert plain.count("{") == plain.count("}"), shown
        assert shown.count(r"\left") == shown.count(r"\right"), shown
        assert "@" not in shown and "None" not in shown and "  " not in shown, shown


def test_several_lines_are_aligned() -> None:
    x, W = sf.input("x", ("n", 4)), sf.param("W", (4, 3))
    loss = (ops.tanh(x @ W) ** 2).sum()
    found = sf.explain({"loss": loss, "dL/dW": sf.grad(loss, W)})
    text = str(found).split("\n")
    rows = found.latex().split("\n")
    assert rows[0] == r"\begin{aligned}" and rows[-1] == r"\end{aligned}"
    assert len(rows) == len(text) + 2
    assert r"\frac{\partial L}{\partial W} &= " in found.latex()


def test_loops_are_typed() -> None:
    h = sf.input("h", (3,))
    found = sf.explain(sf.while_loop(lambda h: ops.max(h) > 1, lambda h: h / 2, h))
    assert r"\mathtt{" in found.latex() and r"while\ " in found.latex()


def test_a_formula_is_text_that_can_be_copied() -> None:
    x = sf.input("x", (3,))
    found = sf.explain(x / ops.norm(x))
    for again in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert again == "x / norm(x)" and again.latex() == found.latex()
