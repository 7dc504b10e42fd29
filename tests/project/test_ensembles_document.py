"""The code of docs/ensembles.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.places import ROOT


@pytest.mark.peers
def test_the_code_of_the_document_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    text = (ROOT / "docs" / "ensembles.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {})
    assert "learning_rate" in capsys.readouterr().out
    assert (tmp_path / "scores.svg").exists()
