"""Tries mutated files, each by its number, in a process that watches itself; see `try_files`.

Started by the campaign `hostile_files`, it takes numbers from its standard input, one a line, and
answers each with a line of JSON. Its address space is limited; an audit hook records every file
that is opened and every process and socket that is made. Run by hand, `python -m
tests.fuzz.hostile_files.worker 17` tries case 17 and shows how it ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.places import ROOT

MEMORY = 3 << 30  # bytes beyond what the process has at its start
LOADING, RUNNING = 10, 20  # seconds

Array = Any
Outcome = tuple[str, str]  # a kind, and what there is to say


class OutOfTime(BaseException):
    """A case takes longer than it may."""


def _expire(*_: object) -> None:
    raise OutOfTime


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """At most so many seconds of processor time."""
    signal.signal(signal.SIGPROF, _expire)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def absolute(path: Any) -> str:
    return str(Path(os.fsdecode(path)).resolve())


class Watch:
    """What the process does beside computing, as the interpreter's audit hook tells."""

    MADE = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove",
            "os.rename", "os.rmdir", "os.chmod", "os.symlink", "os.link", "os.truncate",
            "shutil.rmtree", "socket.connect", "socket.bind")  # fmt: skip

    def __init__(self, cache: str, allowed: list[str]) -> None:
        self.cache, self.allowed = cache, (cache, *allowed)
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path = arguments[0]
            if not isinstance(path, int) and not absolute(path).startswith(self.allowed):
                self.seen.append(f"open {path!r} {arguments[1]}"[:200])
        elif event in self.MADE:
            in_cache = event.startswith("os.re") and absolute(arguments[0]).startswith(self.cache)
            if not in_cache:
                self.seen.append(f"{event} {arguments!r}"[:200])


class Cases:
    """The files to begin with, and how each kind is changed and tried."""

    def __init__(self, folder: Path) -> None:
        from tests.fuzz.hostile_files.bases import KEY, bases

        self.folder = folder
        self.bases = bases()
        self.place = store(folder).path(KEY) or folder
        self.place.parent.mkdir()

    def make(self, number: int) -> tuple[str, Path]:
        """The kind and the file of a case."""
        from tests.fuzz.hostile_files import mutations

        rng = random.Random(number)
        share = rng.random()
        kind = (
            "model"
            if share < 0.9
            else "csv"
            if share < 0.94
            else "npz"
            if share < 0.97
            else "entry"
        )
        change: Any = getattr(mutations, f"mutated_{kind}")
        content = change(rng.choice(self.bases[kind]), rng)
        path = self.place if kind == "entry" else self.folder / f"case.{kind}"
        path.write_bytes(content)
        return kind, path


def refused(error: Exception, path: Path) -> Outcome:
    """The outcome of an error, which must be ours and name the file."""
    import staticflow as sf
    from staticflow.data import DataError

    ours = (sf.GraphError, sf.ShapeError, sf.DTypeError, sf.NumericsError, DataError)
    if isinstance(error, ours) and path.name in str(error):
        return "refused", ""
    return "FAILED", "".join(traceback.format_exception(error))[-3000:]


def try_model(path: Path, number: int) -> Outcome:
    """Load a model, run it and look at it."""
    import staticflow as sf

    try:
        with limited(LOADING):
            session = sf.Session.load(path)
    except OutOfTime:
        return "FAILED", f"loading takes more than {LOADING} s"
    except Exception as error:
        return refused(error, path)
    try:
        with limited(RUNNING):
            run(session, number)
    except OutOfTime:
        return "endless", ""
    except (sf.GraphError, sf.ShapeError, sf.DTypeError, sf.NumericsError):
        return "refused when run", ""
    except Exception as error:
        return "FAILED", "".join(traceback.format_exception(error))[-3000:]
    return "numbers", ""


def run(session: Any, number: int) -> None:
    """Every output, a training step, the source and what explains it; jitted now and then."""
    import numpy as np

    rng = np.random.default_rng(number)
    if session.outputs:
        found = session.run(session.outputs, feeds(session.inputs, rng))
        for value in leaves(found):
            assert isinstance(value, np.ndarray), value
            float(np.asarray(value, np.float64).sum())
    assert isinstance(session.explain(), str) and isinstance(session.source, str)
    if session.loss is not None and session.optimizer is not None:
        session.step(feeds(session._state.graph.training_inputs, rng), batch_axis=leading(session))
    if number % 16 == 0 and session.outputs:
        first = leaves(session.outputs)[0]
        function = session.jit(first)
        from staticflow.runtime.feeds import input_nodes
        from staticflow.runtime.parameters import declared_order

        inputs = {x.name: x for x in declared_order(list(input_nodes([first]).values()))}
        function(*feeds(inputs, rng).values())


