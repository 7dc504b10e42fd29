"""ONNX's Scan, Loop and If with `scan`, `while_loop` and `cond`.

A Loop whose condition stays true is a scan over its number of steps, and may give a value of each;
any other is a while_loop, which gives none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import staticflow.ops as ops
from staticflow.graph.node import Node
from staticflow.ops.control_flow.conditionals import cond, while_loop
from staticflow.ops.control_flow.scan import scan
from staticflow.session.interchange.onnx_in.elementwise import Writer
from staticflow.session.interchange.onnx_in.values import Call, Value


def _nodes(values: Sequence[Value]) -> tuple[Node, ...]:
    return tuple(value.node for value in values)


def written_scan(c: Call) -> list[Node]:
    body, count = c.attribute("body"), c.attribute("num_scan_inputs")
    if c.version < 9:
        c.refuse("Scan of opset 8 is another operator", do="convert the model to opset 9 or later")
    carried = len(c.values) - count
    if count < 1 or carried < 0 or len(body.input) != len(c.values):
        c.refuse("its body does not take what it is given", f"{len(body.input)} inputs")
    init, xs = c.nodes[:carried], list(c.nodes[carried:])
    axes = c.attribute("scan_input_axes", [0] * count)
    back = c.attribute("scan_input_directions", [0] * count)
    for k, axis in enumerate(axes):
        xs[k] = ops.moveaxis(xs[k], axis, 0) if axis else xs[k]
        xs[k] = ops.flip(xs[k], 0) if back[k] else xs[k]

    def step(state: Any, now: Any) -> Any:
        found = _nodes(c.graph(body, [Value(n) for n in (*state, *now)]))
        return found[:carried], found[carried:]

    last, ys = scan(step, tuple(init), tuple(xs))
    given = list(ys)
    out_axes = c.attribute("scan_output_axes", [0] * len(given))
    turned = c.attribute("scan_output_directions", [0] * len(given))
    for k, axis in enumerate(out_axes):
        given[k] = ops.flip(given[k], 0) if turned[k] else given[k]
        given[k] = ops.moveaxis(given[k], 0, axis) if axis else given[k]
    return [*last, *given]


def written_loop(c: Call) -> list[Node]:
    body, carried = c.attribute("body"), len(c.values) - 2
    if len(body.input) != carried + 2:
        c.refuse("its body does not take what it is given", f"{len(body.input)} inputs")
    init = [value.node for value in c.values[2:] if value is not None]
    several = len(body.output) - 1 - carried  # values of each step
    if _goes_on(c, body, init) and c.has(0) and c.values[0].known is not None:  # type: ignore[union-attr]
        return _counted(c, body, init, carried)
    if several:
        for place in (0, 1):  # which say how many steps there are
            if c.has(place):
                c.array(place)
        c.refuse(
            "a Loop that gives a value of each step, and ends by its data, has no known size",
            do="give it a number of steps, and a condition that stays true",
        )
    return _while(c, body, init)


def _goes_on(c: Call, body: Any, init: Sequence[Node]) -> bool:
    """Whether the condition is true at first and after each step."""
    first = c.values[1]
    if first is not None and (first.array is None or not bool(first.array.reshape(()))):
        return False
    true = Value(known=np.array(True))
    step = Value(ops.sum(ops.zeros((1,), "int64")))  # any number that is not known
    found = c.graph(body, [step, true, *(Value(n) for n in init)])[0].array
    return found is not None and bool(found.reshape(()))


def _counted(c: Call, body: Any, init: Sequence[Node], carried: int) -> list[Node]:
    (count,) = c.dims(0) or (0,)
    count = max(0, count) if isinstance(count, int) else count
    true = Value(known=np.array(True))

    def step(state: Any, now: Node) -> Any:
        found = _nodes(c.graph(body, [Value(now), true, *(Value(n) for n in state)])[1:])
        return found[:carried], found[carried:]

    last, ys = scan(step, tuple(init), ops.arange(count))
    return [*last, *ys]


def _while(c: Call, body: Any, init: Sequence[Node]) -> list[Node]:
    limit, first = c[0], c[1]
    start = ops.full((), True, "bool") if first is None else ops.reshape(first, ())

    def go_on(carry: Any) -> Node:
        count, test, *_ = carry
        if limit is None:
            return test  # type: ignore[no-any-return]
        return ops.logical_and(test, count < ops.reshape(limit, ()))

    def step(carry: Any) -> Any:
        found = _nodes(c.graph(body, [Value(n) for n in carry]))
        return (carry[0] + 1, ops.reshape(found[0], ()), *found[1:])

    zero = ops.full((), 0, "int64")
    return list(while_loop(go_on, step, (zero, start, *init))[2:])


def written_if(c: Call) -> list[Node]:
    branches = [c.attribute(f"{name}_branch") for name in ("then", "else")]
    if len(branches[0].output) != len(branches[1].output):
        c.refuse("its branches give different numbers of values")
    value = c.values[0]
    assert value is not None
    if value.array is not None:
        return list(_nodes(c.graph(branches[0 if bool(value.array.reshape(())) else 1], [])))
    flag = ops.reshape(value.node, ())
    return list(cond(flag, *(lambda b=b: _nodes(c.graph(b, [])) for b in branches)))


CONTROL: Mapping[str, Writer] = {"Scan": written_scan, "Loop": written_loop, "If": written_if}
