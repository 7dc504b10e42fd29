"""Code that is loaded and can be unloaded again, and what happens when nobody needs it any more."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Linked:
    """Code that is loaded: the addresses of its symbols, and the code elsewhere that it calls."""

    addresses: Mapping[str, int]
    uses: tuple[Linked, ...]
    requires: frozenset[str]
    tracker: Any  # LLVM's, which unloads the code when it goes


def when_gone(linked: Linked, act: Callable[[Any], None]) -> None:
    """Call act(tracker) when nobody has the code any more; not at the end of the process."""
    weakref.finalize(linked, act, linked.tracker).atexit = False
