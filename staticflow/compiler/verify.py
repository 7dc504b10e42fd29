"""What must hold after each pass, checked level by level: for tests, and on demand.

graph    no circle, known leaves, and the types that the ops infer
steps    buffers, sizes and arguments that there are; nothing is read before it is written
loops    names that are defined before they are used
memory   no two buffers in one chunk at the same time
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import assert_never

from staticflow.compiler.ir.loops import (
    Assign,
    Call,
    Code,
    For,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Local,
    Room,
    Scalar,
    Stmt,
    StoreElement,
    names_in,
    names_in_index,
)
from staticflow.compiler.ir.size_classes import FIRST_ROW, size_name
from staticflow.compiler.ir.steps import (
    BlockStep,
    BranchStep,
    CallStep,
    CollectiveStep,
    HalvesStep,
    KernelStep,
    LoopStep,
    PackStep,
    ProductStep,
    Step,
    block_names,
    part_names,
    walk,
)
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.compiler.pipeline import Pass, State
from staticflow.compiler.schedule.memory_plan import MemoryPlan, live_ranges
from staticflow.graph.dims import names_of
from staticflow.graph.leaves import Const, Hyper, Input, Param
from staticflow.graph.leaves import State as StateLeaf
from staticflow.graph.loop_op import BodyInput, Loop
from staticflow.graph.node import Kind, Node

LEAVES = (Input, Param, StateLeaf, Const, Hyper, BodyInput)


class VerificationError(AssertionError):
    """A pass has left something that does not hold."""


def verify(each: Pass, before: State, after: State) -> None:
    """Check what a pass has changed; raises VerificationError with the pass's name."""
    try:
        if after.roots != before.roots:
            verify_graph(after.roots)
        if after.steps is not None and after.steps is not before.steps:
            verify_steps(after.steps, after.assigned.buffers, len(after.sized.sizes))
        if after.memory is not None and after.memory is not before.memory:
            verify_memory(after.memory, after.scheduled, after.assigned.buffers)
    except VerificationError as error:
        raise VerificationError(f"after {each.name}: {error}") from None


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise VerificationError(what)


def verify_graph(roots: Sequence[Node]) -> None:
    """No circle, known leaves, and the types that the ops infer; in the bodies of loops as well."""
    for node in _in_order(roots):
        if node.op.kind is Kind.LEAF:
            _require(isinstance(node.op, LEAVES), f"{node} is no leaf that programs bind")
            continue
        if isinstance(node.op, Loop):
            for region in node.op.regions:
                verify_graph(region)
        found = node.op.infer(*(x.type for x in node.inputs))
        _require(found == node.type, f"{node} has the type {node.type}, its op infers {found}")


def _in_order(roots: Sequence[Node]) -> Iterator[Node]:
    """All nodes, inputs before their users; a circle is an error."""
    done: set[Node] = set()
    under_way: set[Node] = set()
    stack: list[tuple[Node, int]] = [(root, 0) for root in reversed(roots)]
    while stack:
        node, position = stack.pop()
        if node in done:
            continue
        under_way.add(node)
        if position < len(node.inputs):
            child = node.inputs[position]
            _require(child not in under_way, f"{child} is computed from itself")
            stack += [(node, position + 1), (child, 0)]
        else:
            under_way.discard(node)
            done.add(node)
            yield node


def verify_steps(steps: Sequence[Step], buffers: Sequence[Buffer], size_count: int) -> None:
    """Buffers, sizes and arguments that there are; nothing is read before it is written."""
    known = {str(FIRST_ROW), *map(size_name, range(size_count))}
    for step in walk(steps):
        if isinstance(step, BlockStep | HalvesStep):
            known.update(block_names(step.number))
        elif isinstance(step, LoopStep) and step.in_parts:
            known.update(part_names(step.number))
    for step in walk(steps):
        _verify_step(step, buffers, known)
    _verify_order(steps, buffers, set())


