"""`draw`: the documents' pictures, with the values of nodes and their cotangents."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops

SVG = "{http://www.w3.org/2000/svg}"


def boxes(picture: str) -> dict[str, list[str]]:
    """The lines of text of each box, by the first."""
    root = ElementTree.fromstring(picture)
    groups = [g for g in root.iter(f"{SVG}g") if g.find(f"{SVG}title") is not None]
    texts = [[str(t.text) for t in g.iter(f"{SVG}text")] for g in groups]
    return {lines[0]: lines[1:] for lines in texts}


def arrows(picture: str) -> tuple[int, int]:
    """How many arrows go down, and how many up."""
    return picture.count('marker-end="url(#down)"'), picture.count('marker-end="url(#up)"')


def places(picture: str) -> dict[str, float]:
    """How far down each box stands."""
    found = re.findall(r'translate\(\S+ (\S+)\)"><title>(\w+)', picture)
    return {name: float(y) for y, name in found}


def test_the_documents_graph_of_z() -> None:
    x, y = sf.input("x", ()), sf.input("y", ())
    z = ((y + x) * x).named("z")
    picture = sf.draw(z, {"x": 1.0, "y": 2.0})
    found = boxes(picture)
    assert set(found) == {"x", "y", "+", "z = *"}
    assert found["x"] == ["float32[]", "= 1", "d = 4"]
    assert found["y"][1:] == ["= 2", "d = 1"]
    assert found["z = *"][0] == "float32[]" and found["z = *"][1].startswith("test_draw.py:")
    assert found["z = *"][2:] == ["= 3", "d = 1"]
    assert arrows(picture) == (4, 4)
    down = places(picture)
    assert down["x"] == down["y"] < down["add"] < down["z"]


def test_the_documents_graph_of_L() -> None:
    a, w1, w2, w3, w4 = (sf.input(name, (), "float64") for name in ("a", "w1", "w2", "w3", "w4"))
    b, c = (w1 * a).named("b"), (w2 * a).named("c")
    d = (w3 * b + w4 * c).named("d")
    loss = (10 - d).named("L")
    found = boxes(sf.draw(loss, {"a": 1, "w1": 2, "w2": 3, "w3": 4, "w4": 5}))
    assert {"a", "w1", "b = *", "c = *", "d = +", "L = -", "10"} <= set(found)
    assert found["L = -"][-2:] == ["= -13", "d = 1"]
    assert found["w1"][-1] == "d = -4" and found["a"][-1] == "d = -23"


def test_without_values_and_without_derivatives() -> None:
    x = sf.input("x", ("n", 3))
    picture = sf.draw(x * 2 + 1)
    assert arrows(picture)[1] == 0 and arrows(picture)[0] > 0
    assert all("=" not in line for lines in boxes(picture).values() for line in lines)
    assert arrows(sf.draw((x * 2).sum()))[1] > 0
    assert sf.draw(sf.input("i", ("n",), "int64") + 1)


def test_arrays_are_written_or_summed_up() -> None:
    x = sf.input("x", ("n",), "float64")
    picture = sf.draw((x * x).sum(), {"x": [1.0, 2.0]})
    assert "= [1., 2.]" in boxes(picture)["x"] and "d = [2., 4.]" in boxes(picture)["x"]
    long = sf.draw((x * x).sum(), {"x": np.ones(50)})
    assert "= 50, mean 1" in boxes(long)["x"]


def test_sessions_scans_and_notebooks(tmp_path: Path) -> None:
    x, labels = sf.input("x", ("n", 4)), sf.input("labels", ("n",), "int64")
    net = models.FNN([4, 5, 3])
    session = sf.Session(ops.softmax_cross_entropy(net(x), labels).mean())
    picture = sf.draw(session, {"x": np.ones((2, 4)), "labels": [0, 1]})
    assert "fnn.0.weight" in boxes(picture) and arrows(picture)[1] > 4
    assert session._repr_html_() == f"<div>{sf.draw(session)}</div>"
    assert "<svg" in x._repr_html_() and repr(picture).startswith("<drawing")
    picture.save(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == picture
    last, _ = sf.scan(lambda h, v: (ops.tanh(h + v), None), ops.zeros(4), x)
    assert "scan" in boxes(sf.draw(last.sum(), {"x": np.ones((3, 4))}))


def test_names_are_escaped_and_the_rest_refused() -> None:
    x = sf.input("x", ())
    assert "a&lt;b" in sf.draw((x + 1).named("a<b"))
    with pytest.raises(sf.GraphError, match="takes a node or a session"):
        sf.draw(3)
    with pytest.raises(sf.GraphError, match="no value is given for 'x'"):
        sf.draw(x + 1, {})
    for _ in range(500):
        x = ops.sin(x)
    with pytest.raises(sf.GraphError, match="too large"):
        sf.draw(x)
    assert "&lt;sin: float32[]&gt;" in x._repr_html_() and "too large" in x._repr_html_()
    assert "0 parameters" in sf.Session(outputs=x)._repr_html_()
