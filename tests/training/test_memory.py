"""What training holds in memory: no more than it must, and nothing new after the first step."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import staticflow as sf
from benchmarks.workloads import FNN, FNN_ROWS
from staticflow import models, ops
from staticflow.compiler.cost_model import Choice
from staticflow.native.memory import LINE
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.runtime.blocked_frame import BlockedFrame
from staticflow.runtime.program import Frame
from staticflow.session.run.steps import trainer_for
from staticflow.training import trainer as training
from staticflow.training.trainer import Trainer

SLOTS = 2  # Adam's


def network(w: FNN, threads: int = 1) -> sf.Session:
    x = sf.input("x", ("batch", w.sizes[0]), w.dtype)
    t = sf.input("t", ("batch", w.sizes[-1]), w.dtype)
    y = models.FNN(list(w.sizes), activation=w.activation)(x)
    adam = sf.optim.Adam(1e-3)
    return sf.Session(loss=ops.mse(y, t), outputs={"y": y}, optimizer=adam, threads=threads)


def frames(trainer: Trainer) -> list[Frame]:
    found: list[Frame] = []
    for memory in trainer.shards:
        for frame in memory.frames.values():
            found += frame.frames if isinstance(frame, BlockedFrame) else [frame]
    return found


def bytes_held(session: sf.Session, trainer: Trainer) -> int:
    """Everything with a size that depends on the network's; not the products' 1 MB of scratch."""
    assert trainer.flat is not None
    parameters = trainer.flat.data.nbytes
    total = parameters + sum(slot.nbytes for slot in session._state.slots.values())
    for memory in trainer.shards:
        total += memory.gradient.nbytes
        if isinstance(memory.frames["whole"], BlockedFrame):
            total += parameters  # the gradient of one block
    return total + sum(frame.arena.nbytes for frame in frames(trainer))


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("w", FNN_ROWS, ids=lambda w: w.name)
def test_a_step_holds_little_more_than_it_must(
    w: FNN, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 1.2 (parameters (2 + slots) + shards gradient + activations)."""
    monkeypatch.setattr(training, "choose_shards", lambda *_: Choice(shards, 1.0, 1.0, ""))
    session = network(w, shards)
    trainer = trainer_for(session._state, "batch", {"batch": w.batch}, shards)
    assert len(trainer.shards) == shards and trainer.flat is not None
    parameters = trainer.flat.data.nbytes
    activations = w.batch * sum(w.sizes[1:]) * trainer.flat.data.itemsize
    lines = LINE * sum(
        len(p.compiled.memory.chunks) for p in (trainer.programs.forward, trainer.programs.update)
        if p is not None
    )  # fmt: skip
    wanted = parameters * (2 + SLOTS) + shards * parameters + activations
    assert bytes_held(session, trainer) <= 1.2 * wanted + shards * lines


def test_the_memory_of_inference_does_not_grow_with_depth() -> None:
    """Two activations at a time, whatever their widths."""
    widths = [48, 96, 33, 64, 80, 17, 96, 40, 72, 56, 24, 88, 35, 91, 60, 44, 12]
    x = sf.input("x", ("batch", widths[0]))
    session = sf.Session(outputs={"y": models.FNN(widths)(x)})
    program = session._fetches.fetch("y").runner.program
    arena = program.arena_bytes({"batch": 1000})
    assert arena <= 1.1 * 2 * 4 * 1000 * max(widths)


def test_the_training_loop_cannot_allocate(tmp_path: Path) -> None:
    """No object of a training step refers to a function that allocates."""
    session = network(FNN_ROWS[1])
    chain = session._state.toolchain = Toolchain(tmp_path)
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(70, 16)), "t": rng.normal(size=(70, 1))}
    session.fit(data, batch_size=32, progress=False)
    assert len(chain._objects.values()) > 10 and not allocators(chain)
    session.jit("y")  # whose first call with new sizes does allocate
    assert "malloc" in allocators(chain)


# What a product calls when a flag asks to handle signals, as that of a run may; no fit's flag does.
SIGNALS = {
    "PyErr_CheckSignals", "PyEval_RestoreThread", "PyEval_SaveThread", "PyThread_get_thread_ident"
}  # fmt: skip


def allocators(chain: Toolchain) -> set[str]:
    """The functions that allocate, or may, and that objects refer to."""
    parts = ("alloc", "free", "mmap", "memalign", "NRT", "Py", "_Zn")
    names = {name for entry in chain._objects.values() for name in entry.requires}
    names |= {name for linked in chain.linked.values() for name in linked.requires}
    names -= SIGNALS
    return {name for name in names if any(part in name for part in parts)}


def test_steps_leave_nothing_behind() -> None:
    """Python's memory after a fit of many steps is that after a fit of few."""
    session = network(FNN_ROWS[0])
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(160, 4)), "t": rng.normal(size=(160, 1))}
    peaks = []
    for epochs in (1, 1, 100):
        tracemalloc.start()
        session.fit(data, epochs=epochs, batch_size=16, shuffle=False, progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 100 * 600, "more than the log of an epoch for each epoch"
