"""The disk cache of object code.

One file per object: a magic, the SHA-256 of the payload, and the payload (a JSON header and the
object's bytes). Nothing is unpickled. Whatever else is in an entry's place (a file that is cut
short, altered or not ours, a folder, a pipe) counts as absent, and gives way when the entry is
written; a directory that cannot be used is done without. Since the files hold machine code that
will run, a directory that others may write to is never used, and named in a warning.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import llvmlite.binding as llvm

from staticflow.native.toolchain.objects import ObjectCode
from staticflow.native.toolchain.source_hash import CODE_SHAPERS, source_key
from staticflow.native.toolchain.target import host_features

MAGIC = b"SFOBJ\x01\r\n"
_CHECKSUM = 32
LARGEST = 1 << 28  # bytes of an entry; a thousand times what the longest programs take


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
    return (*versions, str(sys.implementation.cache_tag), *machine, source_key(*CODE_SHAPERS))


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


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
            return _decode(_read_file(path), key)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, key: str, entry: ObjectCode) -> None:
        """Put `entry` under `key`, whole or not at all."""
        path = self.path(key)
        if path is None:
            return
        try:
            if not path.parent.is_dir():
                _remove(path.parent)
                path.parent.mkdir(mode=0o700, exist_ok=True)
            if path.is_dir():
                _remove(path)
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
            warnings.warn(
                f"staticflow keeps no compiled code in {directory}, for others may write to it: "
                "make it your own, with mode 0700, or set STATICFLOW_CACHE_DIR to one that is",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
    return directory


def _read_file(path: Path) -> bytes:
    """The content of a plain file of bounded size; raises ValueError for anything else."""
    flags = [getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY")]
    descriptor = os.open(path, os.O_RDONLY | flags[0] | flags[1])
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise ValueError("not an object of ours")
        return file.read(LARGEST)


def _remove(path: Path) -> None:
    """Remove what is in the place of something of ours, in a directory that is ours alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    symbols, requires = header["symbols"], header["requires"]
    if not all(isinstance(name, str) for name in [*symbols, *requires]):
        raise ValueError("an object with a symbol that is no name")
    return ObjectCode(tuple(symbols), tuple(requires), payload[4 + size :])


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
