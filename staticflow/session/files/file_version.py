"""The version of the format of files and pickles, and who wrote one."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from staticflow.errors import GraphError, fail

VERSION = 1  # of the format; `written_by` is the version of staticflow


def written() -> dict[str, Any]:
    """What every file and pickle says of who wrote it: versions of the format and of staticflow."""
    try:
        version = importlib.metadata.version("staticflow")
    except importlib.metadata.PackageNotFoundError:
        version = "a checkout"
    return {"version": VERSION, "written_by": version}


def check_version(name: str, data: Any) -> None:
    """Refuse data that another staticflow described in another way."""
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        writer = data.get("written_by") if isinstance(data, dict) else None
        fail(
            GraphError,
            f"{name}: version {version} of the file format is not known",
            got=f"a file of staticflow {writer}; this one reads version {VERSION}",
            do="load it with the version of staticflow that saved it",
        )
