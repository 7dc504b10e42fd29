"""Read a matrix once for all the matrix-vector products with it: its rows go by in blocks.

    before                          after
    z = X @ t                       for rows of X that fit the cache:
    u = f(z)                            z = X @ t     these rows
    g = X.T @ u                         u = f(z)      these rows
                                        g += X.T @ u  what these rows give

A product with a vector is as fast as memory is, so that a large X read twice takes twice as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticflow.compiler.ir.steps import BlockStep, Place, ProductStep, Step, block_names
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.compiler.schedule.row_chains import Chain
from staticflow.graph.dims import AnyDim, Dim


def in_row_blocks(steps: Sequence[Step], buffers: list[Buffer]) -> list[Step]:
    """The steps, with chains over the rows of one matrix as steps of their own.

    Buffers for what two threads sum up are added to `buffers`.
    """
    result: list[Step] = []
    rest = list(steps)
    while rest:
        block = _block(rest, len(result)) if _is_thin(rest[0]) else None
        if block is None:
            result.append(rest.pop(0))
        else:
            before, step, rest = block
            result += [*before, replace(step, sums=_partials(step, buffers))]
    return result


def _partials(step: BlockStep, buffers: list[Buffer]) -> tuple[tuple[int, int], ...]:
    pairs = []
    for inner in step.body:
        if isinstance(inner, ProductStep) and inner.adds_after != 0:
            whole = buffers[inner.c.place[0]]
            partial = Buffer(len(buffers), inner.node, whole.dtype, whole.count, "temp")
            buffers.append(partial)
            pairs.append((whole.index, partial.index))
    return tuple(pairs)


def _is_thin(step: Step) -> bool:
    """Whether a step is a matrix times a vector."""
    return isinstance(step, ProductStep) and step.n == 1 and step.m != 1 and not step.batch


def _block(steps: list[Step], number: int) -> tuple[list[Step], BlockStep, list[Step]] | None:
    """What goes before the block that starts with the first step, the block, and what comes behind;
    None if no later product sums over the rows of that step's matrix.
    """
    first = steps[0]
    assert isinstance(first, ProductStep)
    rows = first.m
    if not isinstance(rows, Dim) or rows.name is None:
        return None
    begin, at, count = map(Dim.named, block_names(number))
    chain = Chain(rows, begin, at, count)
    length = 0
    for position, step in enumerate(steps):
        if not chain.take(step):
            break
        if _sums_rows_of(step, first.a.place, rows):
            length = position + 1
    if not length:
        return None
    chain = Chain(rows, begin, at, count)
    for step in steps[:length]:
        chain.take(step)
    block = BlockStep(number, rows, first.a.row, first.dtype, tuple(chain.body), (), first.node)
    return chain.before, block, steps[length:]


def _sums_rows_of(step: Step, matrix: Place, rows: AnyDim) -> bool:
    if not isinstance(step, ProductStep) or step.k != rows or 1 not in (step.m, step.n):
        return False
    return (step.b if step.m == 1 else step.a).place == matrix
