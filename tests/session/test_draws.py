"""Draws at inference: new in each run of a session, the same for a seed."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.optim import algorithms as optim


def session_of(seed: int = 3, **options: Any) -> sf.Session:
    x = sf.input("x", ("batch", 3))
    y = models.FNN([3, 4, 1])(x)
    noise = ops.random.normal(x.shape)
    outputs = {"y": y, "sample": x + noise, "alone": ops.random.uniform((5,))}
    return sf.Session(
        loss=ops.square(y).mean(), outputs=outputs, optimizer=optim.SGD(0.1), seed=seed, **options
    )


X = np.arange(12.0, dtype="float32").reshape(4, 3)
FED = {"x": X}


@pytest.mark.parametrize("checked", [False, True])
def test_samples_differ_from_run_to_run(checked: bool) -> None:
    session, twin = session_of(check_numerics=checked), session_of()
    found = [session.run("sample", FED) for _ in range(20)]
    assert len({array.tobytes() for array in found}) == 20
    assert session.run_count == 20
    for array in found:
        np.testing.assert_array_equal(twin.run("sample", FED), array)
    assert len({session.run("alone").tobytes() for _ in range(20)}) == 20


def test_what_draws_nothing_is_not_counted() -> None:
    session = session_of()
    for _ in range(3):
        session.run("y", FED)
    assert session.run_count == 0
    session(**FED)
    session.run({"a": ["sample"]}, FED)
    assert session.run_count == 2


def test_a_seed_repeats_and_counts_nothing() -> None:
    session = session_of(seed=3)
    first = session.run("sample", FED)
    again = [session.run("sample", FED, seed=8) for _ in range(3)]
    assert session.run_count == 1
    for array in again[1:]:
        np.testing.assert_array_equal(array, again[0])
    assert (again[0] != first).any()
    np.testing.assert_array_equal(session_of(seed=1).run("sample", FED, seed=8), again[0])
    np.testing.assert_array_equal(session.run("sample", FED, seed=3), first)
    session.run("y", FED, seed=2)
    with pytest.raises(sf.GraphError, match="the seed must be an integer"):
        session.run("sample", FED, seed=-1)


def test_runs_differ_from_training_steps() -> None:
    x = sf.input("x", ("batch",))
    drawn = ops.random.normal((4,))
    seen = sf.state("seen", (4,))
    sf.update(seen, drawn)
    w = sf.param("w", (), init="ones")
    loss = ops.square(w * x).mean() + 0.0 * drawn.sum()
    session = sf.Session(loss=loss, outputs={"d": drawn}, optimizer=optim.SGD(0.1))
    trained = set()
    for _ in range(10):
        session.step({"x": [1.0]})
        trained.add(session.states["seen"].tobytes())
    assert len(trained | {session.run("d").tobytes() for _ in range(10)}) == 20


def test_threads_take_numbers_of_their_own() -> None:
    session = session_of()
    session.run("sample", FED)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: session.run("sample", FED).tobytes(), range(200)))
    assert len(set(found)) == 200
    assert session.run_count == 201


def test_the_count_goes_with_the_session(tmp_path: Path) -> None:
    session = session_of()
    for _ in range(3):
        session.run("sample", FED)
    session.save(tmp_path / "model.safetensors")
    others = [
        sf.Session.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(session)),
        copy.deepcopy(session),
    ]
    expected = session.run("sample", FED)
    for other in others:
        assert other.run_count == 3
        np.testing.assert_array_equal(other.run("sample", FED), expected)
    session.run_count = 0
    np.testing.assert_array_equal(session.run("sample", FED), session.run("sample", FED, seed=3))


def test_functions_draw_by_their_seed() -> None:
    x = sf.input("x", ("batch", 3))
    sample = x + ops.random.normal(x.shape)
    one, other = sf.function([x], sample, seed=5), sf.function([x], sample)
    for f in (one, other, sf.function([x], (sample, sample * 2.0))):
        np.testing.assert_array_equal(f(X)[0], f(X)[0])
    assert (one(X) != other(X)).any()
    session = sf.Session(outputs={"sample": sample})
    np.testing.assert_array_equal(one(X), session.run("sample", FED, seed=5))
    again = pickle.loads(pickle.dumps(one))
    assert again.seed == 5
    np.testing.assert_array_equal(again(X), one(X))


def test_jitted_functions_draw_by_the_seed() -> None:
    session = session_of()
    f = session.jit("sample")
    first = f(X)
    np.testing.assert_array_equal(first, session.run("sample", FED, seed=3))
    np.testing.assert_array_equal(first, f(X))


def test_drawing_runs_can_be_looked_at() -> None:
    x = sf.input("x", ("batch", 3))
    session = sf.Session(outputs={"d": x + ops.random.normal(x.shape)})
    session.run("d", FED)
    assert "RUN  x (4, 3)" in session.explain()
    assert session.profile(FED, repeat=2).step_us > 0
    assert session.run_count == 1
