"""The first product of a training step as partial sums: each shard over the weights it updates.

`mark_split_k` says which product can be made so, and why. Here it is decided, for given sizes,
whether it is; and the worker gets its records: products of a shard's columns of X, of every shard's
rows, and what a shard has to add up afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staticflow.compiler.codegen.driver_abi import HEADER
from staticflow.compiler.cost_model import NS_PER_BARRIER, NS_PER_BYTE
from staticflow.compiler.ir.steps import ProductStep
from staticflow.compiler.lowering.buffers import ITEMSIZE
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Param
from staticflow.native import memory
from staticflow.native.memory import Words, records, words, words_of
from staticflow.native.training.layout import PARTS_WORDS, Parts
from staticflow.runtime.parameters import FlatArray, Span
from staticflow.runtime.program import Frame
from staticflow.training.owner_computes import MOST_WORK
from staticflow.training.step_programs import StepPrograms

WIDEST_BYTES = 1 << 22  # of W: beyond it, its rows come out of memory in either case


@dataclass(frozen=True)
class PartialProduct:
    """The product, and where its W lies in the flat array of parameters."""

    step: ProductStep
    span: Span
    rows: int  # of W
    columns: int

    def own_rows(self, first: int, end: int) -> tuple[int, int]:
        """The rows of W that count as those of a slice."""
        top, bottom = (
            min(max((cut - self.span.start) // self.columns, 0), self.rows) for cut in (first, end)
        )
        return top, bottom


def partial_product(
    programs: StepPrograms,
    flat: FlatArray,
    env: Mapping[str, int],
    cuts: Sequence[tuple[int, int]],
) -> PartialProduct | None:
    """The product that is worth making in parts, for a batch of the sizes `env`.

    What shards then need not fetch of each other's rows of W must outweigh the parts of Z that they
    exchange, and two more barriers.
    """
    compiled = programs.forward.compiled
    step = compiled.steps[0] if compiled.steps else None
    if not isinstance(step, ProductStep) or not step.split_k:
        return None
    spans = {span.node.name: span for span in flat.spans}
    weight = compiled.assignment.buffers[step.b.place[0]].node
    span = spans.get(weight.name)
    if span is None or not isinstance(weight.op, Param):
        return None
    sizes = compiled.sized.sizes_by_name(env)
    m, n, k = (evaluate(d, sizes) for d in (step.m, step.n, step.k))
    product = PartialProduct(step, span, k, n)
    if any(top == bottom for top, bottom in (product.own_rows(*cut) for cut in cuts)):
        return None
    item, others = ITEMSIZE[step.dtype], (len(cuts) - 1) / len(cuts)
    saved = NS_PER_BYTE * item * others * n * (k - 2 * m) - 2 * NS_PER_BARRIER
    small = n * k * item <= WIDEST_BYTES and m * n * k <= MOST_WORK
    return product if saved > 0 and small else None


def parts_of(
    product: PartialProduct,
    cuts: Sequence[tuple[int, int]],
    frames: Sequence[Frame],
    works: Sequence[int],
) -> list[tuple[Words, tuple[object, ...]]]:
    """The worker's record for every shard (`training.layout.Parts`), and what it points at.

    A shard makes its part of every shard's rows of Z; its own goes to where the program expects Z.
    `frames` are those of all shards, `works` the addresses of their scratch memory.
    """
    step, n, item = product.step, product.columns, ITEMSIZE[product.step.dtype]
    rows = [evaluate(step.m, frame.sizes_by_name()) for frame in frames]
    z = [int(frame.T[HEADER + step.c.place[0]]) for frame in frames]
    own = [[memory.aligned(m * n * item) for m in rows] for _ in frames]
    made: list[tuple[Words, tuple[object, ...]]] = []
    for shard, frame in enumerate(frames):
        top, bottom = product.own_rows(*cuts[shard])
        b = [frame.entry_address(step.b.place[0]), item * top * n, n, 1]
        products = []
        for peer, other in enumerate(frames):
            a = [other.entry_address(step.a.place[0]), item * top, product.rows, 1]
            target = z[peer] if peer == shard else own[shard][peer].ctypes.data
            products.append([rows[peer], n, bottom - top, *a, *b, target, n, 0, works[shard]])
        others = [own[p][shard].ctypes.data for p in range(len(frames)) if p != shard]
        tables = records(products), words_of([z[shard], *others])
        record = words(PARTS_WORDS)
        record[Parts.PRODUCTS], record[Parts.COUNT] = tables[0].ctypes.data, len(products)
        record[Parts.PARTS], record[Parts.ITEMS] = tables[1].ctypes.data, rows[shard] * n
        record[Parts.ITEM_BYTES] = item
        made.append((record, (*tables, own)))
    return made
