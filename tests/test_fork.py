"""A process that forks while other threads train, run or compile: its children go on."""

from __future__ import annotations

import os

import pytest
from processes import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("kind", ["fit", "step", "run", "compile"])
def test_children_go_on(kind: str) -> None:
    ended = run_python("-W", "ignore", "fork_in_fit.py", kind, seconds=120.0)
    assert ended.status == 0, f"{ended.out}\n{ended}"
