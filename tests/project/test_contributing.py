"""docs/contributing.md: the files that it names are there, and what it quotes stands in them."""

from __future__ import annotations

import re

import pytest

from tests.support.layers import MAY_IMPORT
from tests.support.places import ROOT

TEXT = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
FOLDERS = "staticflow|ops|models|tests|benchmarks|docs"
PATHS = sorted(set(re.findall(rf"`((?:{FOLDERS})(?:/[\w./]*)?)`", TEXT)))
# A file by its name, the last one on its line, then a block of its lines.
QUOTES = re.findall(
    r"`([\w/]+\.py)`[^`\n]*(?:`[^`/\n]+`[^`\n]*)?\n```\n(.*?)^```", TEXT, re.M | re.S
)


def test_it_is_one_page() -> None:
    assert len(TEXT.splitlines()) < 200


@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_map_has_each_folder() -> None:
    folders = re.findall(rf"^\| `({FOLDERS})(?:/(\w+))?` \|", TEXT, re.MULTILINE)
    modules = {"errors", "init", "__main__", ""}
    assert sorted(inner or outer for outer, inner in folders) == sorted(MAY_IMPORT.keys() - modules)


def test_the_quotes_are_found() -> None:
    assert len(QUOTES) >= 9


@pytest.mark.parametrize(("path", "quote"), QUOTES)
def test_a_quote_stands_in_its_file(path: str, quote: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    for piece in quote.split("...\n"):
        assert piece in source
