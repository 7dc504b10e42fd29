"""Writing LLVM IR for the matrix product: vectors, masks, addresses and loops of one element type.

`Code` wraps llvmlite's builder with the few words in which the kernels of `gemm.tile`,
`gemm.packing` and `gemm.gemv` are written. Addresses are opaque pointers moved by BYTES, so that
one kernel serves every stride; sizes are 64-bit integers; a value called `row` or `column` is a
distance in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from llvmlite import ir

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
BYTE = ir.IntType(8)
Value: TypeAlias = Any  # an llvmlite value; llvmlite has no types
Values: TypeAlias = dict[str, Any]


def number(value: int) -> ir.Constant:
    """A 64-bit constant."""
    return ir.Constant(I64, value)


class Code:
    """One module under construction, for one element type and one vector width."""

    def __init__(self, dtype: str, vector_bytes: int) -> None:
        self.element: ir.Type = {"float32": ir.FloatType(), "float64": ir.DoubleType()}[dtype]
        self.suffix = {"float32": "f4", "float64": "f8"}[dtype]
        self.size = {"float32": 4, "float64": 8}[dtype]
        self.lanes = vector_bytes // self.size
        self.vector_bytes = vector_bytes
        self.vector = ir.VectorType(self.element, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.module = ir.Module(f"gemm_{self.suffix}")
        self.b = ir.IRBuilder()

    # ---- functions

    def function(self, name: str, pointers: str, integers: str, external: bool = False) -> Values:
        """Start a function; returns its arguments by name. `pointers` and `integers` are words."""
        words = pointers.split() + integers.split()
        kinds = [POINTER] * len(pointers.split()) + [I64] * len(integers.split())
        made = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), name)
        if not external:
            made.linkage = "internal"
        made.attributes.add("nounwind")
        self.b = ir.IRBuilder(made.append_basic_block("entry"))
        return dict(zip(words, made.args, strict=True))

    def call(self, name: str, *args: Value) -> None:
        """Call a function of this module."""
        self.b.call(self.module.globals[name], args)

    def intrinsic(self, name: str, result: ir.Type, *args: Value) -> Value:
        """Call an LLVM intrinsic, declaring it once."""
        known = self.module.globals.get(name)
        if known is None:
            kind = ir.FunctionType(result, [a.type for a in args])
            known = ir.Function(self.module, kind, name)
        return self.b.call(known, args)

    @property
    def overload(self) -> str:
        """The intrinsics' suffix for a vector of this code."""
        return f"v{self.lanes}f{8 * self.size}"

    # ---- integers and addresses

    def add(self, x: Value, y: Value | int) -> Value:
        return self.b.add(x, number(y) if isinstance(y, int) else y)

    def sub(self, x: Value, y: Value | int) -> Value:
        return self.b.sub(x, number(y) if isinstance(y, int) else y)

    def mul(self, x: Value, y: Value | int) -> Value:
        return self.b.mul(x, number(y) if isinstance(y, int) else y)

    def minimum(self, x: Value, y: Value | int) -> Value:
        y = number(y) if isinstance(y, int) else y
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    def vectors(self, count: Value) -> Value:
        """How many vectors hold `count` elements."""
        return self.b.udiv(self.add(count, self.lanes - 1), number(self.lanes))

    def is_(self, x: Value, relation: str, y: Value | int) -> Value:
        return self.b.icmp_signed(relation, x, number(y) if isinstance(y, int) else y)

    def move(self, address: Value, distance: Value | int) -> Value:
        """The address `distance` bytes further."""
        distance = number(distance) if isinstance(distance, int) else distance
        return self.b.gep(address, [distance], source_etype=BYTE)

    def opaque(self, address: Value) -> Value:
        """The same address, its origin hidden from LLVM.

        LLVM would derive all rows of a tile from one pointer by a chain of additions, each waiting
        for the one before: twice the time of the multiplications in a tile of 16 rows.
        """
        kind = ir.FunctionType(POINTER, [POINTER])
        return self.b.asm(kind, "", "=r,0", [address], side_effect=False)

    # ---- elements and vectors

    def load_scalar(self, address: Value) -> Value:
        return self.b.load(address, typ=self.element, align=self.size)

    def store_scalar(self, value: Value, address: Value) -> None:
        self.b.store(value, address, align=self.size)

    def splat(self, scalar: Value, lanes: ir.VectorType | None = None) -> Value:
        """A vector with `scalar` in every lane."""
        kind = lanes or self.vector
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
        return self.b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def broadcast(self, address: Value) -> Value:
        """A vector with the element at `address` in every lane."""
        return self.splat(self.load_scalar(address))

    def mask(self, count: Value) -> Value:
        """The mask of the first `count` lanes."""
        kind = ir.VectorType(I32, self.lanes)
        lane = ir.Constant(kind, list(range(self.lanes)))
        return self.b.icmp_signed("<", lane, self.splat(self.b.trunc(count, I32), kind))

    def mask_from(self, start: Value) -> Value:
        """The mask of the lanes from `start` on."""
        kind = ir.VectorType(I32, self.lanes)
        lane = ir.Constant(kind, list(range(self.lanes)))
        return self.b.icmp_signed(">=", lane, self.splat(self.b.trunc(start, I32), kind))

    def load(self, address: Value, mask: Value | None = None) -> Value:
        """A vector; lanes outside of `mask` are zero and not touched."""
        if mask is None:
            return self.b.load(address, typ=self.vector, align=self.size)
        name = f"llvm.masked.load.{self.overload}.p0"
        align = ir.Constant(I32, self.size)
        return self.intrinsic(name, self.vector, address, align, mask, self.zero)

    def store(self, value: Value, address: Value, mask: Value | None = None) -> None:
        """Store a vector; lanes outside of `mask` are not touched."""
        if mask is None:
            self.b.store(value, address, align=self.size)
            return
        name = f"llvm.masked.store.{self.overload}.p0"
        self.intrinsic(name, ir.VoidType(), value, address, ir.Constant(I32, self.size), mask)

    def prefetch(self, address: Value) -> None:
        """Bring the line of a later read into the second-level cache."""
        options = [ir.Constant(I32, value) for value in (0, 2, 1)]
        self.intrinsic("llvm.prefetch.p0", ir.VoidType(), address, *options)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x * y + z, fused where the machine can."""
        return self.intrinsic(f"llvm.fmuladd.{self.overload}", self.vector, x, y, z)

    def shuffle(self, x: Value, y: Value, lanes: Sequence[int]) -> Value:
        """A vector of chosen lanes of x (0...) and y (lanes...)."""
        kind = ir.VectorType(I32, len(lanes))
        return self.b.shuffle_vector(x, y, ir.Constant(kind, list(lanes)))

    # ---- control flow

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Emit the body under `condition`."""
        with self.b.if_then(condition):
            yield

    def all(self, first: Value, *others: Value) -> Value:
        """Whether all conditions hold."""
        for other in others:
            first = self.b.and_(first, other)
        return first

    def cases(self, *ways: tuple[Value | None, Callable[[], None]]) -> None:
        """The first way whose condition holds; None always does."""
        if not ways:
            return
        condition, way = ways[0]
        if condition is None:
            way()
            return
        with self.b.if_else(condition) as (yes, no):
            with yes:
                way()
            with no:
                self.cases(*ways[1:])

    def either(
        self, condition: Value, yes: Callable[[], list[Value]], no: Callable[[], list[Value]]
    ) -> list[Value]:
        """The values of `yes()` or of `no()`."""
        blocks = [self.b.append_basic_block() for _ in range(3)]
        self.b.cbranch(condition, blocks[0], blocks[1])
        ways = []
        for block, way in zip(blocks, (yes, no), strict=False):
            self.b.position_at_end(block)
            values = way()
            ways.append((values, self.b.block))
            self.b.branch(blocks[2])
        self.b.position_at_end(blocks[2])
        merged = []
        for pair in zip(*(values for values, _ in ways), strict=True):
            phi = self.b.phi(pair[0].type)
            for value, (_, block) in zip(pair, ways, strict=True):
                phi.add_incoming(value, block)
            merged.append(phi)
        return merged

    def repeat(
        self, count: Value, state: list[Value], body: Callable[[list[Value]], list[Value]]
    ) -> list[Value]:
        """state = body(state), `count` >= 1 times; returns the last state."""
        before = self.b.block
        loop, done = self.b.append_basic_block(), self.b.append_basic_block()
        self.b.branch(loop)
        self.b.position_at_end(loop)
        left = self.b.phi(I64)
        phis = [self.b.phi(value.type) for value in state]
        changed = body(phis)
        fewer = self.sub(left, 1)
        for phi, first, later in zip(
            [left, *phis], [count, *state], [fewer, *changed], strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, self.b.block)
        self.b.cbranch(self.is_(fewer, ">", 0), loop, done)
        self.b.position_at_end(done)
        return changed

    def steps(
        self, start: Value, stop: Value, step: Value | int, body: Callable[[Value], None]
    ) -> Value:
        """body(i) for i = start, start + step, ... while whole steps fit; returns the next i."""
        before = self.b.block
        test, loop, done = (self.b.append_basic_block() for _ in range(3))
        self.b.branch(test)
        self.b.position_at_end(test)
        i = self.b.phi(I64)
        i.add_incoming(start, before)
        after = self.add(i, step)
        self.b.cbranch(self.is_(after, "<=", stop), loop, done)
        self.b.position_at_end(loop)
        body(i)
        i.add_incoming(after, self.b.block)
        self.b.branch(test)
        self.b.position_at_end(done)
        return i

    def blocks(self, stop: Value, step: Value | int, body: Callable[[Value, Value], None]) -> None:
        """body(i, width) for the blocks of `step` that cover 0...stop; the last may be narrower."""
        before = self.b.block
        test, loop, done = (self.b.append_basic_block() for _ in range(3))
        self.b.branch(test)
        self.b.position_at_end(test)
        i = self.b.phi(I64)
        i.add_incoming(number(0), before)
        self.b.cbranch(self.is_(i, "<", stop), loop, done)
        self.b.position_at_end(loop)
        body(i, self.minimum(self.sub(stop, i), step))
        i.add_incoming(self.add(i, step), self.b.block)
        self.b.branch(test)
        self.b.position_at_end(done)
