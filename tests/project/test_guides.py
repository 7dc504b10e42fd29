"""The programs of docs/from-jax.md run, and compute the same."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.support.places import ROOT

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/from-jax.md").read_text("utf-8"), re.M | re.S
)


def test_a_program_moved_from_jax_computes_the_same() -> None:
    theirs, ours = BLOCKS
    names: dict[str, Any] = {}
    exec(ours, names)
    assert np.isfinite(names["value"]) and names["gradient"].shape == (3,)
    shared = set(theirs.splitlines()) & set(ours.splitlines())
    assert sum(line.startswith("    k") for line in shared) == 4, "line by line"
    if not find_spec("jax"):
        pytest.skip("JAX is not installed")
    expected: dict[str, Any] = {}
    exec(theirs, expected)
    np.testing.assert_allclose(names["value"], expected["value"], rtol=1e-9)
    np.testing.assert_allclose(names["gradient"], expected["gradient"], rtol=1e-6)
