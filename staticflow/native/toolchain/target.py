"""The machine that code is generated for: this one, with all its features."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm

ABREAST = {"abreast_f4": 4, "abreast_f8": 8}  # ranges of several vectors at a time: item bytes
LOCAL_ELEMENTS = 64  # of the memory on the stack that `local_f8()` gives


def target_machine(level: int = 3) -> Any:
    """A new target machine for this processor (an execution engine takes ownership of its own).

    `level` says how much work goes into choosing instructions and registers.
    """
    initialize()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=host_features(),
        opt=level,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def host_features() -> str:
    """The processor's features as LLVM writes them; empty where LLVM cannot tell."""
    try:
        return str(llvm.get_host_cpu_features().flatten())
    except RuntimeError:
        return ""


@functools.cache
def vector_bytes() -> int:
    """The width of this processor's vectors."""
    features = host_features().split(",")
    if "+avx512f" in features:
        return 64
    return 32 if "+avx2" in features else 16


@functools.cache
def initialize() -> None:
    """Make LLVM know of this machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
