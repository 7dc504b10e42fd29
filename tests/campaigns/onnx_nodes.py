"""Operators of ONNX, written with ours, have the values of the node tests that ONNX ships.

A case is a node test: a model of one node, arrays for its inputs, and what its outputs are. Its
value is computed by the interpreter and by machine code. Tests of dtypes that staticflow has not
(float16, unsigned and small integers, strings, sequences) and of operators without a writer in
`tests/peers/onnx_nodes.py` are counted as left out.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
from onnx import helper

import staticflow as sf
from staticflow.runtime.interpreter import interpret
from tests.campaigns import Tick
from tests.peers.onnx_nodes import DTYPES, OTHER_SETTINGS, WRITERS, Call

COUNT, SAMPLE = 2_000, 60
OURS = frozenset(DTYPES.values())


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    """Node tests in random order, each once; there are some 1 900."""
    found: Counter[str] = Counter()
    operators: set[str] = set()
    cases = _node_tests()
    order = np.random.default_rng(seed).permutation(len(cases))
    for k in range(count):
        if k < len(cases):
            case = cases[order[k]]
            verdict = _verdict(case)
            found[verdict] += 1
            operators.update([case.model.graph.node[0].op_type] if verdict == "equal" else [])
        tick()
    return {
        "node tests": found.total(),
        "with their values": found["equal"],
        f"operators ({len(WRITERS)} are written)": len(operators),
        "of other dtypes": found["dtype"],
        "of other operators": found["operator"],
        "of other settings": found["setting"],
    }


def _node_tests() -> list[Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases  # which makes all of them

        return [case for case in collect_testcases(None) if case.data_sets]


def _verdict(case: Any) -> str:
    """What kind of case it is; AssertionError where a value differs."""
    graph = case.model.graph
    if len(graph.node) != 1 or graph.node[0].op_type not in WRITERS:
        return "operator"
    node = graph.node[0]
    attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
    for inputs, outputs in case.data_sets:
        arrays = [*map(np.asarray, (*inputs, *outputs))]
        if any(str(a.dtype) not in OURS for a in arrays):
            return "dtype"
        if case.name in OTHER_SETTINGS:
            return "setting"
        _check(case, node, attributes, inputs, outputs)
    return "equal"


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _check(case: Any, node: Any, attributes: Any, inputs: Any, outputs: Any) -> None:
    given = iter(map(np.asarray, inputs))
    arrays = [next(given) if name else None for name in node.input]
    nodes = [
        None if array is None else sf.input(f"x{k}", array.shape, str(array.dtype))
        for k, array in enumerate(arrays)
    ]
    result = WRITERS[node.op_type](Call(attributes, nodes, arrays, len(node.output)))
    results = list(result) if isinstance(result, list | tuple) else [result]
    env = {x: a for x, a in zip(nodes, arrays, strict=True) if x is not None and a is not None}
    wanted = [np.asarray(value) for value in outputs]
    values = sf.function(list(env), results)(*env.values())
    for way in (values, interpret(results, env)):
        for ours, right in zip(way, wanted, strict=False):
            found = np.asarray(ours)
            assert found.dtype == right.dtype, f"{case.name}: {found.dtype}, not {right.dtype}"
            np.testing.assert_allclose(
                found, right, rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=case.name
            )
