"""The passes of the compiler, one by one: what each leaves behind, on graphs made for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.codegen.kernels import kernel_source
from staticflow.compiler.compile import PIPELINE, Compiled, compile_graph
from staticflow.compiler.ir.loops import For, If, Kernel, Load, StoreElement, walk
from staticflow.compiler.ir.steps import CallStep, KernelStep, ProductStep
from staticflow.graph.leaves import Input
from staticflow.graph.node import Kind
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from tests.support.source_interpreter import run_loops

x = sf.input("x", ("n", "m"))
y = sf.input("y", ("n", "m"))
v = sf.input("v", ("m",))
RNG = np.random.default_rng(0)


def kernels(compiled: Compiled) -> list[Kernel]:
    return [step.kernel for step in compiled.steps if isinstance(step, KernelStep)]


def depth(kernel: Kernel) -> int:
    """How deep the loops of a kernel nest, but for that over whole groups of rows and the rest."""

    def deepest(body: Sequence[Any]) -> int:
        inner = [deepest(s.body) + (s.variable != "part") for s in body if isinstance(s, For)]
        return max(inner, default=0)

    return deepest(kernel.body)


def check(outputs: list[Node], compiled: Compiled | None = None, **sizes: int) -> Compiled:
    """Run the generated loops on random arrays and compare with NumPy."""
    compiled = compiled or compile_graph(outputs)
    sizes = {"n": 3, "m": 4, **sizes}
    values = {}
    for node in leaves(outputs, Input):
        shape = tuple(n if isinstance(n, int) else n.evaluate(sizes) for n in node.shape)
        values[node] = RNG.standard_normal(shape).astype(node.dtype)
    found = run_loops(compiled, values, sizes)
    for array, expected in zip(found, interpret(outputs, values), strict=True):
        np.testing.assert_allclose(array, expected, 1e-5, 1e-6)
    return compiled


def test_the_pipeline_says_why() -> None:
    assert len(PIPELINE) > 8
    for each in PIPELINE:
        assert callable(each.function) and len(each.reason) > 20


# Sizes become classes


def test_axes_share_a_class_by_structure_never_by_number() -> None:
    a, b = sf.input("a", (64, 64)), sf.input("b", (64,))
    assert compile_graph([a.sum(axis=0) + b]).sized.sizes == (64, 64)
    assert compile_graph([a + a.T]).sized.sizes == (64,)
    assert len(compile_graph([a.sum(), b.sum()]).sized.sizes) == 3


def test_equal_structures_have_equal_sources() -> None:
    def source(n: Any, m: Any, k: int) -> str:
        a, b = sf.input("a", (n, m)), sf.input("b", (m, k))
        text = compile_graph([ops.relu(a @ b), (a @ b).mean(axis=0)]).driver.source
        return "\n".join(line for line in text.splitlines() if "#" not in line)

    assert source("n", 8, 3) == source("rows", 4, 1) == source(7, 7, 7)


def test_no_size_is_in_a_kernel() -> None:
    a = sf.input("a", (1234, 567))
    text = "".join(
        kernel_source(k, "k")
        for k in kernels(compile_graph([a.mean(), ops.var(a, 0), a[:, ::-1] * 2.0]))
    )  # fmt: skip
    assert "1234" not in text and "567" not in text and "566" not in text


# Fusion


def test_a_chain_of_maps_is_one_loop() -> None:
    (kernel,) = kernels(check([ops.tanh(x * 2.0 + y) - ops.sqrt(ops.square(x))]))
    assert depth(kernel) == 1, "contiguous arrays of any rank are one loop"
    assert sum(isinstance(s, StoreElement) for s in walk(kernel.body)) == 1


def test_a_row_operand_keeps_the_loops_apart() -> None:
    (kernel,) = kernels(check([x + v]))
    assert depth(kernel) == 2


def test_a_reduction_joins_what_it_reduces() -> None:
    for axis in (None, 0, 1):
        (kernel,) = kernels(check([ops.exp(x).sum(axis=axis)]))
        assert "exp_sum" in kernel.label


def test_softmax_is_one_kernel_of_three_loops_over_a_row() -> None:
    (kernel,) = kernels(check([ops.softmax(x)]))
    (rows,) = [s for s in kernel.body if isinstance(s, For)]
    assert sum(isinstance(s, For | If) for s in rows.body) == 3  # the sum is in blocks, if long


def test_values_of_a_row_stand_beside_the_inner_loop() -> None:
    (kernel,) = kernels(check([x * ops.exp(x.sum(axis=1))[:, None]]))
    assert depth(kernel) == 2


def test_a_sum_over_rows_is_read_by_a_later_kernel() -> None:
    labels = [k.label for k in kernels(check([x - x.sum(axis=0)]))]
    assert labels == ["sum", "subtract"]


def test_a_gather_waits_for_its_whole_table() -> None:
    index = sf.input("i", ("k",), "int64")
    table = ops.exp(x)
    outputs = [ops.take(table, index, 0)]
    values = {x: RNG.random((3, 4)).astype("f4"), index: np.array([2, 0])}
    compiled = compile_graph(outputs)
    (found,) = run_loops(compiled, values, {"n": 3, "m": 4, "k": 2})
    np.testing.assert_allclose(found, np.exp(values[x])[[2, 0]], 1e-6)
    assert len(kernels(compiled)) == 2


def test_groups_stay_in_order_across_a_product() -> None:
    w = sf.input("w", ("m", "m"))
    a = ops.tanh(x)
    b = ops.exp(a @ w) + a
    compiled = check([b, b.sum(axis=0), (b @ w) * a])
    assert sum(isinstance(step, ProductStep) for step in compiled.steps) == 2


def test_a_kernel_has_a_limited_length() -> None:
    z: Node = x
    for k in range(150):
        z = ops.sin(z) * (1.0 + k)
    assert all(len(step.nodes) <= 60 for step in check([z]).steps)


def test_a_cheap_value_is_computed_again_rather_than_stored() -> None:
    w = sf.input("w", ("m", "m"))
    h = ops.relu(x @ w)
    compiled = check([h @ w, ops.where(ops.greater(h, 0.0), h @ w, 0.0)])
    stored = {b.node.dtype for b in compiled.assignment.buffers if b.role == "temp"}
    assert "bool" not in stored, "the mask follows from h"


# Views and copies


@pytest.mark.parametrize(
    "view",
    [
        lambda: x.T, lambda: x[::-1], lambda: x[:, 0], lambda: x[None], lambda: x[1:, :-1],
        lambda: ops.reshape(x, (-1,)), lambda: ops.broadcast_to(v, ("n", "m")) + 0.0 * x,
        lambda: ops.reshape(x.T, ("m", 1, "n")),
    ],
)  # fmt: skip
def test_a_view_in_a_kernel_is_strides(view: Any) -> None:
    compiled = check([view() * 2.0])
    assert len(compiled.steps) == 1
    assert len([b for b in compiled.assignment.buffers if b.role == "temp"]) == 0


def test_a_reshape_that_strides_cannot_express_is_copied() -> None:
    compiled = check([ops.reshape(x.T, (-1,)) * 2.0])
    turn, multiply = compiled.steps
    assert isinstance(turn, CallStep) and str(turn.routine) == "turn_f4"
    assert isinstance(multiply, KernelStep) and multiply.kernel.label == "multiply"


def test_parts_are_computed_into_their_place() -> None:
    compiled = check(
        [ops.concatenate([x * 2.0, ops.exp(y), x @ sf.input("w", ("m", "m"))], axis=1)]
    )
    places = [step.c.place[0] for step in compiled.steps if isinstance(step, ProductStep)]
    assert places == [compiled.output_buffers[0]]
    assert not any("copy" in k.label for k in kernels(compiled))


def test_padding_is_filled_before_the_part_comes() -> None:
    labels = [k.label for k in kernels(check([ops.pad(ops.exp(x), ((1, 2), (0, 1)), 7.0)]))]
    assert labels == ["fill", "exp"]


def test_nested_and_shared_parts() -> None:
    e = ops.exp(x)
    inner = ops.concatenate([e, e], axis=0)
    check([ops.concatenate([inner, inner * 2.0, inner], axis=1), e, e[::-1]])


def test_every_output_has_a_buffer_of_its_own() -> None:
    e = ops.exp(x)
    compiled = check([e, e, e.T, x, x, e[1:], e + 0.0])
    assert len(set(compiled.output_buffers)) == 7


# Donations


def donated(outputs: list[Node], taken: dict[int, Node]) -> Compiled:
    """A program whose outputs replace leaves: at once, or by a copy at the end."""
    compiled = compile_graph(outputs, donations=taken)
    for position, leaf in taken.items():
        (buffer,) = [b.index for b in compiled.assignment.buffers if b.node is leaf]
        late = [
            step
            for step in compiled.steps
            if isinstance(step, KernelStep)
            and step.kernel.label == "copy"
            and buffer in step.writes
        ]
        assert compiled.output_buffers[position] == buffer or late
    return compiled


p, q = sf.input("p", ("n",)), sf.input("q", ("n",))


def test_an_update_at_the_same_element_is_in_place() -> None:
    compiled = donated([p - 0.1 * q, q * 0.9], {0: p, 1: q})
    assert len(kernels(compiled)) == 1
    (kernel,) = kernels(compiled)
    assert len(kernel.pointers) == 2, "a buffer updated in place is one argument"


def test_an_update_from_elsewhere_is_copied_at_the_end() -> None:
    for outputs in ([p[::-1] + 1.0], [p + p.sum()], [p - p.mean()]):
        donated(outputs, {0: p})


def test_a_swap_goes_through_memory_of_its_own() -> None:
    donated([q * 1.0, p * 1.0], {0: p, 1: q})


def test_a_leaf_that_nothing_reads_is_still_written() -> None:
    """The new value of a state need not depend on the old one."""
    compiled = donated([ops.exp(q)], {0: p})
    assert {b.node.name for b in compiled.assignment.buffers if b.role == "leaf"} == {"p", "q"}


# Emission


def test_equal_kernels_have_one_name_and_one_definition() -> None:
    w = [sf.input(f"w{i}", ("m", "m")) for i in range(6)]
    h: Node = x
    for matrix in w:
        h = ops.tanh(h @ matrix)
    compiled = check([h])
    assert len(kernels(compiled)) == 6
    assert len(compiled.driver.kernels) == 1


def test_the_driver_names_the_users_lines() -> None:
    source = compile_graph([ops.exp(x @ x.T)]).driver.source
    assert source.count("# test_compile.py:") == 2
    assert "exp: float32[n, n]" in source


def test_kernels_load_nothing_twice_in_a_loop() -> None:
    (kernel,) = kernels(check([x * x + ops.exp(x) + x * y]))
    loads = [s.value for s in walk(kernel.body) if isinstance(getattr(s, "value", None), Load)]
    assert len(loads) == 2


def test_a_long_graph_compiles_without_recursion() -> None:
    z: Node = x
    for _ in range(1200):
        z = ops.sin(z)
    assert compile_graph([z.sum(), *sf.grad(z.sum(), [x])]).steps


def test_programs_know_their_kinds() -> None:
    compiled = compile_graph([x @ v])
    assert {node.op.kind for step in compiled.steps for node in step.nodes} == {Kind.CONTRACT}


@pytest.mark.parametrize("indices", [(4,), (2, 2)])
def test_a_table_without_memory_can_be_gathered_from(indices: tuple[int, ...]) -> None:
    """A constant and a count are computed where they are read, but for a gather they lie still."""
    index = sf.input("index", indices, "int64")
    count, same = ops.arange(3, dtype="float64"), ops.full((3,), 2.0, "float64")
    outputs = [ops.take(count, index, 0), ops.take(same, index, 0) + 1.0]
    at = np.array([0, 2, 1, -1]).reshape(indices)
    found = run_loops(compile_graph(outputs), {index: at}, {})
    np.testing.assert_array_equal(found[0], np.arange(3.0)[at])
    np.testing.assert_array_equal(found[1], np.full(indices, 3.0))


def test_a_copied_value_follows_what_it_is_computed_from() -> None:
    """A kernel that makes a column in its inner loop does not read it beside that loop."""
    rows, w = sf.input("rows", (4, 3), "float64"), sf.input("w", (3,), "float64")
    angle = ops.arccos(0.8 * ops.sin(0.4 * ops.inner(rows, ops.tanh(w))))
    loss = ops.sin(ops.power(1.5 + ops.sin(angle), ops.sin(angle))).sum()
    outputs = sf.grad(sf.jvp(loss, [rows, w], [np.ones((4, 3)), np.ones(3)]), [rows, w])
    values = {rows: RNG.normal(size=(4, 3)), w: RNG.normal(size=3)}
    found = run_loops(compile_graph(outputs), values, {})
    for array, expected in zip(found, interpret(outputs, values), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-12, atol=1e-14)


def test_functions_of_functions_have_a_kernel_of_their_own() -> None:
    """In a kernel of much work an element's chain would hold up the elements behind it."""
    x = sf.input("x", ("batch", 4))
    parts = [ops.sigmoid(x + float(k)) for k in range(4)]
    much, little = ops.tanh(sum(parts[1:], parts[0])), ops.tanh(ops.sigmoid(x))
    assert kernel_names(much) == [{"add", "sigmoid"}, {"tanh"}]
    assert kernel_names(little) == [{"sigmoid", "tanh"}]


def kernel_names(y: sf.Node) -> list[set[str]]:
    steps = compile_graph([y]).steps
    return [{node.op.name for node in step.nodes} for step in steps]
