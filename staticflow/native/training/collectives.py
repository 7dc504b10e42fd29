"""What the shards of a training step make together: sums over them, products by their owners."""

from __future__ import annotations

from staticflow.native.gemm.products import gemm
from staticflow.native.toolchain.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.layout import OWNED_WORDS, Owned
from staticflow.native.training.worker import worker

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

# See `training.layout.Owned`.
OWN_PRODUCTS = '''
def own_products(records, count):
    """Make the parts of products that a shard owns, one shard's rows after the other."""
    for r in range(count):
        x = i8ptr(records + 8 * OWNED_WORDS * r)
        a = i8ptr(x[A_SLOT])[0] + x[A_OFFSET]
        b = i8ptr(x[B_SLOT])[0] + x[B_OFFSET]
        gemm(
            x[M], x[N], x[K], a, x[A_ROW], x[A_COLUMN], b, x[B_ROW], x[B_COLUMN],
            x[C], x[C_ROW], x[ADD], x[WORK],
        )
    return 0
'''


def own_products(toolchain: Toolchain, suffix: str) -> NativeFunction:
    """The function that makes the `Owned` products of a dtype, for the training worker."""
    names = {"OWNED_WORDS": OWNED_WORDS, **{entry.name: int(entry) for entry in Owned}}
    source = KernelSource(
        name="own_products",
        source=OWN_PRODUCTS,
        signature=Signature("i8", ("i8", "i8")),
        externals={"gemm": gemm(toolchain, suffix)},
        namespace=lambda: names,
        namespace_key=(str(names),),
        noalias=False,
    )
    return toolchain.kernel(source)


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
