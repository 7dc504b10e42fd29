"""Compile caches that are damaged, foreign or cannot be used: all are healed or done without."""

from __future__ import annotations

import os
import random
import tempfile
import warnings
from pathlib import Path

import staticflow as sf
from staticflow.native.toolchain.toolchain import Toolchain


class Caches:
    """Something happens to some of the entries; the next process compiles them again."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.compiled = self._run(Path(folder))
            assert self._run(Path(folder)) == 0

    def _run(self, folder: Path) -> int:
        """A right answer, by a toolchain that begins with nothing; how much it compiled."""
        x = sf.input("x", ("n",))
        session = sf.Session(outputs={"y": x * 2.0 + 1.0})
        session._state.toolchain = Toolchain(folder)
        assert session.run("y", {"x": [1.0, 2.0]}).tolist() == [3, 5]
        return session._state.toolchain.counts.compiled

    def __call__(self, draw: random.Random) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if draw.randrange(8) == 0:
                return self.unusable(draw, folder)
            self._run(folder)
            entries = sorted(folder.rglob("*.sfo"))
            chosen = draw.sample(entries, draw.randint(1, len(entries)))
            contents = [entry.read_bytes() for entry in entries]
            for entry in chosen:
                self._damage(draw, entry, contents)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                again = self._run(folder)
            changed = sum(e.read_bytes() != c for e, c in zip(entries, contents, strict=True))
            assert again <= len(chosen) and changed == 0
            assert self._run(folder) == 0

    def _damage(self, draw: random.Random, entry: Path, contents: list[bytes]) -> None:
        data = entry.read_bytes()
        kind = draw.randrange(5)
        if kind == 0:
            entry.write_bytes(data[: draw.randrange(len(data))])
        elif kind == 1:
            at = draw.randrange(len(data))
            entry.write_bytes(
                data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
            )
        elif kind == 2:
            entry.write_bytes(draw.randbytes(draw.randrange(5000)))
        elif kind == 3:  # another entry in its place, which may be itself
            entry.write_bytes(draw.choice(contents))
        else:
            entry.unlink()
            draw.choice((entry.mkdir, lambda: os.mkfifo(entry), lambda: None))()

    def unusable(self, draw: random.Random, folder: Path) -> None:
        """No directory, and none that can be made."""
        file = folder / "file"
        file.write_bytes(b"")
        where = draw.choice((file, file / "below", Path("/proc/none"), Path("/dev/null/cache")))
        assert self._run(where) == self.compiled
