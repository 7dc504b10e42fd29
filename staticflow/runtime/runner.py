"""Run a program on arrays: bind inputs, call, hand out results.

Small arrays are copied through memory that stays bound, which costs less than to find out where
they lie; large ones are read and written where they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from staticflow.compiler.codegen.driver_abi import HEADER, POOL
from staticflow.compiler.sharing import has_large_products
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import evaluate
from staticflow.graph.node import Node
from staticflow.native import memory
from staticflow.native.memory import Array
from staticflow.native.threads.pool import ThreadPool
from staticflow.native.threads.product_pool import pool
from staticflow.native.threads.read_gate import ReadGate
from staticflow.runtime.failures import check_call
from staticflow.runtime.fast_call import FastCall
from staticflow.runtime.index_checks import IndexLimit
from staticflow.runtime.program import Frame, Program, Scratch

STAGED_BYTES = 1 << 12
MAX_FRAMES = 512  # with more shapes than this, tables are made again
_Shapes: TypeAlias = tuple[tuple[int, ...], ...]
_from_buffer: Any = ctypes.c_char.from_buffer


@dataclass
class _Bound:
    """A frame for one set of shapes, and what each call does with inputs and outputs."""

    frame: Frame
    copies: list[tuple[int, Array]]  # an input, and where it is copied to
    read: list[tuple[int, int]]  # an input, and the entry of T for its address
    kept: list[tuple[int, Array]]  # an output, and where it is copied from
    fresh: list[tuple[int, int, tuple[int, ...], Any]]  # an output, its entry, shape and dtype
    helpers: ThreadPool | None  # for large products

    def feed(self, arrays: Sequence[Array]) -> None:
        for position, copy in self.copies:
            copy[...] = arrays[position]
        table = self.frame.T
        for position, entry in self.read:
            table[entry] = address_of(arrays[position])

    def allocate(self) -> list[Array]:
        """New arrays for the outputs that are written in place; the others stand for nothing."""
        results = [copy for _, copy in self.kept]
        for position, entry, shape, dtype in self.fresh:
            out = memory.empty(shape, dtype)
            self.frame.T[entry] = address_of(out)
            results.insert(position, out)
        return results


def address_of(array: Array) -> int:
    """Where a contiguous array lies; NumPy's own answer takes ten times as long."""
    try:
        return ctypes.addressof(_from_buffer(array))
    except (TypeError, ValueError):  # nothing to write to: it is read-only, or empty
        return int(array.ctypes.data)


class _Memory:
    """What one call at a time uses: working memory, and the frames in it, by the inputs' shapes."""

    def __init__(self) -> None:
        self.scratch = Scratch()
        self.bounds: dict[_Shapes, _Bound] = {}


