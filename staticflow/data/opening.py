"""Files before they are read: what is no file is refused, for a pipe or a device may never end."""

from __future__ import annotations

import stat
from pathlib import Path

from staticflow.data.errors import DataError


def check_file(path: Path, what: str = "file", remedy: str = "") -> None:
    """Refuse a path at which there is nothing to read; `what` is what ought to be there."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"there is no {what} {shown(path)}{remedy}") from None
    except (OSError, ValueError) as error:  # a loop of links, too long a name, a NUL in it
        raise unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{shown(path)} cannot be read: Is a directory; name a {what}")
    if not stat.S_ISREG(mode):
        raise DataError(f"{shown(path)} is a pipe or a device; save what it gives in a {what}")


def unreadable(path: Path, error: Exception) -> DataError:
    """The error of a file that the system does not let us read."""
    return DataError(f"{shown(path)} cannot be read: {reason(error)}")


def reason(error: Exception) -> str:
    """Why the system refuses, in its own words: `Permission denied`."""
    return (error.strerror if isinstance(error, OSError) else None) or "it is no name of a file"


def shown(path: Path | str, most: int = 80) -> str:
    """A path for a message: the end of a long one, and `?` for what no text has."""
    text = str(path).encode("utf-8", "replace").decode().replace("\0", "?")
    return text if len(text) <= most else f"...{text[-most:]}"


def line_not_utf8(path: Path) -> DataError:
    """The error of a file that is not text; names the first line that cannot be read."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return DataError(
                    f"{shown(path)} is not UTF-8 text at line {number}; save it as UTF-8"
                )
    return DataError(f"{shown(path)} is not UTF-8 text; save it as UTF-8")
