"""What a command is to write, refused before there is anything to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from staticflow.cli.errors import CommandError
from staticflow.data.opening import reason, shown
from staticflow.session.files.atomic_file import check_target


def check_targets(targets: Sequence[Path], sources: Sequence[Path] = ()) -> None:
    """Refuse files that cannot be written, and what would overwrite a source or each other."""
    taken = {source.resolve() for source in sources if source.exists()}
    for path in targets:
        _check(path)
        if path.resolve() in taken:
            raise CommandError(f"{shown(path)} is read, or written, already; name another file")
        taken.add(path.resolve())


def _check(path: Path) -> None:
    try:
        if path.is_dir():
            raise CommandError(f"{shown(path)} is a folder; name a file to write")
        if not path.absolute().parent.is_dir():
            raise CommandError(f"there is no folder {path.parent} to write {path.name} into")
        check_target(path)
    except (OSError, ValueError) as error:
        if isinstance(error, CommandError):
            raise
        raise CommandError(f"{shown(path)} cannot be written: {reason(error)}") from error
