"""Files that are damaged, missing or make no sense; and a save that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from tests.session.files.support import network, rewritten


def test_no_part_of_a_file_can_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "model"
    network().save(path)
    whole = path.read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        for read in (sf.Session.load, network().load_params):
            with pytest.raises(sf.GraphError, match="model: the file is damaged"):
                read(path)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model"
    network().save(path)
    whole = path.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 60).astype(int):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(sf.GraphError, match="model: "):
            sf.Session.load(path)


def _unknown_op(content: Any, tensors: Any) -> None:
    content["graph"]["nodes"][3]["op"] = "Pickle"


def _unknown_row(content: Any, tensors: Any) -> None:
    node = next(n for n in content["graph"]["nodes"] if n["op"] == "Map")
    node["fields"]["row"] = {"row": "frobnicate"}


def _later(content: Any, tensors: Any) -> None:
    content["version"] = 99


def _forward_reference(content: Any, tensors: Any) -> None:
    node = next(n for n in content["graph"]["nodes"] if "in" in n)
    node["in"][0] = len(content["graph"]["nodes"]) - 1


def _other_size(content: Any, tensors: Any) -> None:
    node = next(n for n in content["graph"]["nodes"] if n["op"] == "Param")
    node["fields"]["type"]["shape"][0] = 1 << 20


def _missing_tensor(content: Any, tensors: Any) -> None:
    del tensors["shift"]


def _other_shape(content: Any, tensors: Any) -> None:
    tensors["shift"] = np.zeros(3, np.float32)


def _no_graph(content: Any, tensors: Any) -> None:
    del content["graph"]


def _code_for_a_size(content: Any, tensors: Any) -> None:
    node = next(n for n in content["graph"]["nodes"] if n["op"] == "Input")
    node["fields"]["type"]["shape"][0] = {"dim": "__import__('os').getpid()"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_unknown_op, "there is no op 'Pickle'"),
        (_unknown_row, "there is no op 'frobnicate'"),
        (_later, "version 99"),
        (_forward_reference, "does not come before it"),
        (_other_size, "dot: float32"),
        (_missing_tensor, "damaged"),
        (_other_shape, "'shift'"),
        (_no_graph, "damaged"),
        (_code_for_a_size, "not a size"),
    ],
)
def test_content_that_makes_no_sense(change: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    network().save(path)
    rewritten(path, lambda content, tensors: None)
    sf.Session.load(path)
    rewritten(path, change)
    with pytest.raises(sf.GraphError, match=f"(?s)model: .*{message}"):
        sf.Session.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "model"
    network().save(path)
    before = path.read_bytes()

    def refuse(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        network(seed=9).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sf.Session.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        network().save(tmp_path / "no" / "folder")
    with pytest.raises(sf.GraphError, match="folder"):
        sf.Session.load(tmp_path)
