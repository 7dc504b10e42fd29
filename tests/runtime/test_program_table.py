"""Graphs of one structure have one program, as long as somebody has it; others have their own."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import weakref
from typing import Any

import numba
import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.native.toolchain.toolchain import Toolchain, toolchain
from staticflow.session.state import session_state

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)).astype(np.float32)
T = RNG.standard_normal((40, 2)).astype(np.float32)
DATA = {"x": X, "t": T}


def net(
    seed: int = 0,
    lr: float = 0.1,
    width: int = 5,
    scale: float = 1.0,
    activation: str = "tanh",
    norm: str | None = None,
    dtype: str = "float32",
    optimizer: Any = sf.optim.Adam,
    **options: Any,
) -> sf.Session:
    x, t = sf.input("x", ("batch", 6), dtype), sf.input("t", ("batch", 2), dtype)
    y = models.FNN([6, width, 2], activation, norm=norm, dropout=0.25)(x) * scale
    return sf.Session(
        loss=ops.mse(y, t), outputs={"y": y}, optimizer=optimizer(lr), seed=seed, threads=2,
        **options,
    )  # fmt: skip


def fitted(session: sf.Session) -> sf.Session:
    session.fit(DATA, epochs=2, batch_size=16, progress=False)
    session.run("y", {"x": X})
    return session


def code(session: sf.Session) -> tuple[int, int, int]:
    """Which machine code a session trains and runs with."""
    programs = session._state.programs["batch"]
    assert programs.update is not None
    runner = session._fetches.known["y"].runner
    addresses = (programs.forward.function, programs.update.function, runner.program.function)
    return tuple(function.address for function in addresses)  # type: ignore[return-value]


def origins(session: sf.Session) -> tuple[object, object]:
    """The entries of the table that a session trains and runs with."""
    programs, run = session._state.programs["batch"], session._fetches.known["y"].runner.program
    return programs.origin or programs, run._origin or run


@pytest.mark.parametrize("norm", [None, "batch"])
def test_other_values_are_the_same_structure(norm: str | None) -> None:
    first = fitted(net(norm=norm))
    count = len(toolchain().programs)
    for other in (net(seed=3, norm=norm), net(lr=0.3, norm=norm), net(seed=7, lr=1.0, norm=norm)):
        assert code(fitted(other)) == code(first)
    assert len(toolchain().programs) == count


def test_each_session_has_its_own_values() -> None:
    """Those of a program of its own, bit for bit, while the program is another's first."""
    alone = {seed: dict(fitted(net(seed, norm="batch")).params) for seed in (0, 1)}
    gc.collect()
    first = fitted(net(5, norm="batch"))
    before = {name: value.copy() for name, value in first.params.items()}
    for seed, wanted in alone.items():
        session = fitted(net(seed, norm="batch"))
        for name, value in wanted.items():
            np.testing.assert_array_equal(session.params[name], value)
        feeds = {"x": X[:7]}
        restored = sf.Session(
            outputs=session.outputs, params={**session.params, **session.states}, threads=2
        )
        np.testing.assert_array_equal(session.run("y", feeds), restored.run("y", feeds))
    for name, value in before.items():
        np.testing.assert_array_equal(first.params[name], value)


@pytest.mark.parametrize(
    "changed",
    [
        {"scale": 2.0}, {"activation": "relu"}, {"norm": "layer"}, {"width": 6},
        {"optimizer": sf.optim.RMSProp}, {"freeze": ["fnn.0.*"]},
    ],
)  # fmt: skip
def test_other_structures_have_their_own(changed: dict[str, Any]) -> None:
    first, other = fitted(net()), fitted(net(**changed))
    assert origins(first)[0] is not origins(other)[0]


def test_a_part_that_is_trained_is_its_own_structure() -> None:
    whole, part = fitted(net()), net(freeze=["fnn.0.*"])
    before = part.params["fnn.0.weight"].copy()
    fitted(part)
    np.testing.assert_array_equal(part.params["fnn.0.weight"], before)
    assert (whole.params["fnn.0.weight"] != before).any()


def test_copies_pickles_and_files_share_too(tmp_path: Any) -> None:
    first = fitted(net())
    copied, pickled = copy.deepcopy(first), pickle.loads(pickle.dumps(first))
    first.save(tmp_path / "net.sf")
    loaded = [sf.Session.load(tmp_path / "net.sf") for _ in range(2)]
    assert code(fitted(copied)) == code(first)
    codes = {code(fitted(session)) for session in (pickled, *loaded)}
    assert len(codes) == 1


def test_functions_share() -> None:
    def double(shift: float) -> tuple[Any, Any]:
        x = sf.input("x", ("n", 3))
        w = sf.param("w", (3, 2), init=np.full((3, 2), shift, np.float32))
        return x, sf.function([x, w], ops.tanh(x @ w))

    rows, weights = np.ones((4, 3), np.float32), np.ones((3, 2), np.float32)
    (_, f), (_, g) = double(1.0), double(2.0)
    assert f.runner.program.function == g.runner.program.function
    np.testing.assert_array_equal(f(rows, weights), g(rows, weights))
    np.testing.assert_allclose(g(rows, 2 * weights), np.tanh(np.full((4, 2), 6.0)), rtol=1e-6)


def test_what_goes_last_takes_the_program_with_it() -> None:
    gc.collect()
    before = set(toolchain().programs)
    first, second = fitted(net(scale=1.2345)), fitted(net(scale=1.2345, seed=1))
    own = set(toolchain().programs) - before
    assert len(own) == 2
    wanted = code(first)
    del first
    gc.collect()
    assert own <= set(toolchain().programs)
    assert code(fitted(net(scale=1.2345, seed=2))) == wanted == code(second)
    del second
    gc.collect()
    assert not own & set(toolchain().programs)


