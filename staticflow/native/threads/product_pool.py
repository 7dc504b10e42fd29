"""Helpers for large matrix products in a single call: threads that take pieces of the result.

A piece is a range of rows (or columns) of the result. Each element is computed by one thread, so
that the bits are the same whoever helps, and if nobody does. There is one pool in a process. How
long a product takes is known when it is done: helpers who slept are called for the next one.

A helper stays awake for half a millisecond after the last product, so that a function that is
called again and again finds it ready; asleep, it needs some 50 us to come, and the caller does not
wait for it.
"""

from __future__ import annotations

import functools
from enum import IntEnum, auto

from staticflow.native.gemm.products import PRODUCT_SIGNATURE, product
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES
from staticflow.native.threads.granted import granted_threads
from staticflow.native.threads.pool import (
    Policy,
    Pool,
    ThreadPool,
    missed,
    opens,
    own,
    pool_kernel,
    rouse,
    settle,
)
from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain, toolchain
from staticflow.native.toolchain.word_function import of_words

SUFFIXES = ("f4", "f8")
IDLE_CYCLES = 1_500_000
# From so many multiplications on a product is shared: about 15 us each, in memory or in registers.
SHARED_THIN, SHARED = 1 << 17, 1 << 20
# A chain of smaller ones from 4 us on, in multiplications of 4 bytes, and from so many rows on.
SHARED_CHAIN, CHAIN_ROWS = 1 << 19, 16
THIN = 4  # a product with one extent below this is as fast as memory is
PIECES, GRAIN = 8, 4
# In cycles. Calls of the short way, which may come seldom, wake helpers for so much work.
WAKE_AFTER, WAKE_AFTER_MOST = 250_000, 50_000_000
PATIENCE = 1000  # looks for the last helper to leave, before the caller sleeps


class Products(IntEnum):
    """The words of the pool that are for products alone."""

    TAKERS = Pool.OWN  # the functions for all dtypes, and for parts
    PIECES = Pool.OWN_TASK
    STEP = auto()
    ARGUMENTS = auto()  # those of the product, 13 words


def worth_sharing(m: int, n: int, k: int) -> bool:
    """Whether a product of these extents is large enough; `share` asks the same."""
    enough = SHARED_THIN if min(m, n, k) < THIN else SHARED
    return m * n * k >= enough and max(m, n) >= 2 * GRAIN


ARGUMENTS = "m n k a a_row a_column b b_row b_column c c_row add"

PIECE_SOURCE = '''
def piece(begin, step, {arguments}, work, stop):
    """The rows of the result, or its columns if it is wider than high, from `begin` on."""
    if m >= n:
        product(min(step, m - begin), n, k, a + ITEM * begin * a_row, a_row, a_column,
                b, b_row, b_column, c + ITEM * begin * c_row, c_row, add, work, stop)
    else:
        product(m, min(step, n - begin), k, a, a_row, a_column,
                b + ITEM * begin * b_column, b_row, b_column, c + ITEM * begin, c_row,
                add, work, stop)
'''

TAKE_SOURCE = '''
def take(pool, work):
    """Compute pieces of the open product until all are taken; returns how many it took."""
    words = i8ptr(pool)
    {arguments} = {values}
    stop = words[ARGUMENTS + 12]
    step = words[STEP]
    taken = 0
    while True:
        number = atomic_add(pool + 8 * NEXT, 1)
        if number >= words[PIECES]:
            return taken
        taken += 1
        piece(number * step, step, {arguments}, work, stop)
'''

SHARE_SOURCE = '''
def share({arguments}, work, stop, pool):
    """The product, in pieces for whoever is there if it is large."""
    thin = min(min(m, n), k) < THIN
    extent = max(m, n)
    if pool == 0 or m * n * k < (SHARED_THIN if thin else SHARED) or extent < 2 * GRAIN:
        product({arguments}, work, stop)
        return
    step = ((extent - 1) // (PIECE_COUNT * GRAIN) + 1) * GRAIN
    if own(pool) == 0:
        for begin in range(0, extent, step):
            piece(begin, step, {arguments}, work, stop)
        return
    words = i8ptr(pool)
    {stores}
    words[ARGUMENTS + 12] = stop
    words[STEP] = step
    words[PIECES] = (extent - 1) // step + 1
    open(pool, words[TAKER], pool)
    close(pool, work)
'''

CLOSE_SOURCE = '''
def close(pool, work):
    """See what is open done, and give the pool back."""
    words = i8ptr(pool)
    began = cycles()
    call2(words[TASK], pool, work)
    helped = settle(pool, began, PATIENCE, words[ARGUMENTS + 12])
    words[NEXT] = 0
    if helped == 0:
        if missed(pool, cycles() - began) != 0:
            rouse(pool)
    store_release(pool + 8 * OWNER, 0)
'''

