"""The house: tests stand where what they test stands, and no file has more than 400 lines."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Folders of tests that are about no folder of the package.
BESIDE = {"campaigns", "documents", "fixtures", "fuzz", "peers", "project", "support",
          "compiler/golden", "ops/cases"}  # fmt: skip
MOST_LINES = 400


def test_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    folders = {file.parent.relative_to(tests) for file in tests.rglob("*.py")} - {Path()}
    assert folders
    for folder in sorted(folders):
        parts = [folder, *folder.parents]
        if not any(str(part) in BESIDE for part in parts):
            # `staticflow/ops` and `staticflow/models` lead to the folders beside it.
            assert (ROOT / "staticflow" / folder).is_dir(), folder


@pytest.mark.parametrize("top", ["staticflow", "ops", "models", "tests", "benchmarks"])
def test_files_have_one_subject(top: str) -> None:
    files = list((ROOT / top).rglob("*.py"))
    assert files
    long = {str(f): n for f in files if (n := len(f.read_text("utf-8").splitlines())) > MOST_LINES}
    assert not long
