"""A process that forks while other threads train, run or compile: its children go on."""

from __future__ import annotations

import os

import pytest

from tests.support.processes import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("kind", ["fit", "step", "run", "compile"])
def test_children_go_on(kind: str) -> None:
    ended = run_python("-W", "ignore", "-m", "tests.session.fork_in_fit", kind, seconds=120.0)
    assert ended.status == 0, f"{ended.out}\n{ended}"
