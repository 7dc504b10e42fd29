"""Who comes from PyTorch or NumPy writes what they write there, and is told what to write here."""

from __future__ import annotations

import math
import pydoc
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.foreign_names import OF_FACE, OF_MODELS, OF_NODES, OF_OPS, OF_SESSIONS

x, v, s = sf.input("x", ("n", 3)), sf.input("v", (4,)), sf.input("s", ())
array = np.arange(4.0)
net = models.FNN([3, 4, 1])
session = sf.Session((net(x) ** 2).mean(), optimizer=sf.optim.SGD(0.1))


def repeat() -> None:
    while s > 0:
        pass


def branch() -> None:
    if s:
        raise AssertionError


def assign(node: Any) -> None:
    node[0] = 1.0


def add_to_array() -> None:
    total = array.copy()
    total += v


WRITTEN: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "while": (repeat, sf.GraphError, r"sf\.while_loop"),
    "if": (branch, sf.GraphError, r"ops\.where or sf\.cond"),
    "and": (lambda: (s > 0) and s, sf.GraphError, r"ops\.where"),
    "sorted": (lambda: sorted([s, s + 1]), sf.GraphError, "no truth value"),
    "float": (lambda: float(s), sf.DTypeError, r"float\(node\.eval"),
    "int": (lambda: int(s), sf.DTypeError, r"int\(node\.eval"),
    "math": (lambda: math.exp(s), sf.DTypeError, r"node\.eval"),
    "len": (lambda: len(x), sf.ShapeError, r"node\.shape has its sizes"),
    "for": (lambda: list(x), sf.ShapeError, r"sf\.scan"),
    "assign": (lambda: assign(v), sf.GraphError, r"ops\.where\(mask, value, node\)"),
    "np.exp": (lambda: np.exp(v), sf.DTypeError, r"write ops\.exp"),
    "np.maximum": (lambda: np.maximum(v, 0), sf.DTypeError, r"write ops\.maximum"),
    "np.add.reduce": (lambda: np.add.reduce(v), sf.DTypeError, r"np\.add\.reduce computes"),
    "np.sum": (lambda: np.sum(v), sf.DTypeError, r"write ops\.sum"),
    "np.absolute": (lambda: np.absolute(v), sf.DTypeError, r"write ops\.abs"),
    "np.concatenate": (lambda: np.concatenate([v, v]), sf.DTypeError, r"write ops\.concatenate"),
    "np.where": (lambda: np.where(v > 0, v, 0), sf.DTypeError, r"write ops\.where"),
    "np.linalg.norm": (lambda: np.linalg.norm(v), sf.DTypeError, r"do: write ops\.norm"),
    "np.interp": (lambda: np.interp(v, array, array), sf.DTypeError, "staticflow ops"),
    "np.asarray": (lambda: np.asarray(v), sf.DTypeError, r"node\.eval"),
    "np.array": (lambda: np.array([s, s]), sf.DTypeError, r"ops\.stack joins a list"),
    "+=": (add_to_array, sf.DTypeError, "cannot write a node into an array"),
    "array == node": (lambda: array == v, sf.GraphError, r"ops\.equal"),
    "array != node": (lambda: array != v, sf.GraphError, r"ops\.not_equal"),
    "np.equal": (lambda: np.equal(v, v), sf.DTypeError, r"ops\.equal"),
    "parameters()": (net.parameters, sf.GraphError, "leave out the parentheses"),
    "optimizer": (lambda: sf.optim.Adam(net.parameters), sf.GraphError, "given no parameters"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_elsewhere_is_answered(name: str) -> None:
    write, kind, told = WRITTEN[name]
    with pytest.raises(kind, match=told) as caught:
        write()
    assert "test_foreign_names.py" in str(caught.value)


OWNERS: list[tuple[Any, Any]] = [
    (v, OF_NODES), (session, OF_SESSIONS), (net, OF_MODELS), (sf, OF_FACE), (ops, OF_OPS),
]  # fmt: skip


@pytest.mark.parametrize(("owner", "known"), OWNERS)
def test_names_of_elsewhere_are_answered(owner: Any, known: dict[str, str]) -> None:
    for name, told in known.items():
        assert not hasattr(owner, name), f"{name} is there: take it from the table"
        with pytest.raises(AttributeError, match=re.escape(told)):
            getattr(owner, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(owner, "".join(["non", "sense"]))


def test_functions_are_found_where_they_are() -> None:
    with pytest.raises(AttributeError, match=r"ops\.exp\(node\)"):
        getattr(v, "".join(["e", "xp"]))
    with pytest.raises(AttributeError, match=r"do: ops\.exp"):
        getattr(sf, "".join(["e", "xp"]))


def test_the_answers_name_what_there_is() -> None:
    """Each `sf.name`, `ops.name`, `models.name`, `session.name` and `node.name` in a table."""
    places = {"sf": sf, "ops": ops, "models": models, "session": session, "node": v, "net": net}
    found = [
        (place, name)
        for _, known in OWNERS
        for told in known.values()
        for place, name in re.findall(r"\b(sf|ops|models|session|node|net)\.(\w+)", told)
    ]
    assert len(found) > 50
    for place, name in found:
        assert hasattr(places[place], name), f"{place}.{name}"


def test_arrays_and_numpy_numbers_stand_at_the_left_of_operators() -> None:
    """NumPy asks the node first: the operator is its own."""
    w = sf.input("w", (4,), "float64")
    value = np.array([1.0, 2.0, 3.0, 4.0])
    pairs = [
        (array + w, array + value), (array - w, array - value), (array * w, array * value),
        (array / w, array / value), (array**w, array**value), (array // w, array // value),
        (array % w, array % value), (array @ w, array @ value), (np.float64(2) - w, 2 - value),
        (array < w, array < value), (array >= w, array >= value), (array > w, array > value),
        (array <= w, array <= value),
    ]  # fmt: skip
    for node, expected in pairs:
        assert isinstance(node, sf.Node)
        np.testing.assert_allclose(node.eval(w=value), expected)
    assert np.shape(w) == (4,) and np.ndim(w) == 1
    whole = np.array([1, 2]) & sf.input("i", (2,), "int64")
    assert whole.op.name == "bitwise_and"


def test_a_node_is_documented() -> None:
    assert "eval" in pydoc.plain(pydoc.render_doc(sf.Node))
