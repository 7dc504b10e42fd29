"""Let two threads make one half of the rows each, through a chain of products.

    before               after                 one thread       the other
    t = x @ u                                  rows 0 .. h      rows h .. n
    t = t * d            halves of rows of     t = x @ u        t = x @ u
    y = t @ v            x, t and y            t = t * d        t = t * d
                                               y = t @ v        y = t @ v

Products of some microseconds are too small to be shared one by one, since threads would have to
wait for each other after each. The rows of a Jacobian, which are many vectors that go through the
same products, need each other nowhere. Whether the chain is long enough to share is decided when
the sizes are known.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.ir.steps import HalvesStep, KernelStep, ProductStep, Step, block_names
from staticflow.compiler.schedule.epilogue import fuse_epilogues
from staticflow.compiler.schedule.row_chains import Chain
from staticflow.graph.dims import Dim

FEWEST_PRODUCTS = 2  # one alone is shared in pieces if it is large, see `product_pool`
REACH = 16  # steps that have nothing to do with the rows, between two that have


def in_halves(steps: Sequence[Step]) -> list[Step]:
    """The steps, with chains of products over the same rows as steps of their own."""
    result: list[Step] = []
    rest = list(steps)
    while rest:
        found = _halves(rest, len(result))
        if found is None:
            result.append(rest.pop(0))
        else:
            step, rest = found
            result.append(step)
    return result


def _halves(steps: list[Step], number: int) -> tuple[HalvesStep, list[Step]] | None:
    """The chain that starts with the first step, and the steps behind it."""
    rows = _rows(steps)
    if rows is None:
        return None
    begin, at, count = map(Dim.named, block_names(number))
    chain = Chain(rows, begin, at, count)
    taken = _taken(chain, steps)
    whole = tuple(steps[position] for position in taken)
    products = [step for step in whole if isinstance(step, ProductStep)]
    if len(products) < FEWEST_PRODUCTS:
        return None
    length = taken[-1] + 1
    before = tuple(steps[position] for position in range(length) if position not in taken)
    body = tuple(fuse_epilogues(chain.body[: len(whole)]))
    step = HalvesStep(number, rows, before, _needs(before, body), body, whole, products[0].node)
    return step, steps[length:]


def _needs(before: Sequence[Step], body: Sequence[Step]) -> tuple[int, ...]:
    """How many of the steps before the chain each of its steps has to come after."""
    return tuple(
        max((i for i, other in enumerate(before, 1) if _must_wait(step, other)), default=0)
        for step in body
    )


def _must_wait(step: Step, other: Step) -> bool:
    return bool(step.reads & other.writes or step.writes & (other.reads | other.writes))


def _rows(steps: Sequence[Step]) -> Dim | None:
    """The rows of a chain that the first step may begin: those of the next product of matrices."""
    for step in steps[:REACH]:
        if isinstance(step, ProductStep) and step.m != 1 and step.n != 1:
            rows = step.m
            return rows if isinstance(rows, Dim) and rows.name is not None else None
        if not isinstance(step, KernelStep | ProductStep):
            return None
    return None


def _taken(chain: Chain, steps: Sequence[Step]) -> list[int]:
    """The positions of the steps that the chain takes, the first step being one of them."""
    taken: list[int] = []
    for position, step in enumerate(steps):
        if position - (taken[-1] if taken else 0) > REACH or _sums_over(step, chain.rows):
            break
        count = len(chain.body)
        if not chain.take(step):
            break
        if len(chain.body) > count:
            taken.append(position)
        elif not taken:
            break
    return taken


def _sums_over(step: Step, rows: Dim) -> bool:
    return isinstance(step, ProductStep) and step.m != rows and rows in (step.n, step.k)
