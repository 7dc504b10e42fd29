"""The standard streams as a command finds them: closed, full, read by nobody, or ASCII alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from staticflow.cli.errors import CommandError
from staticflow.data.opening import reason
from staticflow.session.report.streams import Stream


@contextmanager
def usable_streams() -> Iterator[None]:
    """For the time of a command, streams that can be written to.

    What the standard error cannot take is dropped. Of the standard output that is an error, unless
    its reader has gone (BrokenPipeError) or there is none.
    """
    _occupy()
    out, err = sys.stdout, sys.stderr

    def lost(error: Exception) -> None:
        if not isinstance(error, OSError):
            return  # closed: there is none
        _abandon(out)
        if isinstance(error, BrokenPipeError):
            raise error
        raise CommandError(f"the output cannot be written: {reason(error)}") from error

    sys.stdout = cast(TextIO, Stream(out, lost))
    sys.stderr = cast(TextIO, Stream(err, lambda error: _abandon(err)))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def _occupy() -> None:
    """Let no file that is opened from now on stand where a standard stream is expected."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _abandon(stream: TextIO) -> None:
    """Let what the stream keeps back go nowhere: Python will try once more when it ends."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # it is closed, or no file
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