class Runner:
    """A program with its inputs in order; `fixed` are the addresses of all other leaves."""

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Node],
        fixed: Mapping[Node, int],
        gate: ReadGate | None = None,
    ) -> None:
        self.program = program
        self.inputs = tuple(inputs)
        self.fixed = dict(fixed)
        self.gate = gate  # of the session whose parameters the program reads
        self.buffers = [program.leaves.get(node) for node in self.inputs]
        self.dtypes = [np.dtype(node.dtype) for node in self.inputs]
        self.outputs = program.compiled.outputs
        self.limits: list[IndexLimit] = []
        self.fast_call: FastCall | None = None
        self._idle: list[_Memory] = []  # as many as there have been calls at a time
        self._seen: dict[_Shapes, None] = {}

    def __call__(
        self, arrays: Sequence[Array], env: Mapping[str, int] | None = None
    ) -> list[Array]:
        """The outputs for checked, contiguous input arrays, as new arrays."""
        found = None if self.fast_call is None else self.fast_call(arrays)
        return self.long_way(arrays, env) if found is None else found

    def long_way(
        self,
        arrays: Sequence[Array],
        env: Mapping[str, int] | None = None,
        check: Callable[[Frame, Sequence[Array]], None] | None = None,
    ) -> list[Array]:
        """The same in Python's steps, with helpers for large products.

        `check` looks at the frame and the results, before others can use the frame.
        """
        with self._bound(arrays, env) as bound:
            bound.feed(arrays)
            results = bound.allocate()
            if bound.helpers is not None:
                bound.helpers.call()
            with nullcontext() if self.gate is None else self.gate.reading():
                check_call(self.program.call(*bound.frame.addresses))
                for position, own in bound.kept:
                    results[position] = own.copy()
                if check is not None:
                    check(bound.frame, results)
            return results

    @contextmanager
    def _bound(
        self, arrays: Sequence[Array], env: Mapping[str, int] | None = None
    ) -> Iterator[_Bound]:
        """A frame for these arrays that nobody else uses meanwhile."""
        try:
            mine = self._idle.pop()
        except IndexError:  # all are in use by other threads
            mine = _Memory()
        try:
            key = tuple([a.shape for a in arrays])
            bound = mine.bounds.get(key)
            if bound is None:
                if len(mine.bounds) >= MAX_FRAMES:
                    mine.bounds.pop(next(iter(mine.bounds)))
                bound = mine.bounds[key] = self._bind(arrays, env, mine.scratch)
                self._remember(key)
            yield bound
        finally:
            self._idle.append(mine)

    def _remember(self, shapes: _Shapes) -> None:
        if len(self._seen) >= MAX_FRAMES:
            self._seen.clear()
        self._seen[shapes] = None

    def accepts(self, arrays: Sequence[Any]) -> bool:
        """Whether these inputs can be passed as they are, without another look."""
        for array, dtype in zip(arrays, self.dtypes, strict=True):
            if type(array) is not np.ndarray or array.dtype is not dtype:
                return False
            if not array.flags.c_contiguous:
                return False
        return not self.limits and tuple([a.shape for a in arrays]) in self._seen

    def _bind(
        self, arrays: Sequence[Array], env: Mapping[str, int] | None, scratch: Scratch | None = None
    ) -> _Bound:
        sizes = dict(env) if env is not None else self.sizes(arrays)
        self._check_known(sizes)
        frame = self.program.frame(sizes, scratch=scratch)
        for node, address in self.fixed.items():
            if node in self.program.leaves:
                frame.bind(self.program.leaves[node], address)
        bound = _Bound(frame, [], [], [], [], self._helpers(frame))
        for position, (array, buffer) in enumerate(zip(arrays, self.buffers, strict=True)):
            if buffer is None:
                continue
            if array.nbytes > STAGED_BYTES:
                bound.read.append((position, HEADER + buffer))
                continue
            copy = memory.empty(array.shape, array.dtype)
            frame.bind(buffer, copy.ctypes.data)
            bound.copies.append((position, copy))
        buffers = self.program.compiled.output_buffers
        for position, (node, buffer) in enumerate(zip(self.outputs, buffers, strict=True)):
            out = memory.empty(tuple(evaluate(n, sizes) for n in node.shape), node.dtype)
            if out.nbytes > STAGED_BYTES:
                bound.fresh.append((position, HEADER + buffer, out.shape, out.dtype))
            else:
                frame.bind(buffer, out.ctypes.data)
                bound.kept.append((position, out))
        return bound

    def _helpers(self, frame: Frame) -> ThreadPool | None:
        """The pool of the process, if the program has work for it at the frame's sizes."""
        compiled = self.program.compiled
        if not compiled.standalone or not has_large_products(compiled.steps, frame.sizes_by_name()):
            return None
        helpers = pool()
        frame.T[POOL] = helpers.address
        return helpers

    def filled_frame(self, arrays: Sequence[Array]) -> tuple[Frame, object]:
        """A frame that holds these inputs and room for the outputs, and what must live as long."""
        bound = self._bind(arrays, None)
        bound.feed(arrays)
        return bound.frame, (bound, bound.allocate(), arrays)

    def sizes(self, arrays: Sequence[Array]) -> dict[str, int]:
        """The values of the named dimensions."""
        from staticflow.runtime.feeds import bind_sizes

        by_name = {str(i): node for i, node in enumerate(self.inputs)}
        return bind_sizes(by_name, {str(i): a for i, a in enumerate(arrays)})

    def _check_known(self, sizes: Mapping[str, int]) -> None:
        unknown = self.program.dimensions - sizes.keys()
        if unknown:
            fail(
                GraphError,
                f"the size of dimension {min(unknown)!r} is not known",
                got=f"inputs {', '.join(repr(x.name) for x in self.inputs) or 'none'}",
                do="compute it together with something that reads an input of that dimension, "
                "or with that input itself",
            )
