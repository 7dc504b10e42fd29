"""Mark the product of a training step that shards can make in parts of its sum.

The first product of most networks is X W, with rows of a batch and weights. Every shard reads all
of W for its rows of X; but it has updated only a part of W's rows, and fetches the others from the
caches of other cores. Where W is large and the batch is not, it is cheaper that each shard
multiplies by the rows of W that it updates, for all rows of X, and gives the others their part:

    by rows                by parts of the sum, with T the top of W and B its bottom
    shard 0:  Z0 = X0 W    P0 = X0[:, top] T       Q1 = X1[:, top] T          then Z0 = P0 + Q0
    shard 1:  Z1 = X1 W    P1 = X1[:, bottom] B    Q0 = X0[:, bottom] B       then Z1 = P1 + Q1

The marked product is skipped where the table T has its bit set: `training.split_k` has it made
before the program runs. So it must be the first step, and what it reads must be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticflow.compiler.ir.steps import ProductStep, Step
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.compiler.schedule.mark_owner_computes import SPLIT_K_BIT
from staticflow.graph.leaves import Input, Param


def mark_split_k(steps: Sequence[Step], buffers: Sequence[Buffer], shard: str | None) -> list[Step]:
    """The steps; the first has a bit if it is such a product over the rows that shards split."""
    if not steps or shard is None:
        return list(steps)
    first = steps[0]
    if not isinstance(first, ProductStep) or not _can_split(first, buffers, shard):
        return list(steps)
    return [replace(first, owner_bit=SPLIT_K_BIT, split_k=True), *steps[1:]]


def _can_split(step: ProductStep, buffers: Sequence[Buffer], shard: str) -> bool:
    x, w, z = (buffers[operand.place[0]] for operand in (step.a, step.b, step.c))
    if not isinstance(x.node.op, Input) or not isinstance(w.node.op, Param):
        return False
    plain = not (step.batch or step.owner_bit) and step.adds_after == 0 and step.panels is None
    split = x.node.ndim > 0 and str(x.node.shape[0]) == shard
    operands = (step.a, step.b, step.c)
    whole = all(operand.place[1] == 0 and operand.column == 1 for operand in operands)
    tight = step.a.row == step.k and step.b.row == step.c.row == step.n
    return plain and split and whole and tight and z.role == "temp"
