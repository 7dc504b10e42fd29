"""Threads are counted as the system grants them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import staticflow as sf
from staticflow import ops
from staticflow.native.threads import granted
from staticflow.native.threads.granted import granted_threads
from tests.support.processes import start_python

ONE = "cpu,cpuacct"
CASES: dict[str, tuple[str, Mapping[str, str], int]] = {
    "no groups": ("", {}, 8),
    "version 2, no quota": ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, 8),
    "version 2": ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n"}, 3),
    "version 2, a part of a processor": ("0::/a\n", {"a/cpu.max": "50000 100000\n"}, 1),
    "version 2, rounded up": ("0::/a\n", {"a/cpu.max": "250000 100000\n"}, 3),
    "version 2, a group above": (
        "0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2
    ),
    "version 1": (
        f"4:{ONE}:/a\n1:memory:/\n",
        {f"{ONE}/a/cpu.cfs_quota_us": "400000\n", f"{ONE}/a/cpu.cfs_period_us": "100000\n"}, 4,
    ),
    "version 1, no quota": (
        f"4:{ONE}:/a\n",
        {f"{ONE}/a/cpu.cfs_quota_us": "-1\n", f"{ONE}/a/cpu.cfs_period_us": "100000\n"}, 8,
    ),
    "more than there are": ("0::/a\n", {"a/cpu.max": "6400000 100000\n"}, 8),
    "nonsense": ("0::/a\n", {"a/cpu.max": "much\n"}, 8),
}  # fmt: skip


@pytest.mark.parametrize("own, files, expected", CASES.values(), ids=CASES)
def test_quotas_of_control_groups(
    own: str, files: Mapping[str, str], expected: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(granted, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(granted, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(granted, "_quotas", granted._quotas.__wrapped__)
    assert granted_threads() == expected


def test_what_affinity_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert granted_threads() == 1
    x = sf.input("x", ("batch", 2))
    assert sf.Session(outputs={"y": ops.tanh(x)}).threads == 1


PINNED = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import threading
import numpy as np
import staticflow as sf
from staticflow import models, ops
x, t = sf.input("x", ("batch", 64)), sf.input("t", ("batch", 1))
loss = ops.mse(models.FNN([64, 64, 1])(x), t)
session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.01), threads=16)
rng = np.random.default_rng(0)
data = {"x": rng.normal(size=(4096, 64)).astype("f4"), "t": rng.normal(size=(4096, 1)).astype("f4")}
session.fit(data, epochs=2, batch_size=2048, progress=False)
shards = {t.name for t in threading.enumerate() if t.name.startswith("staticflow-shard")}
(trainer,) = session._state.trainers.values()
print(len(trainer.shards), len(shards))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="sets its affinity")
def test_a_pinned_process_starts_no_threads_that_have_no_core() -> None:
    """As many shards as are asked for, since bits follow from that; one thread runs them."""
    with start_python("-c", PINNED, environment={}) as process:
        out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert out.split() == ["16", "1"]
