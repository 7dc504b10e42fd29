"""Sessions apart from fit: values, running, stepping, gradients, states, looking inside."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.runtime.interpreter import interpret
from tests.support.small_nets import assert_same, data, regression, values

FED = data(20)


def test_parameters_are_live_and_in_order_of_declaration() -> None:
    session = regression()
    assert list(session.params) == ["fnn.0.weight", "fnn.0.bias", "fnn.1.weight", "fnn.1.bias"]
    weight = session.params["fnn.0.weight"]
    session.step(FED)
    assert weight is session.params["fnn.0.weight"]
    before = session.run("y", {"x": FED["x"]})
    session.params["fnn.1.bias"][...] += 1.0
    np.testing.assert_allclose(session.run("y", {"x": FED["x"]}), before + 1.0, 1e-5)
    session.params["fnn.1.bias"] = [2.0]
    np.testing.assert_array_equal(session.params["fnn.1.bias"], [2.0])
    with pytest.raises(sf.GraphError, match=r"'fnn\.1\.bias' has shape"):
        session.params["fnn.1.bias"] = [2.0, 3.0]
    with pytest.raises(KeyError, match="there is no parameter 'nope'"):
        session.params["nope"]


def test_seeds_give_values() -> None:
    assert_same(values(regression(seed=5)), values(regression(seed=5)))
    assert np.any(regression(seed=5).params["fnn.0.weight"] != regression().params["fnn.0.weight"])


def test_initial_values_from_arrays_mappings_and_sessions() -> None:
    first = regression(seed=1)
    copied = regression(params=first.params)
    assert_same(values(copied), values(first))
    copied.step(FED)
    assert np.any(copied.params["fnn.0.weight"] != first.params["fnn.0.weight"])
    part = regression(params={"fnn.1.bias": [7.0]})
    assert part.params["fnn.1.bias"] == 7.0


def test_fetches_by_name_node_and_structure() -> None:
    session = regression()
    y, fed = session.outputs["y"], {"x": FED["x"]}
    expected = session.run("y", fed)
    np.testing.assert_array_equal(session.run(y, {session.inputs["x"]: FED["x"]}), expected)
    found = session.run({"a": ["y", (y,)], "b": y * 2.0}, fed)
    np.testing.assert_array_equal(found["a"][1][0], expected)
    np.testing.assert_array_equal(found["b"], 2 * expected)
    np.testing.assert_array_equal(session(x=FED["x"])["y"], expected)
    assert session.run("loss", FED).shape == session.run("mae", FED).shape == ()


def test_a_step_returns_the_loss_before_its_update() -> None:
    session = regression()
    before = float(session.run("loss", FED))
    assert session.step(FED) == pytest.approx(before, rel=1e-5)
    assert float(session.run("loss", FED)) < before
    assert session.step_count == 1


def test_gradients_change_nothing_and_match_the_graph() -> None:
    session = regression()
    before = values(session)
    found = session.gradients(FED)
    assert_same(values(session), before)
    assert session.step_count == 0
    names = list(session.params)
    nodes = [session.params.nodes[name] for name in names]
    env = {node: FED[name] for name, node in session.inputs.items()}
    env |= {node: session.params[name] for name, node in zip(names, nodes, strict=True)}
    assert session.loss is not None
    for name, expected in zip(names, interpret(sf.grad(session.loss, nodes), env), strict=True):
        np.testing.assert_allclose(found[name], expected, 1e-4, 1e-6)


def test_a_loss_without_rows_steps() -> None:
    w = sf.param("w", (3,), init=np.array([1.0, 2.0, 3.0]))
    session = sf.Session(loss=ops.sum(ops.square(w)), optimizer=sf.optim.SGD(0.25))
    assert session.step({}) == pytest.approx(14.0)
    np.testing.assert_allclose(session.params["w"], [0.5, 1.0, 1.5])


def test_states_are_set_by_steps_only() -> None:
    """One state that its own update does not read, one that counts, two that swap."""
    x = sf.input("x", ("batch", 2))
    mean, count = sf.state("mean", (2,)), sf.state("count", (), dtype="int64")
    a, b = sf.state("a", (), init="ones"), sf.state("b", ())
    sf.update(mean, x.mean(axis=0))
    sf.update(count, count + 1)
    sf.update(a, b)
    sf.update(b, a)
    loss = ops.mean(ops.square(x @ sf.param("w", (2, 1)))) + 0.0 * (mean.sum() + a + b)
    session = sf.Session(
        loss=loss + 0.0 * count.astype("float32"), outputs=a, optimizer=sf.optim.SGD(0.1)
    )
    rows = np.arange(6.0, dtype="f4").reshape(3, 2)
    session.gradients({"x": rows})
    session.evaluate({"x": rows})
    assert session.states["count"] == 0 and session.states["a"] == 1.0
    for k in range(1, 4):
        session.step({"x": rows})
        assert session.states["count"] == k
        assert (session.states["a"], session.states["b"]) == ((0, 1) if k % 2 else (1, 0))
    np.testing.assert_allclose(session.states["mean"], rows.mean(axis=0))
    assert session.run(session.outputs) == 0.0


def test_a_state_that_nothing_reads_follows_its_update() -> None:
    """An average of the loss, and one of it; not what needs more than the loss does."""
    x, other = (sf.input(name, ("batch", 2)) for name in ("x", "other"))
    w = sf.param("w", (2, 1))
    loss = ops.mean(ops.square(x @ w))
    last, older = sf.state("last", ()), sf.state("older", ())
    sf.update(last, loss)
    sf.update(older, 1.0 * last)
    elsewhere, counted = sf.state("elsewhere", (2,)), sf.state("counted", ())
    sf.update(elsewhere, other.mean(axis=0))
    sf.update(counted, counted + 1.0)  # follows from nothing
    session = sf.Session(loss=loss, outputs={"z": other + 1.0}, optimizer=sf.optim.SGD(0.1))
    assert list(session.states) == ["last", "older"]
    rows = np.arange(6.0, dtype="f4").reshape(3, 2)
    steps = [session.step({"x": rows}) for _ in range(2)]
    assert [session.states["older"], session.states["last"]] == pytest.approx(steps)
    again = pickle.loads(pickle.dumps(session))
    again.step({"x": rows})
    session.step({"x": rows})
    assert again.states["last"] == session.states["last"] != pytest.approx(steps[1])
    with pytest.raises(sf.GraphError, match="uses state 'counted', which is not this session's"):
        session.run(counted)
    both = sf.Session(loss=loss, outputs=[elsewhere, counted], optimizer=sf.optim.SGD(0.1))
    both.step({"x": rows, "other": rows})
    assert both.states["counted"] == 1.0
    np.testing.assert_array_equal(both.states["elsewhere"], rows.mean(axis=0))


def test_modes_differ_where_the_graph_says_so() -> None:
    x = sf.input("x", ("batch", 4))
    y = models.FNN([4, 8, 1], norm="batch", dropout=0.5)(x)
    session = sf.Session(loss=ops.square(y).mean(), outputs=y, optimizer=sf.optim.SGD(0.1))
    again = session.run(session.outputs, {"x": FED["x"]})
    np.testing.assert_array_equal(session.run(session.outputs, {"x": FED["x"]}), again)
    losses = {session.gradients({"x": FED["x"]})["fnn.1.bias"].item() for _ in range(2)}
    assert len(losses) == 1, "gradients at one step count draw the same"
    session.step({"x": FED["x"]})
    assert session.gradients({"x": FED["x"]})["fnn.1.bias"].item() not in losses
    assert np.any(session.states["fnn.0.norm.running_mean"] != 0)


def test_parameters_that_are_not_trained_stay() -> None:
    x = sf.input("x", ("batch", 4))
    fixed = sf.param("fixed", (4, 1), trainable=False)
    slow, fast = (sf.param(n, (4, 1), lr_scale=s) for n, s in (("slow", 0.5), ("fast", 1.0)))
    loss = ops.square(x @ (fixed + slow + fast) - 1.0).mean()
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1))
    before = values(session)
    session.step({"x": FED["x"]})
    np.testing.assert_array_equal(session.params["fixed"], before["fixed"])
    moved = {n: session.params[n] - before[n] for n in ("slow", "fast")}
    np.testing.assert_allclose(moved["fast"], 2 * moved["slow"], 1e-4)
    assert set(session.gradients({"x": FED["x"]})) == {"slow", "fast"}


def test_decay_spares_what_is_exempt() -> None:
    x = sf.input("x", ("batch", 4))
    w, b = sf.param("w", (4, 1), "ones"), sf.param("b", (1,), "ones", decay=False)
    loss = 0.0 * (x @ w + b).sum()
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1, weight_decay=0.5))
    session.step({"x": FED["x"]})
    np.testing.assert_allclose(session.params["w"], 0.95)
    np.testing.assert_array_equal(session.params["b"], 1.0)


def test_double_precision() -> None:
    rows = data(20, "float64")
    single, double = regression(), regression(dtype="float64")
    double.load_params({name: array for name, array in single.params.items()})
    assert double.params["fnn.0.weight"].dtype == np.float64
    for _ in range(3):
        assert double.step(rows) == pytest.approx(single.step(rows), rel=1e-4)
    assert double.run("y", {"x": rows["x"]}).dtype == np.float64


def test_evaluate_counts_rows() -> None:
    session = regression()
    whole = session.evaluate(FED)
    assert whole == pytest.approx(session.evaluate(FED, batch_size=7), rel=1e-5)
    assert whole["mae"] == pytest.approx(float(session.run("mae", FED)), rel=1e-5)
    halves = iter([{k: v[:13] for k, v in FED.items()}, {k: v[13:] for k, v in FED.items()}])
    assert whole == pytest.approx(session.evaluate(lambda: halves), rel=1e-5)


def test_explanations_name_the_users_lines() -> None:
    session = regression()
    session.fit(FED, progress=False)
    text = session.explain()
    for part in ("GRAPH", "KERNELS", "MEMORY", "SHARDS", "CHOICE", "small_nets.py"):
        assert part in text
    assert "def forward_backward(T, S):" in session.source and "def update(T, S):" in session.source


def test_a_profile_changes_nothing() -> None:
    session = regression(sf.optim.Adam(0.1))
    before = values(session)
    profile = session.profile(FED, repeat=5)
    assert_same(values(session), before)
    assert profile.step_us > 0 and "dot" in str(profile)
    twin = regression(sf.optim.Adam(0.1))
    assert session.step(FED) == twin.step(FED)
    assert_same(values(session), values(twin))


def test_a_profile_of_outputs() -> None:
    x = sf.input("x", ("batch", 3))
    session = sf.Session(outputs={"y": models.FNN([3, 4, 2])(x), "z": ops.exp(x).sum()})
    profile = session.profile({"x": np.ones((5, 3))}, repeat=3)
    assert profile.step_us > 0 and "dot" in str(profile) and "exp" in str(profile)


def test_a_profile_looks_into_loops() -> None:
    x, t = sf.input("x", ("batch", "time", 3)), sf.input("t", ("batch", 4))
    session = sf.Session(loss=ops.mse(models.RNN(4, "gru")(x), t), optimizer=sf.optim.SGD(0.1))
    profile = session.profile({"x": np.ones((2, 5, 3)), "t": np.ones((2, 4))}, repeat=5)
    loops = [k for k, (_, what) in enumerate(profile.rows) if what.startswith("scan")]
    for k in loops:
        inner = [us for us, what in profile.rows[k + 1 : k + 3] if what.startswith("    ")]
        assert len(inner) == 2 and 0 < sum(inner) < profile.rows[k][0]
    outside = [us for us, what in profile.rows if not what.startswith(" ")]
    assert len(loops) == 2 and sum(outside) == pytest.approx(profile.step_us)


def test_loading_is_all_or_nothing() -> None:
    session = regression()
    before = values(session)
    good = np.ones((4, 8))
    for bad in ({"fnn.0.weight": good, "nope": good}, {"fnn.0.weight": good, "fnn.0.bias": good}):
        with pytest.raises(sf.GraphError):
            session.load_params(bad)
        assert_same(values(session), before)


def test_a_fetch_passes_over_inputs_that_only_the_loss_needs() -> None:
    x, t, w = sf.input("x", ("batch", 3)), sf.input("t", ("batch", 3)), sf.param("w", (3,))
    session = sf.Session(loss=ops.mse(x * w, t), outputs={"y": x * w})
    value = np.ones((2, 3), np.float32)
    expected = session.run("y", {"x": value})
    np.testing.assert_array_equal(session.run("y", {"x": value, "t": value}), expected)
    np.testing.assert_array_equal(session(x=value, t=value)["y"], expected)
    with pytest.raises(sf.GraphError, match="there is no input 'z'"):
        session.run("y", {"x": value, "z": value})


def test_a_step_on_no_rows_is_refused_and_changes_nothing() -> None:
    x, w = sf.input("x", ("batch", 3)), sf.param("w", (3,))
    session = sf.Session(loss=(x * w).mean(), optimizer=sf.optim.SGD(0.1))
    before = session.params["w"].copy()
    for call in (session.step, session.gradients):
        with pytest.raises(sf.GraphError, match="the batch has no rows"):
            call({"x": np.zeros((0, 3))})
    np.testing.assert_array_equal(session.params["w"], before)


def test_an_input_that_gives_nothing_but_a_size() -> None:
    x, w = sf.input("x", ("batch", 4)), sf.param("w", (4,), init="ones")
    noise = ops.uniform(x.shape)
    session = sf.Session(
        loss=((w - noise) ** 2).mean(),
        outputs={"y": 2.0 * x, "noise": noise, "ones": ops.ones(x.shape).sum()},
        optimizer=sf.optim.SGD(0.1),
    )
    for rows in (3, 5):
        feeds = {"x": np.zeros((rows, 4), np.float32)}
        assert session.run("noise", feeds).shape == (rows, 4)
        assert session.run("ones", {x: feeds["x"]}) == 4 * rows
        assert 0.0 < session.step(feeds) < 1.0
    history = session.fit(feeds, epochs=2, batch_size=2, progress=False)
    assert history.epochs[1]["loss"] < history.epochs[0]["loss"] and session.step_count == 8
    with pytest.raises(sf.GraphError, match="no value for input 'x'"):
        session.run("noise")


def test_a_size_that_no_input_gives_is_asked_for() -> None:
    x, z = sf.input("x", ("batch", 4)), sf.input("z", ("n",))
    with pytest.raises(sf.GraphError, match="the size of dimension 'batch' is not known"):
        sf.Session(outputs={"noise": ops.uniform(x.shape)}).run("noise")
    with pytest.raises(sf.GraphError, match="the size of dimension 'batch' is not known"):
        sf.function([z], (ops.zeros(x.shape), z))([1.0])
