"""The disk cache of object code.

One file per object: a magic, the SHA-256 of the payload, and the payload (a JSON header and the
object's bytes). Nothing is unpickled. A file that is missing, cut short, altered or not ours counts
as absent and is written again; a directory that cannot be used is done without. Since the files
hold machine code that will run, a directory that others may write to is never used.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import llvmlite.binding as llvm

from staticflow.native.objects import ObjectCode
from staticflow.native.target import host_features

MAGIC = b"SFOBJ\x01\r\n"
_CHECKSUM = 32
_CODE_SHAPERS = (
    "intrinsics.py", "llvm_compile.py", "numba_compile.py", "numba_types.py",
    "source_expressions.py", "source_translate.py", "source_values.py", "target.py",
)  # fmt: skip


def default_directory() -> Path | None:
    """STATICFLOW_CACHE_DIR, or the user's cache directory; None when there is no home."""
    chosen = os.environ.get("STATICFLOW_CACHE_DIR")
    if chosen:
        return Path(chosen)
    try:
        return _user_cache_directory() / "staticflow"
    except RuntimeError:  # no home directory can be found
        return None


def _user_cache_directory() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache"


def entry_key(parts: Sequence[str]) -> str:
    """The hash of all `parts` and of everything about this installation that shapes code."""
    return _digest([*_environment(), *parts])


def _digest(parts: Sequence[str]) -> str:
    state = hashlib.sha256()
    for part in parts:
        data = part.encode()
        state.update(len(data).to_bytes(8, "little"))  # ("ab", "c") is not ("a", "bc")
        state.update(data)
    return state.hexdigest()


@functools.cache
def _environment() -> tuple[str, ...]:
    """Versions, processor, and the text of the files that turn a source into an object."""
    versions = [f"{name}={_version(name)}" for name in ("numba", "llvmlite", "numpy")]
    machine = [platform.system(), platform.machine(), llvm.get_host_cpu_name(), host_features()]
    here = Path(__file__).parent
    shapers = [_file_hash(here / name) for name in _CODE_SHAPERS]
    return (*versions, str(sys.implementation.cache_tag), *machine, *shapers)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Store:
    """A directory of object files. Every failure to read is a miss, to write a shrug."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = None if directory is None else _usable(directory.expanduser())

    def path(self, key: str) -> Path | None:
        """Where the entry of `key` is kept."""
        return None if self.directory is None else self.directory / key[:2] / f"{key}.sfo"

    def read(self, key: str) -> ObjectCode | None:
        """The object under `key`, or None when there is none that can be trusted."""
        path = self.path(key)
        if path is None:
            return None
        try:
            return _decode(path.read_bytes(), key)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, entry: ObjectCode) -> None:
        """Put `entry` under `key`, whole or not at all."""
        path = self.path(key)
        if path is None:
            return
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _write_atomically(path, _encode(key, entry))
        except OSError:  # disk full, directory gone or read-only: the object is still in memory
            return


def _usable(directory: Path) -> Path | None:
    """The directory, made if need be, if it is ours alone."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError:
        return None
    if os.name == "posix":
        writable_by_others = stat.S_IMODE(status.st_mode) & 0o022
        if status.st_uid != os.geteuid() or writable_by_others:
            return None
    return directory


def _encode(key: str, entry: ObjectCode) -> bytes:
    header = json.dumps({"key": key, "symbols": entry.symbols, "requires": entry.requires})
    head = header.encode()
    payload = len(head).to_bytes(4, "little") + head + entry.code
    return MAGIC + hashlib.sha256(payload).digest() + payload


def _decode(data: bytes, key: str) -> ObjectCode:
    start = len(MAGIC) + _CHECKSUM
    checksum, payload = data[len(MAGIC) : start], data[start:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(payload).digest() != checksum:
        raise ValueError("not an object of ours, or damaged")
    size = int.from_bytes(payload[:4], "little")
    header = json.loads(payload[4 : 4 + size])
    if header["key"] != key:
        raise ValueError("an object of ours under another's name")
    return ObjectCode(tuple(header["symbols"]), tuple(header["requires"]), payload[4 + size :])


def _write_atomically(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
