"""Limits that a system sets: of files' sizes, open files, memory and threads."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import staticflow as sf
from staticflow.native.toolchain.toolchain import Toolchain
from tests.support.child_processes import succeeds
from tests.support.small_nets import assert_same, data, regression, values


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextlib.contextmanager
def limit(kind: int, most: int) -> Iterator[None]:
    """A soft limit of this process, which it has no more in the end."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


class Limits:
    """Each in a process of its own, which must not end by a signal."""

    def __init__(self) -> None:
        self.fed = data(64)
        self.session = regression(sf.optim.Adam(1e-3), hidden=200, threads=2)
        self.session.fit(self.fed, batch_size=16, progress=False)
        x = sf.input("x", ("n",))
        self.function = sf.function([x], x * 2.0 + 1.0)
        self.function(np.zeros(4, np.float32))
        self.large = {name: array for name, array in data(200_000).items()}

    def __call__(self, draw: random.Random) -> None:
        case = draw.choice((self.disk, self.cache, self.files, self.memory, self.threads))
        with tempfile.TemporaryDirectory() as folder:
            succeeds(lambda: case(draw, Path(folder)))

    def disk(self, draw: random.Random, folder: Path) -> None:
        """A file that cannot grow on: what was there stays, nothing is left beside it."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path = folder / "model.sf"
        self.session.save(path)
        before = values(self.session)
        size = path.stat().st_size
        self.session.fit(self.fed, batch_size=16, progress=False)
        refused = False
        with limit(resource.RLIMIT_FSIZE, draw.randrange(size)):
            try:
                self.session.save(path)
            except OSError:
                refused = True
        assert refused and _names(folder) == ["model.sf"]
        assert_same(values(sf.Session.load(path)), before)
        self.session.save(path)
        assert_same(values(sf.Session.load(path)), values(self.session))

    def cache(self, draw: random.Random, folder: Path) -> None:
        """A compile cache that cannot grow on: everything works without."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        x = sf.input("x", ("n",))
        session = sf.Session(outputs={"y": x * 2.0 + 1.0})
        session._state.toolchain = Toolchain(folder)
        with limit(resource.RLIMIT_FSIZE, draw.randrange(20_000)):
            assert session.run("y", {"x": [1.0, 2.0]}).tolist() == [3, 5]
        session._state.toolchain = Toolchain(folder)
        assert session.run("y", {"x": [1.0, 2.0]}).tolist() == [3, 5]

    def files(self, draw: random.Random, folder: Path) -> None:
        """No file can be opened: training needs none, a save is refused."""
        path = folder / "model.sf"
        self.session.save(path)
        held = len(_names(Path("/proc/self/fd")))
        with limit(resource.RLIMIT_NOFILE, held - 1 + draw.randrange(2)):
            self.session.fit(self.fed, epochs=3, batch_size=16, progress=False)
            for use in (lambda: self.session.save(path), lambda: sf.Session.load(path)):
                try:
                    use()
                except OSError:
                    pass
        assert _names(folder) == ["model.sf"]
        self.session.save(path)
        assert_same(values(sf.Session.load(path)), values(self.session))

    def memory(self, draw: random.Random, folder: Path) -> None:
        """MemoryError for what does not fit; the function and the session go on."""
        large = np.zeros(draw.randrange(10, 50) << 20, np.float32)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        with limit(resource.RLIMIT_AS, used + draw.randrange(large.nbytes)):
            try:
                self.function(large)
            except MemoryError:
                found = self.function(large[:2])
            assert found.tolist() == [1, 1]
            self.session.fit(self.fed, batch_size=16, progress=False)

    def threads(self, draw: random.Random, folder: Path) -> None:
        """No thread can be started: RuntimeError, or it is done without; afterwards it works."""
        real, allowed = threading.Thread.start, draw.randrange(3)

        def start(thread: threading.Thread) -> None:
            nonlocal allowed
            if not allowed:
                raise RuntimeError("can't start new thread")
            allowed -= 1
            real(thread)

        fresh: Any = regression(sf.optim.Adam(1e-3), hidden=200, threads=2)
        with mock.patch.object(threading.Thread, "start", start):
            try:
                fresh.fit(self.large, batch_size=10_000, progress=False)
            except RuntimeError as error:
                assert "thread" in str(error)
        fresh.fit(self.large, batch_size=10_000, progress=False)
        fresh.fit(self.fed, batch_size=16, progress=False)
