"""The page of a model: complete, linked both ways, alone, and as it should look in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.cli.inspect_page.page import SECTIONS, page
from staticflow.cli.inspect_page.parameters import histogram
from staticflow.cli.inspect_page.source import calls, definitions
from staticflow.cli.main import main
from staticflow.session.drawing import draw
from tests.support.browser import Browser, browser

CURVES = {
    "loss": [2.0, 1.0, 0.5],
    "val_loss": [2.1, 1.2, float("nan")],
    "accuracy": [0.1, 0.5, 0.9],
}
FACTS = [("model", "a net of <two> layers"), ("target", "a & b")]


class Read(HTMLParser):
    """Names, links, titles and the text of a document, by what it is in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.names += [str(found["id"])] if "id" in found else []
        self.links += [str(found["href"])] if "href" in found else []
        self.loaded += [str(found[k]) for k in ("src", "data", "srcset", "action") if k in found]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


@pytest.fixture(scope="module")
def session() -> sf.Session:
    x, label = sf.input("x", ("batch", 6)), sf.input("label", ("batch",), "int64")
    logits = models.FNN([6, 5, 3], norm="batch", name="n<e>t")(x)
    loss = ops.softmax_cross_entropy(logits, label).mean()
    return sf.Session(loss, outputs={"y": logits}, optimizer=sf.optim.Adam(1e-2), threads=1)


@pytest.fixture(scope="module")
def text(session: sf.Session) -> str:
    return page(session, "net.sf", FACTS, CURVES)


def test_the_page_is_complete(session: sf.Session, text: str) -> None:
    read = Read(text)
    assert set(SECTIONS) <= set(read.names) and len(set(read.names)) == len(read.names)
    for name, array in session.params.items():
        assert name in read.text and f"{array.size:,}" in read.text
    assert "a net of <two> layers" in read.text and "n<e>t.0.weight" in read.text
    assert "n<e>t" not in text, "names are escaped"
    assert read.text.count("batch, 5") > 1 and "val_loss" in read.text
    source = re.search(r'<pre class="source">(.*)</pre>', text, re.S)
    assert source is not None
    lines = [line[6:] for line in Read(source[1]).text.split("\n")]
    assert lines == [line.rstrip("\n") for line in session.source.split("\n")][: len(lines)]
    assert len(lines) == len(session.source.splitlines())


def test_every_link_leads_somewhere(session: sf.Session, text: str) -> None:
    read = Read(text)
    assert {link.removeprefix("#") for link in read.links} <= set(read.names)
    assert all(link.startswith("#") for link in read.links)
    for k in range(len(session.params)):
        assert f"#param-{k}" in read.links, "a box of the graph leads to each parameter"
    kernels = [name for name in read.names if name.startswith("kernel-")]
    rows = re.findall(r'<tr id="kernel-\d+">.*?</tr>', text)
    assert len(kernels) == len(rows) > 5
    assert all(re.search(r'href="#L\d+"', row) for row in rows), "each has a line of the source"
    assert all(f'href="#{name}"' in text for name in kernels), "from which it is led back to"
    assert sum("node-" in row for row in rows) > 3
    for row in rows:  # the note in the source is that of the row
        line = re.search(r'href="#(L\d+)"', row)
        assert line is not None
        note = re.search(rf'<span id="{line[1]}">.*?</span>', text)
        assert note is not None and "-&gt;" in note[0]


