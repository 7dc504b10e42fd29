"""Files that are written whole or not at all.

What is written lies beside its target under a name of its own until it is complete, and is locked
as long as somebody writes it: one that is not locked is of a process that was killed, and the next
write of the same target removes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

if sys.platform == "win32":  # which does not remove a file that is open

    def flock(descriptor: int) -> None:
        """Nothing is locked."""
else:
    import fcntl

    def flock(descriptor: int) -> None:
        """Lock a file; raises BlockingIOError if another process has."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


LONGEST_STEM = 200  # bytes of a target's name that its temporaries bear; 255 are allowed in all
MODE = 0o666  # less what the umask takes away
TRIAL_BYTES = 1 << 16


def write_whole(path: Any, write: Callable[[IO[bytes]], None]) -> None:
    """Have a file written, and put it under its name; raises OSError, and leaves what was there."""
    target = target_of(path)
    remove_dead(target)
    with _temporary(target) as (temporary, file):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(target)
    _sync_folder(target.parent)


def check_target(path: Any) -> None:
    """Raise OSError where a file could not be written, before there is anything to write."""
    target = target_of(path)
    with _temporary(target) as (_, file):
        file.write(bytes(TRIAL_BYTES))
        file.flush()
        os.fsync(file.fileno())


def target_of(path: Any) -> Path:
    """Where a file is to lie; raises OSError for what cannot be replaced by a file."""
    target = Path(os.path.realpath(os.fspath(path)))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "this is a folder; name a file to write", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "this is no file but a device, a pipe or a socket", str(path))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "this file is read-only", str(path))
    return target


def is_file(path: Any) -> bool:
    """Whether there is a plain file; raises FileNotFoundError where there is nothing."""
    return stat.S_ISREG(Path(path).stat().st_mode)


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside the target, with its mode, which is gone in the end."""
    temporary, file = _locked(target)
    try:
        with file:
            if target.exists() and os.name == "posix":
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


def _locked(target: Path) -> tuple[Path, IO[bytes]]:
    """A new file that is locked before anybody can take it for dead."""
    while True:
        temporary = target.with_name(f"{_stem(target)}{secrets.token_hex(4)}.tmp")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(temporary, flags, MODE), "wb")
        if _lock(file.fileno()) and temporary.exists():
            return temporary, file
        file.close()


def _stem(target: Path) -> str:
    """How the names of a target's temporaries begin."""
    name = os.fsencode(target.name)
    if len(name) <= LONGEST_STEM:
        return f".{target.name}."
    return f".{hashlib.sha256(name).hexdigest()[:16]}."


def _lock(descriptor: int) -> bool:
    """Lock a file, unless another process has; where there are no locks, nothing is locked."""
    try:
        flock(descriptor)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def remove_dead(target: Path) -> None:
    """Remove what killed writers of a target have left."""
    stem = _stem(target)
    for path in target.parent.iterdir():
        middle = path.name.removeprefix(stem).removesuffix(".tmp")
        if path.name == f"{stem}{middle}.tmp" and len(middle) == 8:
            with contextlib.suppress(OSError):
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    """Remove a plain file that nobody has locked; raises OSError otherwise."""
    flags = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK")]
    descriptor = os.open(path, os.O_RDWR | flags[0] | flags[1])
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            flock(descriptor)
            path.unlink()
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a new name last; some file systems have no such call."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
