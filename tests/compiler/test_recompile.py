"""What compiles anew and what does not: sizes are run-time values, and equal kernels are one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.session import function as stateless
from staticflow.session.state import session_state
from tests.support.small_nets import data, regression


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    """A toolchain that has compiled nothing yet."""
    fresh = Toolchain(tmp_path)
    monkeypatch.setattr(session_state, "toolchain", lambda: fresh)
    monkeypatch.setattr(stateless, "toolchain", lambda: fresh)
    return fresh


@contextmanager
def compiles(tools: Toolchain, count: int) -> Iterator[None]:
    before = tools.counts.compiled
    yield
    assert tools.counts.compiled - before == count


def net(sizes: list[int], **options: Any) -> sf.Session:
    x, t = sf.input("x", ("batch", sizes[0])), sf.input("t", ("batch", sizes[-1]))
    y = models.FNN(sizes, activation="tanh")(x)
    options = {"optimizer": sf.optim.Adam(1e-3), **options}
    return sf.Session(loss=ops.mse(y, t), outputs={"y": y}, **options)


def fed(sizes: list[int], rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"x": rng.random((rows, sizes[0])), "t": rng.random((rows, sizes[-1]))}


def use(made: sf.Session, sizes: list[int], rows: int, batch_size: int) -> None:
    """Everything that a session compiles for."""
    made.fit(fed(sizes, rows), batch_size=batch_size, progress=False)
    made.step(fed(sizes, rows))
    made.gradients(fed(sizes, rows))
    made.run("y", {"x": fed(sizes, rows)["x"]})
    made.evaluate(fed(sizes, rows))


def test_other_sizes_compile_nothing(tools: Toolchain) -> None:
    use(net([4, 8, 8, 2], threads=1), [4, 8, 8, 2], 20, 6)
    assert tools.counts.compiled > 5
    with compiles(tools, 0):
        for sizes in ([4, 8, 8, 2], [5, 16, 3, 4], [1, 1, 1, 1], [7, 1, 9, 1], [3, 64, 64, 3]):
            for rows, batch_size in ((20, 6), (1, 1), (33, 32), (8, 50)):
                use(net(sizes, threads=1), sizes, rows, batch_size)


def classifier(width: int, hidden: int, classes: int) -> sf.Session:
    x, labels = sf.input("x", ("batch", width)), sf.input("labels", ("batch",), "int64")
    logits = models.FNN([width, hidden, classes], norm="batch", dropout=0.2)(x)
    loss = ops.softmax_cross_entropy(logits, labels).mean()
    return sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1, momentum=0.9), threads=1)


def test_other_widths_of_a_classifier_compile_nothing(tools: Toolchain) -> None:
    rng = np.random.default_rng(0)
    for turn, (width, hidden, classes) in enumerate([(4, 8, 3), (5, 1, 2), (1, 3, 1), (8, 4, 10)]):
        before = tools.counts.compiled
        rows = {"x": rng.random((9, width)), "labels": rng.integers(0, classes, 9)}
        classifier(width, hidden, classes).fit(rows, batch_size=4, progress=False)
        assert turn == 0 or tools.counts.compiled == before


def recurrent(width: int, hidden: int, cell: str) -> sf.Session:
    x, t = sf.input("x", ("batch", "time", width)), sf.input("t", ("batch", hidden))
    y = models.RNN(hidden, cell)(x, sf.input("lengths", ("batch",), "int64"))
    return sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.Adam(1e-2), threads=1)


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_other_lengths_and_widths_of_a_recurrent_net_compile_nothing(
    tools: Toolchain, cell: str
) -> None:
    for turn, (rows, time, width, hidden) in enumerate(
        [(6, 7, 3, 4), (6, 30, 3, 4), (1, 1, 3, 4), (9, 7, 5, 16), (5, 3, 2, 5), (33, 12, 2, 64)]
    ):
        made, before = recurrent(width, hidden, cell), tools.counts.compiled
        fed = {
            "x": np.zeros((rows, time, width)),
            "t": np.zeros((rows, hidden)),
            "lengths": np.full(rows, time),
        }
        made.fit(fed, batch_size=4, progress=False)
        made.step(fed)
        made.evaluate(fed)
        new = tools.counts.compiled - before
        assert new == 0 if turn else new > 5, (rows, time, width, hidden)


def test_another_rate_or_thread_count_compiles_nothing(tools: Toolchain) -> None:
    sizes = [4, 8, 8, 2]
    use(net(sizes, threads=2), sizes, 20, 6)
    with compiles(tools, 0):
        use(net(sizes, optimizer=sf.optim.Adam(0.5), threads=3, seed=7), sizes, 20, 6)


def test_a_second_process_compiles_nothing(
    tools: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another toolchain on the same directory stands for another process."""
    use(net([4, 8, 2], threads=1), [4, 8, 2], 20, 6)
    again = Toolchain(tmp_path)
    monkeypatch.setattr(session_state, "toolchain", lambda: again)
    use(net([4, 8, 2], threads=1), [4, 8, 2], 20, 6)
    assert again.counts.compiled == 0 and again.counts.loaded > 5


def test_a_deep_net_compiles_each_kernel_once(tools: Toolchain) -> None:
    """Sixteen equal layers have the kernels of three; only the drivers are their own."""
    sizes = [8] * 4
    net(sizes, threads=1).step(fed(sizes, 5))
    shallow = tools.counts.compiled
    sizes = [8] * 17
    net(sizes, threads=1).step(fed(sizes, 5))
    assert tools.counts.compiled - shallow <= 3
    assert shallow > 8


def test_a_moved_line_compiles_nothing(tools: Toolchain) -> None:
    """The user's lines stand in comments, which are no part of the code."""
    x = sf.input("x", ("n",))
    sf.function([x], ops.sum(x * 2.0 + 1.0))
    with compiles(tools, 0):
        other = sf.input("x", ("n",))
        sf.function([other], ops.sum(other * 2.0 + 1.0))


def test_two_sessions_share_what_is_compiled(tools: Toolchain) -> None:
    first = regression(threads=1)
    first.step(data(8))
    with compiles(tools, 0):
        regression(threads=1).step(data(9))


def test_a_constant_array_is_no_part_of_the_code(tools: Toolchain) -> None:
    x = sf.input("x", (3,))
    one = sf.function([x], x * np.array([1.0, 2.0, 3.0], np.float32))
    with compiles(tools, 0):
        y = sf.input("x", (2,))
        other = sf.function([y], y * np.array([5.0, 7.0], np.float32))
    np.testing.assert_array_equal(one([1, 1, 1]), [1, 2, 3])
    np.testing.assert_array_equal(other([1, 1]), [5, 7])