def test_it_loads_nothing(text: str) -> None:
    read = Read(text)
    assert not read.loaded and not {"script", "link", "img", "iframe"} & set(read.tags)
    assert not re.search(r"@import|url\((?!#)", text)
    addresses = set(re.findall(r"https?://[^\s\"<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No log, no loss; a graph too large to look at, of more rows than are drawn at random."""
    monkeypatch.setattr(draw, "MOST", 1)
    x = sf.input("x", ("n", 2))
    text = page(sf.Session(outputs={"y": ops.tanh(x)}), "small", [], {})
    assert "The file holds no log of a training" in text
    assert "too large to look at" in text and "tanh: float32[n, 2]" in text
    assert "not measured: " in page(sf.Session(outputs={"y": x[50:].sum()}), "long", [], {})


def test_histograms() -> None:
    values = np.array([0.0, 1.0, 1.0, np.nan, np.inf], np.float32)
    picture = histogram(values)
    assert picture.count("<rect") == 2 and "2 NaN or infinite" in picture
    assert histogram(np.full(3, np.nan)) == "no finite values"
    assert histogram(np.zeros(())).count("<rect") == 1


def test_source_is_read_as_it_is_written() -> None:
    lines = [
        "@kernel()", "def add(p0):", "    # in a body  ->  of its own", "def run(T, S):",
        "    # a.py:1  ->  add: float32[3]", "    add(T)", "    # a.py:2  ->  exp,",
        "    #     log: float32[3]", "    add(T)", "tile = epilogue(",
    ]  # fmt: skip
    assert definitions(lines) == {"add": 2, "run": 4, "tile": 10}
    found = calls(lines)
    assert found["a.py:1  ->  add: float32[3]"] == [5]
    assert found["a.py:2  ->  exp, log: float32[3]"] == [7]


@pytest.fixture(scope="module")
def window(text: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = tmp_path_factory.mktemp("page") / "net.html"
    path.write_text(text, encoding="utf-8")
    with browser() as found:
        found.open(path)
        yield found
        assert found.log() == [], "no errors, and nothing that could not be loaded"


IN_VIEW = """
    const box = document.getElementById(arguments_id).getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight && box.width > 0;
"""


def is_in_view(window: Browser, name: str) -> Any:
    return window.run(IN_VIEW.replace("arguments_id", repr(name)))


@pytest.mark.parametrize("width", [1300, 480])
def test_in_a_browser(window: Browser, session: sf.Session, width: int) -> None:
    """Links bring what they name into view and mark it; nothing sticks out of the page."""
    window.resize(width, 900)
    out = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert window.run(out) == 0
    window.run("document.querySelector('#graph a[href=\"#param-0\"] rect').dispatchEvent("
               "new MouseEvent('click', {bubbles: true}))")  # fmt: skip
    assert window.run("return location.hash") == "#param-0" and is_in_view(window, "param-0")
    marked = "return getComputedStyle(document.getElementById('param-0')).backgroundColor"
    assert window.run(marked) == "rgb(255, 243, 191)"
    window.run("document.querySelector('#param-0 a').click()")
    assert window.run("return location.hash").startswith("#node-")
    assert is_in_view(window, window.run("return location.hash").removeprefix("#"))
    window.run("document.querySelector('#kernel-1 td:last-child a').click()")
    line = window.run("return location.hash").removeprefix("#")
    assert line.startswith("L") and is_in_view(window, line)
    window.run(f"document.querySelector('#{line} a:nth-child(2)').click()")
    assert window.run("return location.hash") == "#kernel-1" and is_in_view(window, "kernel-1")
    bars = "return document.querySelectorAll('#parameters svg').length"
    assert window.run(bars) == len(session.params)
    assert window.run("return document.querySelectorAll('#loss polyline').length") == 3


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a table to the page of its model; a checkpoint's as well, whose log it has."""
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{a - b:.3f}" for a, b in rng.normal(size=(60, 2))]
    table, model, out = (str(tmp_path / name) for name in ("t.csv", "m.sf", "m.html"))
    Path(table).write_text("a,b,c\n" + "\n".join(rows))
    kept = str(tmp_path / "kept.sf")
    options = ["--hidden", "3", "--epochs", "2", "--no-progress", "--no-plot", "--threads", "1"]
    files = ["--out", model, "--checkpoint", kept]
    assert main(["train", table, "--target", "c", *options, *files]) == 0
    capsys.readouterr()
    for path in (model, kept):
        assert main(["inspect", path, "--html", out]) == 0
        assert "m.html" in capsys.readouterr().out
        read = Read(Path(out).read_text(encoding="utf-8"))
        assert "After 2 epochs: loss" in read.text and "fnn 2-3-1" in read.text
    assert main(["inspect", model, "--html", model]) == 2
    assert "is read, or written, already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["inspect", model, "--html", out, "--graph"])