TAKE_PARTS_SOURCE = '''
def take_parts(pool, work):
    """Call the function for parts of its rows until all are taken; returns how many it took."""
    words = i8ptr(pool)
    taken = 0
    while True:
        part = atomic_add(pool + 8 * NEXT, 1)
        if part >= words[PIECES]:
            return taken
        taken += 1
        call3(words[ARGUMENTS], words[ARGUMENTS + 1], part, work)
'''

BEGIN_PARTS_SOURCE = '''
def begin_parts(table, function, parts, pool):
    """Let helpers call function(table, part, work) for parts; 0 if there are none for it."""
    if pool == 0 or parts < 2:
        return 0
    if own(pool) == 0:
        return 0
    words = i8ptr(pool)
    words[ARGUMENTS] = function
    words[ARGUMENTS + 1] = table
    words[ARGUMENTS + 12] = 0
    words[PIECES] = parts
    open(pool, words[PARTS_TAKER], pool)
    return 1
'''

END_PARTS_SOURCE = '''
def end_parts(begun, table, function, parts, work, pool):
    """Call it for those parts that nobody has taken, all of them if none has begun."""
    if begun != 0:
        close(pool, work)
        return
    for part in range(parts):
        call3(function, table, part, work)
'''


def _constants(suffix: str) -> dict[str, int]:
    table = {word.name: int(word) for word in Products}
    sizes = {"THIN": THIN, "SHARED": SHARED, "SHARED_THIN": SHARED_THIN, "GRAIN": GRAIN}
    item = {"ITEM": 8 if suffix == "f8" else 4, "TAKER": _taker(suffix)}
    limits = {"PIECE_COUNT": PIECES, "PATIENCE": PATIENCE, "PARTS_TAKER": _taker("")}
    return {**table, **sizes, **item, **limits}


def _taker(suffix: str) -> int:
    """The word that has the function which takes pieces of a dtype's product; of parts, for ""."""
    return Products.TAKERS + (SUFFIXES.index(suffix) if suffix else len(SUFFIXES))


def _filled(source: str) -> str:
    names = ARGUMENTS.split()
    places = [f"words[ARGUMENTS + {i}]" for i in range(len(names))]
    stores = [f"{place} = {name}" for place, name in zip(places, names, strict=True)]
    source = source.replace("{arguments}", ", ".join(names))
    return source.replace("{values}", ", ".join(places)).replace("{stores}", "; ".join(stores))


def _kernel(
    tools: Toolchain,
    name: str,
    source: str,
    signature: Signature,
    suffix: str = "f8",
    **externals: External,
) -> NativeFunction:
    return pool_kernel(tools, name, _filled(source), signature, _constants(suffix), **externals)


def shared_product(tools: Toolchain, suffix: str) -> External:
    """The matrix product of a dtype that helpers may take part in.

    Its arguments are those of `products.product` and the address of the pool, or 0.
    """
    words = PRODUCT_SIGNATURE.arguments
    whole = product(tools, suffix)
    cut = Signature("", ("i8", "i8", *words))
    piece = _kernel(tools, "piece", PIECE_SOURCE, cut, suffix, product=whole).external
    take = _kernel(tools, "take", TAKE_SOURCE, of_words(2), suffix, piece=piece)
    pool().table[_taker(suffix)] = take.address
    return _kernel(
        tools,
        "share",
        SHARE_SOURCE,
        Signature("", (*words, "i8")),
        suffix,
        product=whole,
        piece=piece,
        own=own(tools),
        open=opens(tools),
        close=close(tools),
    ).external


def parts_functions(tools: Toolchain) -> dict[str, External]:
    """What lets helpers call function(table, part, work): `begin_parts` and `end_parts`."""
    pool().table[_taker("")] = _kernel(tools, "take_parts", TAKE_PARTS_SOURCE, of_words(2)).address
    four, six = of_words(4), Signature("", ("i8",) * 6)
    begin = _kernel(
        tools, "begin_parts", BEGIN_PARTS_SOURCE, four, own=own(tools), open=opens(tools)
    )
    end = _kernel(tools, "end_parts", END_PARTS_SOURCE, six, close=close(tools))
    return {"begin_parts": begin.external, "end_parts": end.external}


def close(tools: Toolchain) -> External:
    """close(pool, work): the caller's part, after `open`."""
    return _kernel(
        tools,
        "close",
        CLOSE_SOURCE,
        Signature("", ("i8", "i8")),
        settle=settle(tools),
        missed=missed(tools),
        rouse=rouse(tools).external,
    ).external


@functools.cache
def pool() -> ThreadPool:
    """The pool of this process."""
    policy = Policy(IDLE_CYCLES, WAKE_AFTER, WAKE_AFTER_MOST, GEMM_WORK_BYTES)
    helpers = granted_threads() - 1
    return ThreadPool("staticflow-product-helper", helpers, toolchain(), policy)
