"""The documents are what their code makes of them, in both languages, and nothing in them is typed
by hand that code can make.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents.build import CHINESE, DOCUMENTS, ENGLISH, PICTURES, blocks, build, written
from tests.support.places import ROOT


@pytest.mark.parametrize("path", DOCUMENTS, ids=["english", "chinese"])
def test_a_document_is_what_its_code_makes(path: Path) -> None:
    """If it has changed for a reason: `python -m tests.documents`, and read the difference."""
    made = build(path)
    for target, text in made.items():
        assert target.read_text(encoding="utf-8") == text, target.relative_to(ROOT)
    pictures = set(PICTURES.iterdir())
    assert pictures == set(made) - {path} and len(pictures) >= 3
    assert made[path].count("$$") > 40, "its formulas"


@pytest.mark.parametrize("path", DOCUMENTS, ids=["english", "chinese"])
def test_no_formula_is_typed_by_hand(path: Path) -> None:
    text = written(path)
    assert not re.search(r"[$\\]|!\[|<svg|<img", text)
    assert not re.search(r"\d\.\d", text), "no numbers either"


def test_both_languages_have_the_same_code() -> None:
    assert blocks(ENGLISH) == blocks(CHINESE) and len(blocks(ENGLISH)) > 20
    headings = [re.findall(r"^#+", written(path), re.M) for path in DOCUMENTS]
    assert headings[0] == headings[1]


def test_rules_have_chinese_names() -> None:
    """What is left in Latin letters is a formula, or a function's name."""
    named = re.findall(r"\\text\{([^{}]*)\}", CHINESE.read_text(encoding="utf-8"))
    assert len(named) > 60
    for rule in named:
        words = set(re.findall(r"[A-Za-z]{4,}", rule)) - {"softmax", "diag", "delta"}
        assert not words, f"tests/documents/chinese.py has no name for {rule!r}"
