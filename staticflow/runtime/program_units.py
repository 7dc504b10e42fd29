"""What the toolchain gets of a program: each kernel and driver as a unit of source.

A program that is loaded and a program that was printed and is run from its file (`printed`) make
the same units of the same text, and so find the same code in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from staticflow.compiler.codegen.driver_abi import PEERS, SHARDS, SYNC
from staticflow.native.gemm.products import pack, packed_gemm, product
from staticflow.native.threads.product_pool import shared_product
from staticflow.native.toolchain.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.toolchain.source_hash import math_key
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.collectives import all_sum

DRIVER_SIGNATURE = Signature("i8", ("i8*", "i8*"))  # T and S
BLOCK_SIGNATURE = Signature("i8", ("i8", "i8", "i8"))  # T, which part, scratch for products

# What makes the products that drivers call, by their names without the dtype.
PRODUCTS: Mapping[str, Callable[[Toolchain, str], External]] = {
    "gemm": product, "shared_gemm": shared_product, "packed_gemm": packed_gemm, "pack": pack,
}  # fmt: skip


def sum_over_shards(toolchain: Toolchain, suffix: str) -> External:
    """The sum of a buffer over all shards, as drivers call it."""
    return all_sum(toolchain, suffix, {"SYNC": SYNC, "PEERS": PEERS, "SHARDS": SHARDS})


def kernel_unit(
    name: str, source: str, arguments: tuple[str, ...], externals: Mapping[str, External]
) -> KernelSource:
    """A loop nest over pointers and sizes."""
    return KernelSource(
        name=name,
        source=source,
        signature=Signature("", arguments),
        externals=externals,
        namespace=_kernel_names,
        namespace_key=(math_key(),),
    )


def by_words(kernel: External | NativeFunction) -> External:
    """A kernel as drivers call it: every pointer is an address."""
    return External(kernel.symbol, Signature("", ("i8",) * len(kernel.signature.arguments)))


def driver_unit(
    name: str, source: str, signature: Signature, externals: Mapping[str, External]
) -> KernelSource:
    """A function that calls others in order: these, and no more, are its externals."""
    return KernelSource(
        name=name,
        source=source,
        signature=signature,
        externals=externals,
        namespace=_driver_names,
        noalias=False,
    )


def _kernel_names() -> Mapping[str, object]:
    from staticflow.native.kernel_names import kernel_namespace  # costs an import of numba

    return kernel_namespace()


def _driver_names() -> Mapping[str, object]:
    from staticflow.native.kernel_names import cycles

    return {"cycles": cycles}
