"""What lies between guard pages, and that they find one element too far; see also the campaign."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.codegen.driver_abi import HEADER
from staticflow.native import memory
from staticflow.runtime.program import Frame, Program
from tests.fuzz.guard_pages import mistakes
from tests.fuzz.guard_pages import pages as guard_pages
from tests.fuzz.guard_pages.calls import algebra, products, tabled
from tests.fuzz.guard_pages.case import Case, Count
from tests.fuzz.guard_pages.pages import PAGE, Entry, Pages, fed, guarded, part_entries
from tests.fuzz.guard_pages.programs import chained
from tests.fuzz.guard_pages.training import trained
from tests.fuzz.guard_pages.worker import check
from tests.support.places import ROOT


@pytest.fixture(params=["begin", "end"])
def pages(request: pytest.FixtureRequest) -> Iterator[Pages]:
    with guarded(request.param) as made:
        yield made


def at_page(address: int, size: int, pages: Pages) -> bool:
    """Whether memory touches its page."""
    return (address + size if pages.at_end else address) % PAGE == 0


def is_guarded(array: Any, pages: Pages) -> bool:
    return at_page(array.ctypes.data, array.nbytes, pages)


def net(threads: int = 1) -> sf.Session:
    x, t = sf.input("x", ("batch", 5)), sf.input("t", ("batch", 3))
    y = models.FNN([5, 7, 3], activation="tanh", norm="batch")(x)
    return sf.Session(
        loss=ops.mse(y, t), outputs={"y": y}, optimizer=sf.optim.Adam(0.01), threads=threads
    )


def rows(count: int, width: int) -> Any:
    return np.random.default_rng(0).standard_normal((count, width), np.float32)


def test_all_memory_of_a_fit_lies_between_pages(pages: Pages) -> None:
    session = net()
    session.fit({"x": fed(rows(20, 5)), "t": fed(rows(20, 3))}, batch_size=7, progress=False)
    flats = [f for store in (session.params, session.states) for f in store.flats.values()]
    assert all(is_guarded(flat.data, pages) for flat in flats)
    assert all(is_guarded(slot, pages) for slot in session._state.slots.values())
    (trainer,) = session._state.trainers.values()
    (shard,) = trainer.shards
    arrays = [shard.gradient, shard.step_cell, shard.metrics, shard.work, shard.table._words]
    arrays += shard.next_states.values()
    for name, frame in shard.frames.items():
        assert isinstance(frame, Frame)
        arrays += [frame.T, frame.S]
        programs = trainer.programs
        program = programs.update if name == "update" else programs.forward
        assert program is not None
        buffers = program.compiled.memory.chunk_of
        places = {int(frame.T[HEADER + buffer]) for buffer in buffers}
        assert len(places) == len(buffers), "each buffer has memory of its own"
        every = frame.T[HEADER : HEADER + len(program.compiled.assignment.buffers)].tolist()
        assert all(pages.hold(address) for address in every if address)
    assert all(is_guarded(array, pages) for array in arrays)


def drawing(random: Random) -> Case:
    """Runs that draw, whose numbers are inputs too."""
    x = sf.input("x", ("batch", 3))
    y = ops.tanh(x + ops.random.normal(x.shape))

    def work(count: Count) -> list[Any]:
        session = sf.Session(outputs={"y": y})
        return [session.run("y", {"x": fed(rows(n, 3))}) for n in (1, 4, 900)]

    return Case("draws", work)


@pytest.mark.parametrize("make", [trained, products, algebra, tabled, chained, drawing])
def test_every_buffer_of_every_program_lies_between_pages(
    make: Callable[[Random], Case], monkeypatch: pytest.MonkeyPatch, pages: Pages
) -> None:
    """Whatever the table of a program's buffers says when it has run."""
    frames, whole = [], Program.frame

    def frame(self: Program, *arguments: Any, **options: Any) -> Frame:
        made = whole(self, *arguments, **options)
        frames.append((self, made))
        return made

    monkeypatch.setattr(Program, "frame", frame)
    monkeypatch.setattr(guard_pages, "QUARANTINE", 20_000)
    make(Random(1)).work(Count())
    assert frames
    for program, made in frames:
        count = len(program.compiled.assignment.buffers)
        for buffer, address in enumerate(made.T[HEADER : HEADER + count].tolist()):
            assert not address or pages.hold(address), program.compiled.assignment.buffers[buffer]


def test_results_and_inputs_lie_between_pages(pages: Pages) -> None:
    session, x = net(), fed(rows(6, 5))
    assert is_guarded(x, pages) and not x.flags.writeable
    for count in (6, 400):  # small results are copied on the long way, large ones are not
        x = fed(rows(count, 5))
        assert is_guarded(session.run("y", {"x": x}), pages)
    large = session.run(["y"], {"x": fed(rows(4000, 5))})[0]
    assert is_guarded(large, pages)


def test_buffers_of_jitted_functions_lie_between_pages(pages: Pages) -> None:
    Entry.all.clear()
    session, x = net(), fed(rows(6, 5))
    function = session.jit("y")
    first = function(x)
    part_entries()
    np.testing.assert_array_equal(function(x), first)
    (entry,) = Entry.all
    (parts,) = entry.own
    assert parts.keys() == entry.program.compiled.memory.chunk_of.keys()
    sizes = {buffer: part.size for buffer, part in parts.items()}
    assert all(at_page(part.address, sizes[b], pages) for b, part in parts.items())


def test_without_a_guard_all_is_as_before() -> None:
    before = memory.allocate
    with guarded("end"):
        assert memory.allocate is not before
    assert memory.allocate is before
    assert net().run("y", {"x": rows(3, 5)}).flags.owndata
    array = rows(3, 5)
    assert fed(array) is array


def test_what_is_written_beside_an_array_is_told() -> None:
    def write_too_far(place: str, by: int) -> None:
        with guarded(place) as pages:
            array = memory.empty((3,), np.int32)
            np.lib.stride_tricks.as_strided(array, (6,), (4,))[by] = 1
            if by < 3:
                pages.check()

    write_too_far("begin", 2)
    with pytest.raises(AssertionError, match="written beside an array of 12 bytes"):
        write_too_far("begin", 3)


@pytest.mark.parametrize("mistake", mistakes.MISTAKES)
def test_a_mistake_ends_the_process(mistake: str) -> None:
    places = ["end"] if mistake.endswith("few_rows") else ["end", "begin"]
    for place in places:
        command = [sys.executable, "-m", mistakes.__name__, mistake, place]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert -done.returncode in (signal.SIGSEGV, signal.SIGBUS), done.stderr


def test_who_dies_is_named() -> None:
    """The first seed of a family that is not there."""
    with pytest.raises(AssertionError, match="exit status 1"):
        list(check(range(2), ["no_such_family"]))
