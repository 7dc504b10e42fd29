"""Ctrl-C in the middle of a compilation comes after it; nothing is left half loaded, nor lost."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow.native.toolchain.loader import Loader
from staticflow.native.toolchain.objects import ObjectCode
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.undisturbed import undisturbed


def test_the_work_is_done_before_the_exception() -> None:
    done: list[int] = []

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append(1)

    with pytest.raises(KeyboardInterrupt):
        undisturbed(work)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert undisturbed(lambda: 3) == 3


def test_an_error_of_the_work_is_not_lost() -> None:
    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ValueError("wrong")

    with pytest.raises(KeyboardInterrupt) as caught:
        undisturbed(work)
    assert isinstance(caught.value.__context__, ValueError)
    with pytest.raises(ValueError, match="wrong"):
        undisturbed(lambda: (_ for _ in ()).throw(ValueError("wrong")))


def test_other_threads_and_other_handlers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.append(undisturbed(lambda: signal.getsignal(signal.SIGINT)))
    )
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert undisturbed(lambda: signal.getsignal(signal.SIGINT)) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def small_session(folder: Path) -> sf.Session:
    x = sf.input("x", ("n",))
    session = sf.Session(outputs={"y": x * 2.0 + 1.0})
    session._state.toolchain = Toolchain(folder)
    return session


def test_an_object_is_loaded_and_noted_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the two: the object would be loaded, and its symbols defined, twice."""
    add, link = Loader._add, Loader.link
    added: list[str] = []
    links: list[object] = []

    def interrupted_add(loader: Loader, entry: ObjectCode) -> None:
        signal.raise_signal(signal.SIGINT)
        added.extend(entry.symbols)
        add(loader, entry)

    def interrupted_link(loader: Loader, *arguments: Any) -> Any:
        if not links:
            signal.raise_signal(signal.SIGINT)
        links.append(arguments)
        return link(loader, *arguments)

    session, fed = small_session(tmp_path), {"x": np.ones(3, np.float32)}
    with monkeypatch.context() as patch:
        patch.setattr(Loader, "_add", interrupted_add)
        patch.setattr(Loader, "link", interrupted_link)
        interrupted = 0
        while True:
            try:
                found = session.run("y", fed)
                break
            except KeyboardInterrupt:
                interrupted += 1
    np.testing.assert_array_equal(found, [3, 3, 3])
    counts = session._state.toolchain.counts
    assert len(added) == len(set(added)) > 1, "an object is loaded twice"
    assert len(links) >= 2, "what was linked when Ctrl-C came is linked again"
    assert counts.compiled > interrupted > 1 and counts.loaded == 0
