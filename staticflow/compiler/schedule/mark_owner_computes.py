"""Mark the products that shards can leave to whoever owns a part of the result.

The gradient of a weight matrix, X^T dZ, sums over rows of the batch, so that every shard has a part
of all of it, and the parts are as large as the weights. Where they are larger than X and dZ, it is
cheaper that each shard makes SOME rows of the gradient, over all shards' rows of X and dZ:

    summed                                 owned
    shard 0: G0 = X0^T dZ0  | G0 + G1,     G[top]    = X0[:, top]^T dZ0    + X1[:, top]^T dZ1
    shard 1: G1 = X1^T dZ1  | half each    G[bottom] = X0[:, bottom]^T dZ0 + X1[:, bottom]^T dZ1

A marked product has a bit. It is skipped where the table T has the bit set, and made after all
shards are done with the rest (`training.owner_computes`); what it reads must then still be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from staticflow.compiler.ir.steps import ProductStep, Step
from staticflow.compiler.lowering.buffers import Buffer, BufferAssignment
from staticflow.compiler.passes.sharding import Sharding
from staticflow.compiler.passes.sharding_rules import PARTIAL
from staticflow.graph.node import Node

# Of a word of the table, one for `mark_split_k`; products beyond BITS do not wait.
SPLIT_K_BIT, BITS = 1, 63


def mark_owner_computes(
    steps: Sequence[Step],
    assignment: BufferAssignment,
    outputs: Sequence[Node],
    sharding: Sharding,
) -> list[Step]:
    """The steps, with those products marked whose result is an output that shards add up."""
    written = Counter(b for step in steps for b in step.writes)
    read = {b for step in steps for b in step.reads}
    partial = {
        assignment.of(root).buffer
        for root, at in zip(outputs, sharding.of_outputs, strict=True)
        if at == PARTIAL
    }
    alone = {b for b in partial if written[b] == 1 and b not in read}
    bits = iter([SPLIT_K_BIT << k for k in range(1, BITS)])
    marked: list[Step] = []
    changed: set[int] = set()  # by the steps that follow
    for step in reversed(steps):
        if isinstance(step, ProductStep) and _can_wait(step, alone, changed, assignment.buffers):
            step = replace(step, owner_bit=next(bits, 0))
        marked.append(step)
        changed |= step.writes
    return marked[::-1]


def _can_wait(
    step: ProductStep, alone: set[int], changed: set[int], buffers: Sequence[Buffer]
) -> bool:
    if step.batch or step.c.place[0] not in alone or step.reads & changed:
        return False
    in_place = all(buffers[b].moving is None for b in step.reads)
    return in_place and step.c.place[1] == 0 and step.c.row == step.n
