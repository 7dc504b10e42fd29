"""The native routines that drivers call by name: matrix products and sums over shards."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from staticflow.native.objects import External, KernelSource, Signature
from staticflow.native.target import host_features
from staticflow.native.toolchain import Toolchain
from staticflow.native.worker import worker

DTYPES = {"f4": "float32", "f8": "float64"}
GEMM_SIGNATURE = Signature("", ("i8",) * 13)

# T's entries: the worker's table, the addresses of all shards' tables T, the number of shards.
ALL_SUM = '''
def all_sum(T, source, target, count):
    """Sum a buffer over the shards, in their order, into a buffer of this shard."""
    out = {t}ptr(T[target])
    shards = T[SHARDS]
    own = {t}ptr(T[source])
    if shards <= 1:
        for i in range(count):
            out[i] = own[i]
        return 0
    context = T[SYNC]
    if barrier(context) != 0:
        return 1
    peers = i8ptr(T[PEERS])
    for s in range(shards):
        part = {t}ptr(i8ptr(peers[s])[source])
        if s == 0:
            for i in range(count):
                out[i] = part[i]
        else:
            for i in range(count):
                out[i] += part[i]
    return 1 if barrier(context) != 0 else 0
'''


def product(toolchain: Toolchain, suffix: str) -> External:
    """The matrix product of a dtype."""
    from staticflow.native.gemm import gemm_ir

    width = vector_bytes()
    key = ["gemm", suffix, str(width), _sources("gemm*.py")]
    toolchain.module(lambda: gemm_ir(DTYPES[suffix], width), key)
    return External(f"sf_gemm_{suffix}", GEMM_SIGNATURE)


def all_sum(toolchain: Toolchain, suffix: str, entries: dict[str, int]) -> External:
    """The sum over shards of a dtype; `entries` are T's header entries by name."""
    source = KernelSource(
        name="all_sum",
        source=ALL_SUM.replace("{t}", suffix),
        signature=Signature("i8", ("i8*", "i8", "i8", "i8")),
        externals={"barrier": worker(toolchain).barrier.external},
        namespace=lambda: entries,
        namespace_key=(str(sorted(entries.items())),),
        noalias=False,
    )
    return toolchain.kernel(source).external


@functools.cache
def vector_bytes() -> int:
    """The width of this processor's vectors."""
    features = host_features().split(",")
    if "+avx512f" in features:
        return 64
    return 32 if "+avx2" in features else 16


@functools.cache
def _sources(pattern: str) -> str:
    """A hash over the files that define a native routine: an edited kernel is another kernel."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def math_key() -> str:
    """A hash over the files that define the scalar functions of kernels."""
    return "".join(map(_sources, ("*math*.py", "random_formulas.py", "kernel_names.py")))
