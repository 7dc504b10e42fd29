"""Graph to source: `pipeline` lists the passes, in order and with reasons; `compile` runs them.

In: output nodes. Out: a `Compiled` program: kernels, drivers, tables, and a memory plan.
The folders stand in the order of their use: passes, lowering, schedule, codegen; `ir` is what
they speak, `formula` prints graphs as mathematics, `tracing` shows what each pass leaves. It knows
kinds and attributes of ops, never one by name. May import: native, graph, errors (`formula` also
ops).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from staticflow.compiler.tracing import PIPELINE, Pass, State, Trace, TracedPass, trace, without

__all__ = ["PIPELINE", "Pass", "State", "Trace", "TracedPass", "trace", "without"]


def __getattr__(name: str) -> Any:
    """What looks into the compiler is imported when it is first asked for."""
    import importlib

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("staticflow.compiler.tracing"), name)
