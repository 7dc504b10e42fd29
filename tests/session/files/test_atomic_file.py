"""Files that are written whole: kills, full disks, modes, and targets that are no files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow.cli.main import main
from staticflow.data import DataError, read_table
from staticflow.session.files import atomic_file as files
from staticflow.session.files import tensor_file
from tests.session.files.support import network, rewritten
from tests.support.places import ROOT

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, pipes and signals")
SAVE = """
import sys
import numpy as np
from staticflow.session.files.tensor_file import write_tensors
print("ready", flush=True)
while True:
    write_tensors(sys.argv[1], {"x": np.arange(200_000.0)}, {})
"""


@contextlib.contextmanager
def saving(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes a file again and again, until it is killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SAVE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        assert process.poll() is None
        process.kill()


def other_names(folder: Path, name: str) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != name)


@POSIX
def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    killed = 0
    while not other_names(tmp_path, "model") and killed < 40:
        with saving(path):
            time.sleep(0.01 + 0.003 * killed)
        killed += 1
    assert other_names(tmp_path, "model")
    (tmp_path / ".model.0123abcd.tmp").write_bytes(b"as version 0.1.0 left it")
    (tmp_path / ".model.other.tmp").write_bytes(b"no temporary of ours")
    tensor_file.write_tensors(path, {"x": np.ones(3)}, {})
    assert other_names(tmp_path, "model") == [".model.other.tmp"]


@POSIX
def test_two_processes_save_under_one_name(tmp_path: Path) -> None:
    """Neither takes the other's temporary for that of a killed one."""
    path = tmp_path / "model"
    with saving(path):
        for k in range(300):
            tensor_file.write_tensors(path, {"x": np.full(3, float(k))}, {})
            _, tensors = tensor_file.read_tensors(path)
            assert tensors["x"].size in (3, 200_000)


@POSIX
def test_modes_follow_the_umask_and_the_file_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model"
    before = os.umask(0o027)
    try:
        network().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        network().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_full_disk_is_an_os_error_and_leaves_what_was_there(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    network().save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        network(seed=5).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and not other_names(tmp_path, "model")


@POSIX
def test_what_is_no_file_is_no_target(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a device, a pipe"):
        network().save(pipe)
    with pytest.raises(OSError, match="a device, a pipe"):
        network().save("/dev/null")
    with pytest.raises(IsADirectoryError, match="folder"):
        network().save(tmp_path)
    with pytest.raises(sf.GraphError, match="pipe: this is a device, a pipe"):
        sf.Session.load(pipe)
    assert other_names(tmp_path, "pipe") == []


@POSIX
def test_a_command_refuses_a_target_before_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(sf.Session, "fit", lambda *_, **__: pytest.fail("it trains"))
    common = ["train", "digits", "--no-plot", "--no-progress"]
    for target in (pipe, Path("/dev/null")):
        assert main([*common, "--out", str(target)]) == 2
        assert "cannot be written" in capsys.readouterr().err
    monkeypatch.setattr(os, "fsync", full)
    assert main([*common, "--out", str(tmp_path / "model")]) == 2
    assert "No space left" in capsys.readouterr().err
    assert other_names(tmp_path, "pipe") == []


@pytest.mark.parametrize("name", ["m" * 250, "é" * 120, "-", " "])
def test_names_of_files(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        network().save(tmp_path / name)
    assert sf.Session.load(tmp_path / name).params
    assert other_names(tmp_path, name) == []
    files.check_target(tmp_path / name)


LIMITED = """
import resource, sys
import staticflow as sf
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 28), now + (1 << 28)))
try:
    sf.Session.load(sys.argv[1])
except sf.GraphError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux's limit of memory")
def test_a_claim_of_two_gigabytes_is_refused_before_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "model"
    sf.Session(outputs=sf.param("w", (3,)) * 2.0).save(path)

    def claim(content: Any, tensors: Any) -> None:
        for node in content["graph"]["nodes"]:
            if node["op"] == "Param":
                node["fields"]["type"]["shape"] = [1 << 29]

    rewritten(path, claim)
    assert path.stat().st_size < 2000
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIMITED, str(path)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "refused:" in found.stdout and "'w' is float32[536870912]" in found.stdout


def test_one_long_cell_costs_its_own_length(tmp_path: Path) -> None:
    """Not that length for each cell: this file took 5 GB."""
    import tracemalloc

    path = tmp_path / "long.csv"
    rows = "".join(f"{k},word\n" for k in range(25_000))
    path.write_text(f"a,b\n0,{'x' * 100_000}\n{rows}")
    tracemalloc.start()
    try:
        table = read_table(path)
        assert len(table.labels("b")) == 25_001 and table.numbers("a")[-1] == 24_999
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    with pytest.raises(DataError, match=r"text .'xxx") as refusal:
        table.numbers("b")
    assert len(str(refusal.value)) < 500


def test_many_names_in_a_header_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{k}" for k in range(100_000)) + "\n" + ",".join(["1"] * 100_000))
    began = time.process_time()
    assert len(read_table(path).names) == 100_000
    assert time.process_time() - began < 5