def test_custom_ops_are_nobody_elses() -> None:
    @numba.njit
    def twice(x: Any) -> Any:
        return 2 * x

    op = sf.custom_op(twice, infer=lambda x: (x.shape, x.dtype))

    def made() -> Any:
        x = sf.input("x", (3,))
        return sf.function([x], op(x))

    f, g = made(), made()
    assert f.runner.program is not g.runner.program
    np.testing.assert_array_equal(f(np.ones(3, np.float32)), g(np.ones(3, np.float32)))


def test_the_size_of_a_parameter_that_no_loss_reads_is_its_own() -> None:
    def made(size: int) -> sf.Session:
        x, w = sf.input("x", ("batch", 6)), sf.param("w", (6,), init="ones")
        unread = sf.param("u", (size,))
        session = sf.Session(
            loss=ops.square(x * w).mean(), outputs={"u": unread * 2.0},
            optimizer=sf.optim.SGD(0.1), train=[unread, w],
        )  # fmt: skip
        session.fit({"x": X}, epochs=1, batch_size=16, shuffle=False, progress=False)
        return session

    sessions = [made(9), made(5), made(6)]
    for session, size in zip(sessions, (9, 5, 6), strict=True):
        gradients = session._state.programs["batch"].forward.compiled.outputs[1:]
        assert sorted(node.shape for node in gradients) == sorted([(6,), (size,)])
    assert all(np.array_equal(s.params["w"], sessions[0].params["w"]) for s in sessions)


WIDE = RNG.standard_normal((40, 11)).astype(np.float32)


def wider(width: int, features: int = 6) -> sf.Session:
    """A net of the same lines as others, trained and run."""
    x, t = sf.input("x", ("batch", features)), sf.input("t", ("batch", 2))
    y = models.FNN([features, width, 2], "tanh", norm="batch", dropout=0.25)(x)
    session = sf.Session(
        loss=ops.mse(y, t), outputs={"y": y}, optimizer=sf.optim.Adam(0.1), threads=2
    )
    session.fit({"x": WIDE[:, :features], "t": T}, epochs=2, batch_size=16, progress=False)
    session.run("y", {"x": WIDE[:, :features]})
    return session


def everything(session: sf.Session, features: int) -> list[Any]:
    run = session.run("y", {"x": WIDE[:, :features]})
    return [run, *session.params.values(), *session.states.values()]


def test_nets_of_other_widths_are_one_entry_and_compute_what_they_do_by_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    first, other = wider(5), wider(9, 11)
    assert origins(first) == origins(other)
    assert code(first) == code(other)
    fresh = Toolchain(tmp_path)  # whose table has no entries yet
    monkeypatch.setattr(session_state, "toolchain", lambda: fresh)
    for session, arguments in ((first, (5, 6)), (other, (9, 11))):
        alone = wider(*arguments)
        assert origins(alone) != origins(session)
        pairs = zip(everything(session, arguments[1]), everything(alone, arguments[1]), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("sizes", [(6, 6), (2, 6), (1, 6), (5, 2)])
def test_widths_that_mean_more_than_a_size_are_other_structures(sizes: tuple[int, int]) -> None:
    assert origins(wider(5)) != origins(wider(*sizes))


def test_text_tells_the_sizes_of_its_own_session() -> None:
    first, other = wider(5), wider(9, 11)
    for session, width in ((first, 5), (other, 9)):
        features = session.inputs["x"].shape[1]
        profile = session.profile({"x": WIDE[:, :features], "t": T}, repeat=1)
        told = "\n".join([session.explain(), session.source, str(profile)])
        assert not re.search(r"<\d+>", told)
        assert f"float32[batch, {width}]" in session.source


def test_an_entry_holds_nobodys_values() -> None:
    def made(width: int) -> tuple[sf.Session, Any]:
        start = np.full((6, width), 0.5, np.float32)
        x, w = sf.input("x", ("batch", 6)), sf.param("w", (6, width), init=start)
        y = ops.tanh(x @ w)
        optimizer = sf.optim.SGD(0.1)
        session = sf.Session(loss=ops.square(y).mean(), outputs={"y": y}, optimizer=optimizer)
        session.fit({"x": X}, epochs=1, batch_size=16, progress=False)
        session.run("y", {"x": X})
        return session, weakref.ref(start)

    first, start = made(5)
    other, _ = made(7)
    assert origins(first) == origins(other)
    del first
    gc.collect()
    assert start() is None
    assert other.run("y", {"x": X}).shape == (40, 7)


def test_functions_of_other_sizes_share_and_refuse_by_their_own() -> None:
    def made(size: int) -> Any:
        x = sf.input("x", ("n", size))
        return sf.function(x, ops.tanh(x[2:] * 2.0).sum(1))

    f, g = made(5), made(8)
    assert f.runner.program.function == g.runner.program.function
    for function, size in ((f, 5), (g, 8)):
        rows = RNG.standard_normal((4, size)).astype(np.float32)
        np.testing.assert_allclose(function(rows), np.tanh(2 * rows[2:]).sum(1), rtol=1e-5)
        with pytest.raises(sf.ShapeError, match=r"n = 1; n - 2 must not be negative"):
            function(rows[:1])
        with pytest.raises(sf.ShapeError, match=rf"\(n, {size}\)"):
            function(rows[:, 1:])
