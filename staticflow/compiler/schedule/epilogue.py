"""Let a product do what a kernel would do with its result, while that is in registers.

Before:  z = x @ w                              a pass over z to store it
         z = relu(z + b)                        ... and one to read and store it again
After:   z = relu(x @ w + b)

It goes for a kernel right behind a product that runs over its rows and columns, and reads and
writes nothing but matrices of that shape, values of columns, single values and sums over rows, by
operations that are an instruction or two. Functions such as tanh take as long either way. The
kernel stays beside the product, for the sizes at which that is made in a way that cannot finish
(`gemm.epilogue`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from staticflow.compiler.codegen.kernels import scalar_text
from staticflow.compiler.ir.loops import (
    Apply,
    Kernel,
    Let,
    Literal,
    Load,
    Scalar,
    Size,
    StoreElement,
)
from staticflow.compiler.ir.steps import Epilogue, KernelStep, ProductStep, Step
from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.compiler.schedule.widen_rows import RowNest, row_nest
from staticflow.graph.dims import AnyDim
from staticflow.native.gemm.epilogue_text import (
    FLOAT,
    LINE,
    MATRIX,
    SINGLE,
    SUM,
    TRUTH,
    NamedValue,
    Number,
    Tile,
    Variable,
    VectorValue,
    vector_value,
)

_ROLES = {"flat": MATRIX, "repeated": LINE, "fixed": SINGLE, "summed": SUM}


def fuse_epilogues(steps: Sequence[Step]) -> list[Step]:
    """The steps, with products that take the kernel behind them along."""
    found: list[Step] = []
    for step in steps:
        last = found[-1] if found else None
        if isinstance(last, ProductStep) and isinstance(step, KernelStep):
            tile = tile_of(last, step)
            if tile is not None:
                found[-1] = replace(last, epilogue=Epilogue(tile, step))
                continue
        found.append(step)
    return found


def tile_of(product: ProductStep, step: KernelStep) -> Tile | None:
    """What the kernel does, if the product can do it; else None."""
    nest = row_nest(step.kernel)
    if nest is None or not _is_alone(product, step) or not _fits(product, step, nest):
        return None
    places = dict(zip((p for p, _ in step.kernel.pointers), step.pointers, strict=True))
    own = [p for p, place in places.items() if place == product.c.place]
    if len(own) != 1 or nest.kinds.get(own[0]) != "flat":
        return None
    return _tile(nest, SUFFIX[product.dtype], step.kernel, own[0])


def _is_alone(product: ProductStep, step: KernelStep) -> bool:
    """Whether the product is made here, whole, and the kernel spoils nothing that it reads."""
    marked = product.owner_bit or product.epilogue or product.panels is not None
    plain = not (product.batch or marked)
    return plain and product.adds_after == 0 and not product.reads & step.writes


def _fits(product: ProductStep, step: KernelStep, nest: RowNest) -> bool:
    """Whether the kernel runs over the product's rows and columns, and these lie side by side."""
    sizes: dict[Size, AnyDim] = dict(zip(step.kernel.sizes, step.sizes, strict=True))
    extents = [sizes.get(nest.width), sizes.get(nest.height)]
    contiguous = product.c.row == product.n and product.c.column == 1
    return contiguous and extents == [product.n, product.m] == list(sizes.values())


def _tile(nest: RowNest, suffix: str, kernel: Kernel, own: str) -> Tile | None:
    if nest.after or any(code != f"{suffix}*" for _, code in kernel.pointers):
        return None
    loads: list[tuple[str, str]] = []
    lets: list[NamedValue] = []
    kinds: dict[str, str] = {}
    stores: list[tuple[str, str]] = []
    for statement in nest.columns.body:
        if isinstance(statement, Let) and isinstance(statement.value, Load):
            loads.append((statement.name, statement.value.pointer))
            kinds[statement.name] = FLOAT
        elif isinstance(statement, Let):
            value = _vectors(statement.value, kinds, suffix)
            if value is None or statement.dtype != {FLOAT: suffix, TRUTH: "b1"}[value.kind]:
                return None
            lets.append(NamedValue(statement.name, value, scalar_text(statement.value)))
            kinds[statement.name] = value.kind
        elif isinstance(statement, StoreElement) and _is_float(statement.value, kinds):
            stores.append((statement.target.pointer, str(statement.value)))
        else:
            return None
    result = [name for name, pointer in loads if pointer == own]
    if len(result) != 1:
        return None
    if own not in dict(stores):
        stores.append((own, result[0]))
    pointers = tuple((p, _ROLES[nest.kinds[p]]) for p, _ in kernel.pointers)
    return Tile(suffix, pointers, own, tuple(loads), tuple(lets), tuple(stores))


def _is_float(value: Scalar, kinds: Mapping[str, str]) -> bool:
    """Whether a value is a name of a float."""
    return isinstance(value, str) and kinds.get(value) == FLOAT


def _vectors(value: Scalar | Load, kinds: Mapping[str, str], suffix: str) -> VectorValue | None:
    """A scalar of the loop as vectors of `suffix`; None where it is more than some instructions."""
    match value:
        case str():
            return Variable(value, kinds[value]) if value in kinds else None
        case Literal(dtype, number) if dtype == suffix and math.isfinite(number):
            return Number(float(number))
        case Apply():
            parts = [_vectors(arg, kinds, suffix) for arg in value.args]
            operands = dict(zip(value.row.inputs, parts, strict=True))
            known = {letter: part for letter, part in operands.items() if part is not None}
            body = value.row.body.format(**{letter: letter for letter in operands},
                                         t=value.dtype, r=value.result)  # fmt: skip
            return vector_value(body, known, suffix)
    return None
