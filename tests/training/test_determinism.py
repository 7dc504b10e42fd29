"""The same seed gives the same bits: again, in another process, whatever else has run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from tests.support.places import ROOT
from tests.support.sharding import force
from tests.support.small_nets import FEATURES, assert_same, data, values

FED = data(70)


def noisy(threads: int = 1, seed: int = 3) -> sf.Session:
    """A net with draws and statistics of the batch."""
    x, t = sf.input("x", ("batch", FEATURES)), sf.input("t", ("batch", 1))
    y = models.FNN([FEATURES, 8, 8, 1], dropout=0.3, norm="batch")(x)
    adam = sf.optim.Adam(1e-2, clip_norm=1.0)
    return sf.Session(loss=ops.mse(y, t), optimizer=adam, threads=threads, seed=seed)


def trained(threads: int = 1, seed: int = 3) -> sf.Session:
    session = noisy(threads, seed)
    session.fit(FED, epochs=3, batch_size=16, progress=False)
    return session


def digest(session: sf.Session) -> str:
    """A hash of all values."""
    state = hashlib.sha256()
    for name, array in values(session).items():
        state.update(name.encode() + array.tobytes())
    return state.hexdigest()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_again(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    first = trained(threads)
    sf.Session(outputs=ops.uniform((3,)), seed=1).run(ops.uniform((3,)))
    assert_same(values(trained(threads)), values(first))
    assert digest(trained(threads, seed=4)) != digest(first)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_in_another_process(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    code = "import pytest; from tests.training import test_determinism as t; "
    code += f"t.force(pytest.MonkeyPatch()); print(t.digest(t.trained({threads})))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.stdout.strip() == digest(trained(threads)), found.stderr


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_runs_in_pieces(threads: int) -> None:
    """Whoever takes a piece, its values are the same."""
    x = sf.input("x", ("batch", 64))
    y = models.FNN([64, 48, 3], activation="tanh")(x)
    session = sf.Session(outputs={"y": y}, threads=threads, seed=1)
    fed = {"x": np.random.default_rng(1).normal(size=(30_001, 64)).astype(np.float32)}
    first = session.run("y", fed)
    for _ in range(20):
        np.testing.assert_array_equal(session.run("y", fed), first)


def test_the_generated_source_does_not_depend_on_the_process() -> None:
    """Nothing is ordered by addresses or hashes of strings."""
    code = "from tests.training import test_determinism as t; print(t.noisy().source)"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": h},
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout
        for h in ("1", "2")
    }  # fmt: skip
    assert len(texts) == 1


def test_draws_follow_seed_step_and_place_in_the_batch() -> None:
    """Not the shard, the batch size or the draws of other nodes before."""
    x = sf.input("x", ("batch", 3))
    first, second = (ops.uniform(x.shape) + x for _ in range(2))
    both = sf.Session(outputs={"a": first, "b": second}, seed=5)
    rows = both.run("a", {"x": np.zeros((9, 3))}, seed=5)
    np.testing.assert_array_equal(both.run("a", {"x": np.zeros((4, 3))}, seed=5), rows[:4])
    pair = both.run(["a", "b"], {"x": np.zeros((9, 3))}, seed=5)
    assert np.all(pair[0] != pair[1])
    np.testing.assert_array_equal(pair[0], rows)
    other = sf.Session(outputs={"a": first}, seed=6)
    assert np.all(other.run("a", {"x": np.zeros((9, 3))}) != rows)
