"""Builds the documents: runs the code in them, and writes what it makes."""

from __future__ import annotations

from tests.documents.build import DOCUMENTS, build

for path in DOCUMENTS:
    for target, text in build(path).items():
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(target)
