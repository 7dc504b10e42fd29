"""Sessions of several members."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3)).astype(np.float32)
DATA = {"x": X, "t": X[:, :1] ** 2}


def made(**settings: Any) -> sf.Session:
    x, t = sf.input("x", ("batch", 3)), sf.input("t", ("batch", 1))
    y = models.FNN([3, 4, 1], norm="batch", dropout=0.1)(x)
    noisy = y + ops.random.normal(y.shape)
    return sf.Session(
        loss=ops.mse(y, t),
        outputs={"y": y, "noisy": noisy},
        optimizer=sf.optim.Adam(1e-2),
        **settings,
    )


def trained(**settings: Any) -> sf.Session:
    session = made(**settings)
    session.fit(DATA, epochs=2, progress=False, shuffle="own")
    return session


def test_everything_exists_for_each_member() -> None:
    whole = made(members=5, seed=3)
    assert isinstance(whole, sf.Session)
    assert whole.params["fnn.0.weight"].shape == (5, 3, 4)
    assert whole.states["fnn.0.norm.running_mean"].shape == (5, 4)
    for k in range(5):
        single = made(seed=3 + k)
        np.testing.assert_array_equal(
            whole.params["fnn.0.weight"][k], single.params["fnn.0.weight"]
        )
    whole.params["fnn.0.bias"] = np.arange(4)  # of each
    np.testing.assert_array_equal(whole.params["fnn.0.bias"], [np.arange(4)] * 5)


@pytest.mark.parametrize("threads", [1, 4])
def test_what_members_compute_is_what_their_sessions_do(threads: int) -> None:
    whole = trained(members=3, threads=threads)
    singles = [trained(seed=k, threads=1) for k in range(3)]
    for rows in (1, 40):
        feeds = {"x": X[:rows]}
        found = whole.run(["y", {"n": "noisy"}], feeds)
        expected = [single.run(["y", {"n": "noisy"}], feeds) for single in singles]
        np.testing.assert_array_equal(found[0], [own[0] for own in expected])
        np.testing.assert_array_equal(found[1]["n"], [own[1]["n"] for own in expected])
    again = whole.run("noisy", {"x": X}, seed=9)
    np.testing.assert_array_equal(again, [s.run("noisy", {"x": X}, seed=9) for s in singles])
    np.testing.assert_array_equal(whole.run_count, 2)
    losses = whole.evaluate(DATA, batch_size=16)["loss"]
    np.testing.assert_array_equal(
        losses, [s.evaluate(DATA, batch_size=16)["loss"] for s in singles]
    )


def test_feeds_may_be_a_members_own_and_results_are_reduced() -> None:
    whole = trained(members=3)
    own = np.stack([X, 2 * X, 3 * X])
    found = whole.run("y", {"x": own})
    for k in range(3):
        np.testing.assert_array_equal(found[k], whole.member(k).run("y", {"x": own[k]}))
    mean, deviation = whole.run({"y": "y"}, {"x": own}, reduce=("mean", "std"))
    np.testing.assert_allclose(mean["y"], found.mean(axis=0))
    np.testing.assert_allclose(deviation["y"], found.std(axis=0))
    assert whole.evaluate(DATA, reduce="mean")["loss"].shape == ()
    with pytest.raises(sf.GraphError, match="input 'x' are 2, of 3 members"):
        whole.run("y", {"x": own[:2]})
    with pytest.raises(sf.GraphError, match="reduce says"):
        whole.run("y", {"x": X}, reduce="median")


def test_a_member_is_a_session_in_the_same_memory() -> None:
    whole = trained(members=3)
    member = whole.member(1)
    assert member is whole.member(-2)
    assert not hasattr(type(member), "members") and member.threads == 1 and member.seed == 1
    single = trained(seed=1, threads=1)
    for session in (member, single):
        session.fit(DATA, epochs=2, progress=False)
    np.testing.assert_array_equal(whole.params["fnn.1.weight"][1], single.params["fnn.1.weight"])
    np.testing.assert_array_equal(whole.step_count, [4, 8, 4])
    whole.params["fnn.1.bias"] = 5.0 * np.ones(1)
    assert member.params["fnn.1.bias"][0] == 5.0
    f = member.jit("y")
    np.testing.assert_array_equal(f(X), member.run("y", {"x": X}))
    alone = copy.deepcopy(member)
    alone.fit(DATA, progress=False)
    assert not np.array_equal(alone.params["fnn.1.bias"], member.params["fnn.1.bias"])
    with pytest.raises(sf.GraphError, match="there is no member 3"):
        whole.member(3)
    with pytest.raises(sf.GraphError, match="for one member of several"):
        member.seed = 4


def test_jitted_code_calls_all_members() -> None:
    whole = trained(members=3)
    f = whole.jit("y")
    np.testing.assert_array_equal(f(X), whole.run("y", {"x": X}))
    out = np.empty((3, 7, 1), np.float32)
    f(X[:7], out)
    np.testing.assert_array_equal(out, whole.run("y", {"x": X[:7]}))
    with pytest.raises(ValueError, match="out expects shape"):
        f(X[:7], out[:2])


@pytest.mark.parametrize("way", ["file", "pickle", "copy"])
def test_training_goes_on_bit_for_bit(way: str, tmp_path: Path) -> None:
    whole = trained(members=3, seed=2, threads=2)
    whole.run("noisy", {"x": X})
    if way == "file":
        whole.save(tmp_path / "whole.sf")
        other = sf.Session.load(tmp_path / "whole.sf", threads=1)
    else:
        other = pickle.loads(pickle.dumps(whole)) if way == "pickle" else copy.deepcopy(whole)
    for session in (whole, other):
        session.fit(DATA, epochs=2, progress=False, shuffle="own")
    for name, values in whole.params.items():
        np.testing.assert_array_equal(other.params[name], values)
    np.testing.assert_array_equal(other.step_count, whole.step_count)
    np.testing.assert_array_equal(other.run("noisy", {"x": X}), whole.run("noisy", {"x": X}))


def test_attributes_count_from_the_next_step_on() -> None:
    whole, single = trained(members=2), trained(seed=1, threads=1)
    whole.optimizer = sf.optim.Adam([1e-3, 1e-1])
    single.optimizer = sf.optim.Adam(1e-1)
    for session in (whole, single):
        session.fit(DATA, progress=False, shuffle="own")
    np.testing.assert_array_equal(whole.params["fnn.1.bias"][1], single.params["fnn.1.bias"])
    assert whole.member(1).optimizer.lr == 1e-1
    whole.optimizer, single.optimizer = sf.optim.SGD(1e-3), sf.optim.SGD(1e-3)
    whole.seed, single.seed = 5, 6
    for session in (whole, single):
        session.fit(DATA, progress=False, shuffle="own")
    np.testing.assert_array_equal(whole.params["fnn.1.bias"][1], single.params["fnn.1.bias"])
    whole.step_count = [3, 4]
    np.testing.assert_array_equal(whole.step_count, [3, 4])
    with pytest.raises(sf.GraphError, match="step_count are 3, of 2 members"):
        whole.step_count = [1, 2, 3]


@pytest.mark.parametrize("members", [None, 3])
def test_a_session_is_reset(members: int | None) -> None:
    session, new = trained(members=members, seed=4), made(members=members, seed=8)
    session.reset(seed=8)
    for each in (session, new):
        each.fit(DATA, epochs=2, progress=False, shuffle="own")
    for name, values in new.params.items():
        np.testing.assert_array_equal(session.params[name], values)
    np.testing.assert_array_equal(session.step_count, new.step_count)


def test_a_run_beside_a_fit_sees_whole_steps() -> None:
    x = sf.input("x", ("batch", 1))
    a, b = sf.param("a", (256,), "zeros"), sf.param("b", (256,), "zeros")
    loss = -((a + b).mean() + 0.0 * x.mean())
    whole = sf.Session(
        loss=loss, outputs={"d": a - b}, optimizer=sf.optim.SGD(1.0), members=3, threads=2
    )
    data = {"x": np.zeros((4000, 1), np.float32)}
    fit = threading.Thread(target=lambda: whole.fit(data, 20, batch_size=1, progress=False))
    fit.start()
    runs = 0
    while fit.is_alive():
        assert not whole.run("d").any()
        assert not whole.member(1).run("d").any()
        runs += 1
    fit.join()
    assert runs > 1 and whole.params["a"].any()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_the_child_of_a_fork_trains_on() -> None:
    whole = trained(members=3, threads=2)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            whole.fit(DATA, progress=False)
            code = 0 if (whole.step_count == 6).all() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
