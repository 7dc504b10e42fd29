"""How threads that wait for steps leave the processor of the thread that leads; see `team`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from staticflow.native.toolchain.objects import Signature

# What stands in braces in a role's source, where threads choose: masks of CPU_WORDS words.
PLACES = {
    "here": """
        words[SYNC_LEAD_CPU] = i8(sched_getcpu()) + 1""",
    "own": """
    masks = room_for_masks()
    others = i8ptr(masks + 8 * CPU_WORDS)
    left = 0
    known = sched_getaffinity(i4(0), 8 * CPU_WORDS, masks)""",
    "apart": """
        cpu = words[SYNC_LEAD_CPU]
        if cpu != left and known == 0 and 0 < cpu <= 64 * CPU_WORDS:
            left = cpu
            for i in range(CPU_WORDS):
                others[i] = i8ptr(masks)[i]
            others[(cpu - 1) // 64] &= ~(1 << ((cpu - 1) % 64))
            sched_setaffinity(i4(0), 8 * CPU_WORDS, masks + 8 * CPU_WORDS)""",
    "back": """
    if left != 0:
        sched_setaffinity(i4(0), 8 * CPU_WORDS, masks)""",
}
CPU_WORDS = 16  # as glibc's cpu_set_t
_AFFINITY = Signature("i4", ("i4", "i8", "i8"))
CHOOSES = sys.platform == "linux"
SYSTEM = {
    "sched_getcpu": Signature("i4", ()),
    "sched_getaffinity": _AFFINITY,
    "sched_setaffinity": _AFFINITY,
}


def room_for_masks() -> Mapping[str, object]:
    """The intrinsic of that name."""
    from llvmlite import ir

    from staticflow.native.toolchain.intrinsics import declare

    def emit(builder: Any) -> Any:
        """The address of room on the stack for two masks of processors."""
        word = ir.IntType(64)
        with builder.goto_entry_block():
            place = builder.alloca(ir.ArrayType(word, 2 * CPU_WORDS))
        return builder.ptrtoint(place, word)

    return {"room_for_masks": declare("room_for_masks", "i8", (), emit)}


def with_places(text: str, chooses: bool) -> str:
    """A role's source, for a system where threads choose their processors, or another."""
    for hole, lines in PLACES.items():
        text = text.replace(f"{{{hole}}}\n", f"{lines[1:]}\n" if chooses else "")
    return text
