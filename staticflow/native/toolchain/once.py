"""Functions of the library that every program uses: found once, and kept with their toolchain.

To look a function up takes a digest of its source and of all names in it, some 0.1 ms; a session
that begins to train would look twenty of them up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from staticflow.native.toolchain.toolchain import Toolchain

T = TypeVar("T")


def once(make: Callable[[Toolchain], T]) -> Callable[[Toolchain], T]:
    """What `make` gives of a toolchain, made when it is first asked for."""

    @functools.wraps(make)
    def kept(tools: Toolchain) -> T:
        found: Any = tools.library.get(make)
        if found is None:
            found = tools.library[make] = make(tools)
        result: T = found
        return result

    return kept
