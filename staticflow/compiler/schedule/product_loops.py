"""Products of few elements as loops, which LLVM unrolls where their bounds are numbers.

A call of the general product takes some 40 ns, in which 3 x 3 matrices are multiplied twice over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from staticflow.compiler.ir.loops import (
    Assign,
    Code,
    Factors,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Size,
    Stmt,
    StoreElement,
)
from staticflow.compiler.ir.size_classes import size_name
from staticflow.compiler.ir.steps import KernelStep, Operand, Place, ProductStep, Step
from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.graph.dims import AnyDim, evaluate, names_of, product

MOST_MULTIPLICATIONS = 512  # of one product of a stack

Term = tuple[str, Factors]
Spot = Callable[[Place], tuple[str, tuple[Term, ...]]]  # a pointer, and what comes to its index


def known_sizes(sizes: Sequence[AnyDim]) -> dict[str, int]:
    """The size classes that stand for numbers, given what all of them stand for."""
    return {size_name(i): n for i, n in enumerate(sizes) if isinstance(n, int)}


def literal(dim: AnyDim, known: Mapping[str, int]) -> int | None:
    """A size as a number, if all that it is made of are numbers."""
    if isinstance(dim, int):
        return dim
    return evaluate(dim, known) if names_of([dim]) <= known.keys() else None


def factors_of(size: Size) -> Factors:
    """A stride of an index: nothing for 1."""
    return () if size == 1 else (size,)


def is_plain(step: ProductStep) -> bool:
    """Whether a product does nothing but multiply."""
    beside = (step.epilogue, step.panels)
    return beside == (None, None) and step.adds_after == 0 and not step.owner_bit


def product_loops(
    step: ProductStep, number: int, spot: Spot, size: Callable[[AnyDim], Size]
) -> tuple[Stmt, ...]:
    """C[i, j] = sum of A[i, p] B[p, j] for every index of the leading axes.

    `number` tells its names from others in the same kernel.
    """
    suffix = SUFFIX[step.dtype]
    leading = [f"b{level}_{number}" for level in range(len(step.batch))]
    i, j, p, total, a, b = (f"{name}_{number}" for name in ("i", "j", "p", "total", "a", "b"))

    def element(operand: Operand, row: str, column: str) -> Load:
        pointer, terms = spot(operand.place)
        strides = (*operand.batch, operand.row, operand.column)
        own = ((v, n) for v, n in zip((*leading, row, column), strides, strict=True) if n != 0)
        return Load(pointer, Index((*((v, factors_of(size(n))) for v, n in own), *terms)))

    added = Code("{total} + {a} * {b}", (("total", total), ("a", a), ("b", b)))
    inner: tuple[Stmt, ...] = (
        Let(a, element(step.a, i, p), suffix),
        Let(b, element(step.b, p, j), suffix),
        Assign(total, added),
    )
    body: tuple[Stmt, ...] = (
        Let(total, Literal(suffix, 0.0), suffix),
        For(p, size(step.k), inner),
        StoreElement(element(step.c, i, j), total),
    )
    extents = [*zip(leading, step.batch, strict=True), (i, step.m), (j, step.n)]
    for variable, extent in reversed(extents):
        body = (For(variable, size(extent), body),)
    return body


def product_work(step: ProductStep) -> AnyDim:
    """What a product costs element by element, in additions of 4 bytes."""
    return product((*step.batch, step.m, step.n, step.k)) * (4 if step.dtype == "float64" else 2)


def stacked_products(steps: Sequence[Step], sizes: Sequence[AnyDim]) -> list[Step]:
    """Products of stacks of small matrices as kernels.

    `sizes` holds what the size classes stand for, in the user's names.
    """
    known = known_sizes(sizes)

    def changed(step: Step) -> Step:
        if isinstance(step, ProductStep) and step.batch and is_plain(step):
            count = literal(step.m * step.n * step.k, known)
            few = count is not None and count <= MOST_MULTIPLICATIONS
            return _StackKernel(step, known).kernel_step() if few else step
        return step

    return [changed(step) for step in steps]


@dataclass
class _StackKernel:
    """The state of writing the kernel of a stack's product."""

    step: ProductStep
    known: Mapping[str, int]
    pointers: dict[Place, str] = field(default_factory=dict)
    sizes: dict[AnyDim, str] = field(default_factory=dict)

    def kernel_step(self) -> KernelStep:
        """The kernel."""
        step = self.step
        body = product_loops(step, 0, self._spot, self._size)
        pointers = tuple((name, f"{SUFFIX[step.dtype]}*") for name in self.pointers.values())
        return KernelStep(
            Kernel("products", pointers, tuple(self.sizes.values()), body),
            tuple(self.pointers), tuple(self.sizes), step.reads, step.writes, (step.node,),
            product_work(step),
        )  # fmt: skip

    def _spot(self, place: Place) -> tuple[str, tuple[Term, ...]]:
        return self.pointers.setdefault(place, f"p{len(self.pointers)}"), ()

    def _size(self, dim: AnyDim) -> Size:
        number = literal(dim, self.known)
        return self.sizes.setdefault(dim, f"n{len(self.sizes)}") if number is None else number
