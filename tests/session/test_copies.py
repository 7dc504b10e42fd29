"""Copies of sessions and functions: by copy.deepcopy, and through pickle to another process."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.dims import Dim, floor_divide
from staticflow.optim import algorithms as optim

Array = np.ndarray[Any, Any]
ROWS = {
    "x": np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32),
    "label": np.random.default_rng(1).integers(0, 4, 50),
}


def classifier() -> tuple[sf.Session, sf.Node]:
    """With dropout, batch norm (states) and an optimizer that has slots."""
    x, label = sf.input("x", ("batch", 6)), sf.input("label", ("batch",), "int64")
    y = models.FNN([6, 9, 4], dropout=0.2, norm="batch")(x)
    loss = ops.softmax_cross_entropy(y, label).mean()
    return sf.Session(loss, {"y": y}, optimizer=optim.AdamW(1e-2), seed=3, threads=1), y


def trained() -> tuple[sf.Session, sf.Node]:
    session, y = classifier()
    fit(session)
    session.extra["names"] = ["a", "b"]
    return session, y


def fit(session: sf.Session) -> list[dict[str, float]]:
    return session.fit(ROWS, epochs=2, batch_size=16, progress=False).epochs


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


WAYS = [copy.copy, copy.deepcopy, through_pickle]


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_session_trains_on_as_the_original_would(way: Callable[[Any], Any]) -> None:
    session, _ = trained()
    new = way(session)
    assert (new.step_count, new.epoch_count, new.seed) == (8, 2, 3)
    before = {name: np.array(values) for name, values in session.params.items()}
    goes_on = fit(new)
    for name, values in before.items():
        np.testing.assert_array_equal(session.params[name], values)  # none of it is shared
    new.extra["names"].append("c")
    assert session.extra["names"] == ["a", "b"]
    assert fit(session) == goes_on
    for store, other in ((session.params, new.params), (session.states, new.states)):
        assert list(store) == list(other)
        for name in store:
            np.testing.assert_array_equal(store[name], other[name])


def test_a_deep_copy_takes_the_nodes_of_the_original() -> None:
    session, y = trained()
    feeds = {"x": ROWS["x"]}
    found = copy.deepcopy({"held": session})["held"].run(y, feeds)
    np.testing.assert_array_equal(found, session.run(y, feeds))


def test_another_process_reads_a_pickled_session(tmp_path: Path) -> None:
    session, _ = trained()
    (tmp_path / "session.pickle").write_bytes(pickle.dumps(session))
    np.save(tmp_path / "x.npy", ROWS["x"])
    code = (
        "import pickle, numpy as np\n"
        "session = pickle.load(open('session.pickle', 'rb'))\n"
        "np.save('y.npy', session.run('y', {'x': np.load('x.npy')}))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), session.run("y", {"x": ROWS["x"]}))


def test_a_session_with_a_custom_op_is_copied_but_not_pickled() -> None:
    @numba.njit
    def twice(x):
        return 2.0 * x

    x = sf.input("x", ("n",), "float64")
    session = sf.Session(outputs={"y": sf.custom_op(twice)(x)})
    np.testing.assert_array_equal(copy.deepcopy(session).run("y", {"x": [1.0, 2.0]}), [2.0, 4.0])
    with pytest.raises(sf.GraphError, match=r"twice cannot be saved\n  at test_copies.py:"):
        pickle.dumps(session)


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_a_session_s_parameters_are_values(way: Callable[[Any], Any]) -> None:
    session, _ = classifier()
    kept = way(session.params)
    assert list(kept) == list(session.params)
    if way is not copy.copy:
        session.params["fnn.0.weight"][:] = 7.0
        assert not (kept["fnn.0.weight"] == 7.0).any()
    session.load_params(kept)
    np.testing.assert_array_equal(session.params["fnn.0.weight"], kept["fnn.0.weight"])


@pytest.mark.parametrize("way", WAYS)
def test_functions_are_copied_and_pickled(way: Callable[[Any], Any]) -> None:
    x, w = sf.input("x", ("n", 3)), sf.param("w", (3, 2))
    f = way(sf.function([x, w], {"y": ops.tanh(x @ w), "rest": [x[1:]]}))
    a, b = np.ones((4, 3), np.float32), np.full((3, 2), 0.1, np.float32)
    found = f(a, w=b)
    np.testing.assert_allclose(found["y"], np.tanh(a @ b), rtol=1e-6)
    np.testing.assert_array_equal(found["rest"][0], a[1:])


@pytest.mark.parametrize("way", WAYS)
def test_models_are_copied_and_pickled_before_they_are_called(way: Callable[[Any], Any]) -> None:
    x = sf.input("x", ("batch", 3))
    y = way(models.FNN([3, 4, 2], activation="relu"))(x)
    assert sorted(sf.Session(outputs=y).params) == [
        "fnn.0.bias", "fnn.0.weight", "fnn.1.bias", "fnn.1.weight",
    ]  # fmt: skip


def test_functions_of_ops_are_found_where_users_find_them() -> None:
    for name in ops.__all__:
        function = getattr(ops, name)
        assert not callable(function) or pickle.loads(pickle.dumps(function)) is function, name


def test_nodes_are_their_own_copies_and_are_not_pickled_alone() -> None:
    y = 2.0 * sf.input("x", ("n",))
    assert copy.copy(y) is copy.deepcopy([y])[0] is y
    with pytest.raises(sf.GraphError, match="a node cannot be pickled by itself"):
        pickle.dumps(y)


@pytest.mark.parametrize("way", WAYS)
def test_sizes_are_copied(way: Callable[[Any], Any]) -> None:
    size = floor_divide(Dim.named("time") * 2 - 1, 3) + Dim.named("batch")
    new = way(size)
    assert new == size and hash(new) == hash(size) and repr(new) == repr(size)
    assert isinstance(new, Dim) and new.evaluate({"time": 5, "batch": 2}) == 5