def _verify_step(step: Step, buffers: Sequence[Buffer], known: set[str]) -> None:
    unknown = [b for b in step.reads | step.writes if not 0 <= b < len(buffers)]
    _require(not unknown, f"{step.nodes[-1]} uses the buffers {unknown} of {len(buffers)}")
    match step:
        case KernelStep():
            kernel = step.kernel
            taken = (len(kernel.pointers), len(kernel.sizes))
            same = taken == (len(step.pointers), len(step.sizes))
            _require(same, f"{kernel.label} gets other arguments than it takes")
            dims = [*step.sizes, step.work, *(offset for _, offset in step.pointers)]
            verify_kernel(kernel)
        case ProductStep():
            dims = [step.m, step.n, step.k, *step.batch, step.adds_after]
            for operand in (step.a, step.b, step.c):
                dims += [operand.place[1], operand.row, operand.column, *operand.batch]
                _require(len(operand.batch) == len(step.batch), f"{step.node}: strides of a batch")
            if step.epilogue is not None:
                _verify_step(step.epilogue.kernel, buffers, known)
        case CallStep():
            dims = [*step.sizes, step.elements]
        case PackStep() | CollectiveStep():
            dims = [step.count]
        case LoopStep():
            dims = [step.length]
        case BlockStep() | HalvesStep():
            dims = [step.rows]
        case BranchStep():
            dims = []
        case _:
            assert_never(step)
    names = names_of(dims) - known
    _require(not names, f"{step.nodes[-1]} uses the sizes {sorted(names)}, which nobody knows")


def _verify_order(steps: Sequence[Step], buffers: Sequence[Buffer], written: set[int]) -> None:
    """Enter what is written; a loop's step may read what the step before it has written."""

    def base(buffer: int) -> int:
        while (moving := buffers[buffer].moving) is not None:
            buffer = moving.base
        return buffer

    for step in steps:
        writes = {base(b) for b in step.writes}
        if isinstance(step, LoopStep):
            _verify_order(step.body, buffers, written | writes | {base(b) for b in step.bases})
        elif isinstance(step, BranchStep):
            for body in (step.then, step.otherwise):
                _verify_order(body, buffers, set(written))
        elif isinstance(step, HalvesStep):
            _verify_order(step.steps, buffers, set(written))
        elif isinstance(step, BlockStep):
            _verify_order(step.body, buffers, set(written))
        else:
            own = writes if isinstance(step, KernelStep) or step.writes & step.reads else set()
            for b in {base(b) for b in step.reads} - own - written:
                _require(buffers[b].role == "leaf", f"{step.nodes[-1]} reads buffer {b} too early")
        written |= writes


def verify_kernel(kernel: Kernel) -> None:
    """Names that are defined before they are used, in loops within which they are."""
    pointers = {name for name, _ in kernel.pointers}
    _verify_body(kernel.body, pointers, pointers | set(kernel.sizes), kernel.label)


def _verify_body(body: Sequence[Stmt], pointers: set[str], names: set[str], label: str) -> None:
    pointers, names = set(pointers), set(names)

    def use(used: Iterator[str] | Sequence[str]) -> None:
        missing = set(used) - names
        _require(not missing, f"kernel {label} uses {sorted(missing)}, which is not defined there")

    def value(used: Scalar | Load) -> None:
        use(names_in(used))
        if isinstance(used, Load):
            index: Index = used.index
            use(names_in_index(index))
            _require(used.pointer in pointers, f"kernel {label} has no pointer {used.pointer}")

    for statement in body:
        match statement:
            case Let():
                value(statement.value)
                names.add(statement.name)
                if isinstance(statement.value, Room | Local):
                    pointers.add(statement.name)
            case Assign():
                use([statement.name])
                value(statement.value)
            case StoreElement():
                value(statement.target)
                value(statement.value)
            case Call():
                use([a for a in statement.args if isinstance(a, str)])
            case For():
                extent = statement.extent
                if isinstance(extent, Code):
                    value(extent)
                elif isinstance(extent, str):
                    use([extent])
                _verify_body(statement.body, pointers, names | {statement.variable}, label)
            case If():
                value(statement.condition)
                _verify_body(statement.then, pointers, names, label)
                _verify_body(statement.otherwise, pointers, names, label)
            case _:
                assert_never(statement)


def verify_memory(plan: MemoryPlan, steps: Sequence[Step], buffers: Sequence[Buffer]) -> None:
    """Every temporary has a chunk, and no two are live in one chunk at the same time."""
    in_chunk: dict[int, list[tuple[int, int, int]]] = {}
    for buffer, (first, last) in live_ranges(steps, buffers).items():
        if buffers[buffer].role == "temp":
            _require(buffer in plan.chunk_of, f"buffer {buffer} has no chunk")
            in_chunk.setdefault(plan.chunk_of[buffer], []).append((first, last, buffer))
    for chunk, lives in in_chunk.items():
        lives.sort()
        for (_, last, one), (first, _, other) in pairwise(lives):
            _require(last < first, f"buffers {one} and {other} are in chunk {chunk} at a time")
