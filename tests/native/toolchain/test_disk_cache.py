"""The disk cache of object code: damage, permissions, races, and what a second process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from staticflow.native.toolchain import disk_cache as cache
from staticflow.native.toolchain.objects import KernelSource, ObjectCode, Signature
from staticflow.native.toolchain.source_hash import CODE_SHAPERS, PRODUCTS, SCALARS, source_key
from staticflow.native.toolchain.toolchain import Toolchain
from tests.support.places import ROOT

KEY = cache.entry_key(["test"])
ENTRY = ObjectCode(("first", "second"), ("memcpy",), bytes(range(256)) * 20)

WARM = """
import json, sys, time
from pathlib import Path
from staticflow.native.toolchain.objects import KernelSource, Signature
from staticflow.native.toolchain.toolchain import Toolchain
toolchain = Toolchain(Path(sys.argv[1]))
source = "def triple(n):\\n    return 3 * n\\n"
function = toolchain.kernel(KernelSource("triple", source, Signature("i8", ("i8",))))
counts = toolchain.counts
print(json.dumps([function.bind()(14), counts.compiled, counts.loaded, "numba" in sys.modules]))
"""


def constant(value: int) -> KernelSource:
    return KernelSource("constant", f"def constant():\n    return {value}\n", Signature("i8", ()))


def process(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WARM, str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def answer(running: subprocess.Popen[str]) -> list[object]:
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    return list(json.loads(out))


def test_an_entry_comes_back_as_it_was_written(tmp_path: Path) -> None:
    cache.Store(tmp_path).write(KEY, ENTRY)
    assert cache.Store(tmp_path).read(KEY) == ENTRY


@pytest.mark.parametrize("keep", [0, 3, 8, 39, 44, 60, 2000])
def test_a_file_cut_short_is_a_miss_and_is_written_again(tmp_path: Path, keep: int) -> None:
    store = cache.Store(tmp_path)
    store.write(KEY, ENTRY)
    path = store.path(KEY)
    assert path is not None
    path.write_bytes(path.read_bytes()[:keep])
    assert store.read(KEY) is None
    store.write(KEY, ENTRY)
    assert store.read(KEY) == ENTRY


def test_a_flipped_bit_anywhere_is_a_miss(tmp_path: Path) -> None:
    store = cache.Store(tmp_path)
    store.write(KEY, ENTRY)
    path = store.path(KEY)
    assert path is not None
    good = path.read_bytes()
    for position in [*range(200), len(good) // 2, len(good) - 1]:
        bad = bytearray(good)
        bad[position] ^= 4
        path.write_bytes(bytes(bad))
        assert store.read(KEY) is None, position


def test_a_foreign_file_and_an_entry_under_anothers_name_are_misses(tmp_path: Path) -> None:
    store = cache.Store(tmp_path)
    other = cache.entry_key(["other"])
    store.write(KEY, ENTRY)
    ours, theirs = store.path(KEY), store.path(other)
    assert ours is not None and theirs is not None
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_bytes(ours.read_bytes())
    assert store.read(other) is None
    ours.write_bytes(b"\x7fELF" + bytes(5000))
    assert store.read(KEY) is None
    ours.unlink()
    ours.mkdir()
    assert store.read(KEY) is None
    store.write(KEY, ENTRY)  # cannot, and says nothing


def test_a_damaged_kernel_is_compiled_again(tmp_path: Path) -> None:
    first = Toolchain(tmp_path)
    assert first.kernel(constant(41)).bind()() == 41
    [path] = tmp_path.glob("*/*.sfo")
    path.write_bytes(path.read_bytes()[:-7])
    second, third = Toolchain(tmp_path), Toolchain(tmp_path)
    assert second.kernel(constant(41)).bind()() == 41
    assert (second.counts.compiled, second.counts.loaded) == (1, 0)
    assert third.kernel(constant(41)).bind()() == 41
    assert (third.counts.compiled, third.counts.loaded) == (0, 1)


def test_an_edited_source_is_another_entry(tmp_path: Path) -> None:
    toolchain = Toolchain(tmp_path)
    functions = [toolchain.kernel(constant(value)) for value in (1, 2, 1)]
    assert [function.bind()() for function in functions] == [1, 2, 1]
    assert functions[0].symbol == functions[2].symbol != functions[1].symbol
    assert toolchain.counts.compiled == 2


def test_every_part_of_a_source_is_in_the_key() -> None:
    base = KernelSource("k", "text", Signature("i8", ("i8",)))
    others = [
        KernelSource("k2", "text", base.signature),
        KernelSource("k", "text2", base.signature),
        KernelSource("k", "text", Signature("i8", ("u8",))),
        KernelSource("k", "text", Signature("", ("i8",))),
        KernelSource("k", "text", base.signature, namespace_key=("a",)),
        KernelSource("k", "text", base.signature, fastmath=()),
        KernelSource("k", "text", base.signature, noalias=False),
        KernelSource("k", "text", base.signature, error_result=1),
    ]
    keys = {cache.entry_key(source.key_parts()) for source in [base, *others]}
    assert len(keys) == len(others) + 1


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_directory_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    with pytest.warns(RuntimeWarning, match="shared.*others may write"):
        assert cache.Store(shared).directory is None
    with pytest.warns(RuntimeWarning, match="shared"):
        toolchain = Toolchain(shared)
    assert toolchain.kernel(constant(5)).bind()() == 5
    assert list(shared.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_directory_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.warns(RuntimeWarning, match="others may write"):
        assert cache.Store(tmp_path).directory is None


def folder(place: Path) -> None:
    place.mkdir()
    (place / "more").write_text("x")


def enormous(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(1 << 40)


def pipe(place: Path) -> None:
    os.mkfifo(place)


def link_to_itself(place: Path) -> None:
    place.symlink_to(place)


@pytest.mark.skipif(os.name != "posix", reason="pipes and sparse files")
@pytest.mark.parametrize("obstacle", [folder, enormous, pipe, link_to_itself])
@pytest.mark.parametrize("above", [0, 1], ids=["entry", "its folder"])
def test_whatever_is_in_an_entrys_place_gives_way(
    obstacle: Callable[[Path], None], above: int, tmp_path: Path
) -> None:
    """It is a miss, at once, and the entry is written over it."""
    store = cache.Store(tmp_path / "cache")
    path = store.path(KEY)
    assert path is not None
    place = [path, path.parent][above]
    place.parent.mkdir(exist_ok=True)
    obstacle(place)
    assert store.read(KEY) is None
    store.write(KEY, ENTRY)
    assert store.read(KEY) == ENTRY
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".sfo"] in ([], ["more"])


def test_a_directory_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    toolchain = Toolchain(tmp_path / "file" / "cache")
    assert toolchain.store.directory is None
    assert toolchain.kernel(constant(6)).bind()() == 6


def test_a_directory_that_vanishes_or_is_full_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    toolchain = Toolchain(tmp_path)
    monkeypatch.setattr(cache, "_write_atomically", full)
    assert toolchain.kernel(constant(7)).bind()() == 7
    monkeypatch.undo()
    toolchain = Toolchain(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert toolchain.kernel(constant(8)).bind()() == 8


def test_a_made_directory_is_ours_alone(tmp_path: Path) -> None:
    Toolchain(tmp_path / "new").kernel(constant(9))
    if os.name == "posix":
        inside = [tmp_path / "new", *(tmp_path / "new").iterdir()]
        assert [path.stat().st_mode & 0o777 for path in inside] == [0o700] * 2
    assert not list(tmp_path.glob("**/*.tmp"))


def test_the_place_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATICFLOW_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache.default_directory() == tmp_path / "chosen"
    monkeypatch.delenv("STATICFLOW_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.default_directory() == tmp_path / "xdg" / "staticflow"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache.default_directory() == tmp_path / ".cache" / "staticflow"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.default_directory() == tmp_path / "Library" / "Caches" / "staticflow"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.default_directory() == tmp_path / "local" / "staticflow"


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("STATICFLOW_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", homeless)
    assert cache.default_directory() is None
    assert Toolchain().kernel(constant(10)).bind()() == 10


def test_a_second_process_compiles_nothing_and_does_not_import_numba(tmp_path: Path) -> None:
    assert answer(process(tmp_path)) == [42, 1, 0, True]
    assert answer(process(tmp_path)) == [42, 0, 1, False]


def test_processes_that_race_on_a_cold_cache_all_work(tmp_path: Path) -> None:
    answers = [answer(running) for running in [process(tmp_path) for _ in range(4)]]
    assert [value for value, *_ in answers] == [42] * 4
    assert len(list(tmp_path.glob("*/*"))) == 1
    assert answer(process(tmp_path)) == [42, 0, 1, False]


@pytest.mark.parametrize("patterns", [CODE_SHAPERS, PRODUCTS, SCALARS])
def test_an_edited_routine_has_another_key(tmp_path: Path, patterns: tuple[str, ...]) -> None:
    native = ROOT / "staticflow" / "native"
    copies = []
    for path in {path for pattern in patterns for path in native.glob(pattern)}:
        copies.append(tmp_path / path.relative_to(native))
        copies[-1].parent.mkdir(exist_ok=True)
        copies[-1].write_bytes(path.read_bytes())
    keys = {source_key(*patterns), source_key(*patterns, folder=tmp_path)}
    assert len(keys) == 1, "a key is of the text, not of the place"
    for count, path in enumerate(sorted(copies)):
        path.write_bytes(path.read_bytes() + b"# edited\n")
        source_key.cache_clear()
        keys.add(source_key(*patterns, folder=tmp_path))
        assert len(keys) == count + 2, f"{path.name} is in no key"


def test_a_key_of_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gemm/\*\.py"):
        source_key(*PRODUCTS, folder=tmp_path)
