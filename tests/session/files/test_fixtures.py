"""Files of each release load in this one and say what they said, or are refused with a message.

`write_fixtures.py` wrote them, and says what is in them.
"""

from __future__ import annotations

import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from tests.support.places import FIXTURES
from tests.support.write_fixtures import answers, leaves, losses, outcome

Array = np.ndarray[Any, Any]
REFUSED: dict[str, str] = {}  # what this version does not read any more, and its message
RTOL, ATOL = 2e-4, 2e-5  # of float32, computed in other orders on other machines


def files(pattern: str) -> list[Any]:
    """The fixtures of a kind, of all versions."""
    found = sorted(path for path in FIXTURES.rglob(pattern) if path.is_file())
    assert found
    return [pytest.param(path, id=str(path.relative_to(FIXTURES))) for path in found]


def is_refused(path: Path) -> bool:
    """Whether this version reads the file no more; then it says so in the words listed."""
    message = REFUSED.get(str(path.relative_to(FIXTURES)))
    if message is None:
        return False
    with pytest.raises(sf.GraphError, match=message):
        pickle.loads(path.read_bytes()) if path.suffix == ".pickle" else sf.Session.load(path)
    return True


def stored(path: Path) -> dict[str, Array]:
    """What goes in and must come out."""
    with np.load(path.with_name(f"{path.name.split('.')[0]}.npz")) as content:
        return dict(content)


def under(prefix: str, content: dict[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin so, by the rest of the name."""
    return {k.removeprefix(prefix): v for k, v in content.items() if k.startswith(prefix)}


def assert_same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    """Equal names, and values but for rounding."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[name], value, RTOL, ATOL, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def check_session(session: sf.Session, path: Path) -> None:
    """It answers as it did, and trains on as it did."""
    content = stored(path)
    assert_same(under("out", outcome(session, under("feed.", content))), under("out", content))
    train = under("train.", content)
    if train:
        np.testing.assert_allclose(losses(session, train), content["losses"], RTOL, ATOL)
    if path.name.startswith("fnn_adam"):
        assert session.extra == {"classes": ["a", "b"], "mean": 0.25, "nested": {"n": None}}


@pytest.mark.parametrize("path", files("*.safetensors"))
def test_sessions(path: Path) -> None:
    if not is_refused(path):
        check_session(sf.Session.load(path), path)


@pytest.mark.parametrize("path", files("*.session.pickle"))
def test_pickled_sessions(path: Path) -> None:
    if not is_refused(path):
        check_session(pickle.loads(path.read_bytes()), path)


@pytest.mark.parametrize("path", files("*.function.pickle"))
def test_pickled_functions(path: Path) -> None:
    if not is_refused(path):
        content = stored(path)
        function = pickle.loads(path.read_bytes())
        found = leaves(function(**under("feed.", content)), "out")
        assert_same(under("out", found), under("out", content))


@pytest.mark.filterwarnings("ignore:Trying to unpickle estimator")  # of another scikit-learn
@pytest.mark.parametrize("path", files("*.estimator.pickle"))
def test_pickled_estimators(path: Path) -> None:
    if is_refused(path):
        return
    content = stored(path)
    fitted = pickle.loads(path.read_bytes())
    found = {name: getattr(fitted, name)(content["X"]) for name in under("out.", content)}
    assert_same(found, under("out.", content))
    assert fitted.loss_curve_ == content["losses"].tolist()
    fitted.partial_fit(content["X"], content["y"])
    np.testing.assert_allclose(fitted.loss_curve_[-1], content["next"], RTOL)


@pytest.mark.parametrize("path", files("*.model"))
def test_models_of_the_command_line(path: Path) -> None:
    if is_refused(path):
        return
    name = path.stem
    (data,) = path.parent.glob(f"{name}.train.*")
    found, expected = answers(name, path, data), path.with_suffix(".predicted").read_text()
    separator = None if name == "text" else ","
    mine, theirs = ([line.split(separator) for line in t.splitlines()] for t in (found, expected))
    assert [len(row) for row in mine] == [len(row) for row in theirs]
    for one, other in zip(chain(*mine), chain(*theirs), strict=True):
        if one != other:
            np.testing.assert_allclose(float(one), float(other), 1e-3, 1e-4)
