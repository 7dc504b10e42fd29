"""Control flow by run-time values: `cond` runs one of two branches, `while_loop` runs until.

    y = sf.cond(x.sum() > 0, lambda: ops.sqrt(x), lambda: x * 0.0)
    x = sf.while_loop(lambda x: ops.norm(x) < 1000, lambda x: 2 * x, x)

Both run in compiled code; what is not taken is not computed. For a choice by elements, see
`ops.where`; for a known number of steps, see `scan`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph.branch_ops import Branch, While
from staticflow.graph.kinds import parts
from staticflow.graph.leaves import as_node
from staticflow.graph.loop_op import body_input, capture, cut_out, draw_each_step, substitute
from staticflow.graph.node import Node, apply
from staticflow.graph.pytree import flatten, map_structure, paths, rebuild_like
from staticflow.graph.traversal import toposort
from staticflow.ops import less, logical_and, take
from staticflow.ops.coerce import entry, fitted
from staticflow.ops.control_flow.carries import check_carries, meet, meet_integers


def cond(pred: Any, then: Any, otherwise: Any) -> Any:
    """What `then` returns if `pred` is true, else what `otherwise` returns; only one is computed.

    `pred` is a scalar. The branches are functions of no arguments that return nodes, or tuples,
    lists or dicts of nodes, of equal structure and types, or such structures themselves.
    Raises ShapeError or DTypeError naming what differs.
    """
    flag = _flag("cond", pred)
    before = flag.serial
    one, other = (_structure(branch) for branch in (then, otherwise))
    names, others = paths(one, "result"), paths(other, "result")
    if names != others:
        fail(
            GraphError,
            "cond: the branches must return the same structure",
            got=f"{', '.join(names) or 'nothing'} and {', '.join(others) or 'nothing'}",
        )
    pairs = zip(flatten(one), flatten(other), strict=True)
    results = [(fitted(a, b.dtype), fitted(b, a.dtype)) for a, b in pairs]
    for name, (a, b) in zip(names, results, strict=True):
        if a.type != b.type:
            fail(
                DTypeError if a.shape == b.shape else ShapeError,
                f"cond: the types of {name} differ",
                got=f"{a.type} if true, {b.type} if false",
                do="make the branches return the same shapes and dtypes",
            )
    if not names:
        return one
    first, second = ([pair[k] for pair in results] for k in (0, 1))
    return rebuild_like(one, iter(_branch(flag, first, second, before)))


def _branch(flag: Node, one: list[Node], other: list[Node], before: int) -> tuple[Node, ...]:
    """The op whose bodies are what the branches declared, after the node number `before`.

    What they draw at random is drawn outside, where a loop around them can draw it in each step.
    """
    outputs = [*one, *other]
    declared = {node for node in toposort(outputs) if node.serial > before and node.inputs}
    inside = {node for node in declared if not node.op.is_random}
    body, consts, outer = cut_out(outputs, (), inside)
    count = len(one)
    op = Branch((body_input("flag", flag.type), *consts), tuple(body[:count]), tuple(body[count:]))
    return parts(apply(op, flag, *outer))


def while_loop(
    cond: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    max_steps: int | None = None,
) -> Any:
    """Replace the carry by `body(carry)` as long as `cond(carry)` is true; returns the last carry.

    The carry is a node, or a tuple, list or dict of nodes, of types that do not change. With
    `max_steps` there are at most so many steps, derivatives in reverse are possible, and what the
    loop draws at random is drawn anew in each step; without it, such a loop is refused.
    """
    init = map_structure(entry, init)
    if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 0):
        fail(GraphError, "while_loop: max_steps is a number of steps", got=repr(max_steps))
    count = body_input("steps", as_node(0, "int64").type)
    init, carries, test, following = _declared(cond, body, init)
    test, *following = _drawn_anew([test, *following], count, max_steps)
    first = flatten(init)
    if max_steps is not None:
        carries.append(count)
        following.append(count + 1)
        first.append(as_node(0, "int64"))
        test = logical_and(test.astype("bool"), less(count, max_steps)).astype("int64")
    nodes, consts, outer = capture([test, *following], carries)
    op = While(tuple(carries), tuple(consts), nodes[0], tuple(nodes[1:]), max_steps)
    return rebuild_like(init, iter(parts(apply(op, *first, *outer))))


def _drawn_anew(outputs: list[Node], count: Node, max_steps: int | None) -> list[Node]:
    """The condition and the next carry with draws of each step's own: those of all steps are drawn
    before the loop, with one more for the condition that ends it.
    """
    drawn, draws = draw_each_step(outputs, count.serial, (max_steps or 0) + 1)
    if draws and max_steps is None:
        fail(
            GraphError,
            "while_loop: what it draws would be the same in every step",
            got=", ".join(node.name for node in draws.values()),
            do="give max_steps=, to draw anew in each, or draw before the loop",
        )
    return substitute(drawn, {place: take(all_, count, 0) for place, all_ in draws.items()})


def _declared(
    cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any
) -> tuple[Any, list[Node], Node, list[Node]]:
    """The carry that a loop starts from, where Python's numbers have the dtypes that they meet; its
    body inputs; the condition, and the next carry.
    """

    def next_of(starts: list[Node]) -> tuple[list[Node], list[Node]]:
        body_inputs = _body_inputs(rebuild_like(init, iter(starts)))
        following = body(rebuild_like(init, iter(body_inputs)))
        return body_inputs, flatten(map_structure(entry, following))

    init = rebuild_like(init, iter(meet_integers(flatten(init), next_of)))
    carries = _body_inputs(init)
    if not carries:
        fail(GraphError, "while_loop: needs a carry, without which no step changes anything")
    carry = rebuild_like(init, iter(carries))
    test = _flag("while_loop", cond(carry))
    result = map_structure(entry, body(carry))
    starts = meet(flatten(init), carries, flatten(result), [test])
    if starts != flatten(init):
        return _declared(cond, body, rebuild_like(init, iter(starts)))
    return init, carries, test, check_carries("while_loop", init, result)


def _body_inputs(init: Any) -> list[Node]:
    names = zip(paths(init, "carry"), flatten(init), strict=True)
    return [body_input(name, n.type) for name, n in names]


def _structure(branch: Any) -> Any:
    value = branch() if callable(branch) else branch
    return map_structure(entry, value)


def _flag(what: str, pred: Any) -> Node:
    """A condition as an integer, which the driver can read."""
    node = as_node(pred, "bool")
    if node.ndim:
        fail(
            ShapeError,
            f"{what}: the condition is a scalar",
            got=str(node),
            do="reduce it with ops.all or ops.any, or choose elements with ops.where",
        )
    return node.astype("bool").astype("int64")