def leading(session: Any) -> str | None:
    """A name to slice by, where there are several."""
    shapes = [node.shape for node in session._state.graph.training_inputs.values()]
    names = [getattr(shape[0], "name", None) for shape in shapes if shape]
    return next((str(name) for name in names if name), None)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [x for v in value.values() for x in leaves(v)]
    if isinstance(value, list | tuple):
        return [x for v in value for x in leaves(v)]
    return [] if value is None else [value]


def feeds(inputs: Any, rng: Any) -> dict[str, Any]:
    """Random arrays; named sizes are small."""
    import numpy as np

    made = {}
    for name, node in inputs.items():
        shape = [n if isinstance(n, int) else 3 + len(str(n)) % 4 for n in node.shape]
        if np.prod(shape) > 1 << 22:
            made[name] = np.zeros(1)
        elif node.type.is_float:
            made[name] = rng.standard_normal(shape).astype(node.dtype)
        else:
            made[name] = rng.integers(0, 2, shape).astype(node.dtype)
    return made


def try_table(path: Path, number: int) -> Outcome:
    """Read a table, and every column of it as numbers and as labels."""
    from staticflow.data import DataError, read_table

    try:
        with limited(LOADING):
            table = read_table(path)
            assert table.rows > 0 and table.names
            for name in table.names:
                for read in (table.numbers, table.labels):
                    with contextlib.suppress(DataError):
                        read(name)
    except OutOfTime:
        return "FAILED", f"reading takes more than {LOADING} s"
    except Exception as error:
        return refused(error, path)
    return "numbers", ""


def store(folder: Path) -> Any:
    """A cache of its own for entries."""
    from staticflow.native.toolchain.disk_cache import Store

    return Store(folder / "store")


def try_entry(path: Path, number: int) -> Outcome:
    """Read a cache entry under its name; code is not run."""
    from staticflow.native.toolchain.objects import ObjectCode
    from tests.fuzz.hostile_files.bases import KEY

    try:
        with limited(LOADING):
            found = store(path.parent.parent.parent).read(KEY)
    except OutOfTime:
        return "FAILED", f"reading takes more than {LOADING} s"
    except Exception as error:
        return "FAILED", "".join(traceback.format_exception(error))[-3000:]
    if found is None:
        return "refused", ""
    names = (*found.symbols, *found.requires)
    sound = isinstance(found, ObjectCode) and all(isinstance(n, str) for n in names)
    return ("numbers", "") if sound else ("FAILED", repr(found)[:300])


TRIALS: dict[str, Callable[[Path, int], Outcome]] = {
    "model": try_model, "csv": try_table, "npz": try_table, "entry": try_entry,
}  # fmt: skip


def limit_memory() -> None:
    """Let the process have so much more than it has."""
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def try_files(numbers: Iterator[int], folder: Path) -> Iterator[dict[str, Any]]:
    """The outcome of each case, and what it did that it must not do."""
    import numba  # noqa: F401

    from staticflow.native.threads.granted import granted_threads
    from staticflow.native.toolchain.toolchain import toolchain

    granted_threads()  # reads the quotas of control groups once
    os.chdir(folder)
    (folder / "canary.py").write_text("secret = 1\n" * 40)
    cases = Cases(folder)
    cache = toolchain().store.directory
    sources = [str(ROOT / name) for name in ("staticflow", "ops", "models", "tests")]
    installed = [sys.prefix, sys.base_prefix, "/usr/lib", "/proc/self", "/sys/devices", *sources]
    installed += [str(folder / "case."), str(folder / "store")]
    watch = Watch(str(cache), installed)
    limit_memory()
    for number in numbers:
        kind, path = cases.make(number)
        watch.seen, watch.on = [], True
        try:
            kind, text = TRIALS[kind](path, number)
        finally:
            watch.on = False
        if watch.seen:
            kind, text = "FAILED", f"{kind}, and did {watch.seen}"
        yield {"number": number, "kind": kind, "text": text}


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        if len(sys.argv) > 1:
            for outcome in try_files(map(int, sys.argv[1:]), Path(place)):
                print(outcome["number"], outcome["kind"], outcome["text"])
            return
        answers = os.fdopen(os.dup(1), "w")
        with contextlib.redirect_stdout(io.StringIO()):
            numbers = (int(line) for line in iter(sys.stdin.readline, ""))
            for outcome in try_files(numbers, Path(place)):
                answers.write(json.dumps(outcome) + "\n")
                answers.flush()


if __name__ == "__main__":
    main()
