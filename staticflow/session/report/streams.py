"""Text streams as a process may have them: none at all, closed, full, or in an encoding of few
characters. What is written to them is not worth the work of the process that writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

Failed = Callable[[Exception], None]


def ignore(error: Exception) -> None:
    """For what may be lost, such as a progress bar."""


class Stream:
    """A stream that takes every character; an error in writing goes to `failed`.

    Characters that the encoding lacks are written as escapes, such as `\\xe9`.
    """

    def __init__(self, stream: TextIO | None, failed: Failed = ignore) -> None:
        self._stream, self._failed = stream, failed
        self.encoding: str | None = None if stream is None else stream.encoding

    def write(self, text: str) -> int:
        """Write; gives the number of characters taken, which is all."""
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError as error:
                    code = error.encoding
                    self._stream.write(text.encode(code, "backslashreplace").decode(code))
            except (OSError, ValueError) as error:  # ValueError: it is closed
                self._failed(error)
        return len(text)

    def flush(self) -> None:
        """Write what is kept back."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._failed(error)

    def isatty(self) -> bool:
        """Whether somebody is looking; not at a stream that is closed."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """The file's number; OSError where there is none."""
        if self._stream is None:
            raise OSError("this stream has no file")
        return self._stream.fileno()
