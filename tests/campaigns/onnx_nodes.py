"""The node tests that ONNX ships, taken in as models, have their values.

A case is a node test: a model, arrays for its inputs, and what its outputs are. It is taken in by
`from_onnx`, and computed by the interpreter and by machine code. Tests of dtypes that staticflow
has not (float16, unsigned and small integers, strings, sequences), of operators without a writer,
and of settings that are none of ours (`OTHER_SETTINGS`) are counted as left out.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx.helper  # says what is missing where there is none

import staticflow as sf
from staticflow.errors import GraphError
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.onnx_in.graph import unknown
from staticflow.session.interchange.onnx_in.table import OLDEST
from staticflow.session.interchange.onnx_in.values import DTYPES
from tests.campaigns import Tick

COUNT, SAMPLE = 2_000, 60
OURS = frozenset(DTYPES.values())

# Parts of the messages of settings that are none of ours, and what they are called.
OTHER_SETTINGS: Mapping[str, str] = {
    "it drops values at inference": "Dropout in training mode",
    "Scan of opset 8 is another operator": "Scan of opset 8",
    "of scattered values is not supported": "scatters that multiply or take extremes",
    "sizes, is computed from data": "sizes that data decide about",
}


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    """Node tests in random order, each once; there are some 1 900."""
    found: Counter[str] = Counter()
    operators: set[str] = set()
    cases = node_tests()
    order = np.random.default_rng(seed).permutation(len(cases))
    for k in range(count):
        if k < len(cases):
            case = cases[order[k]]
            reason = verdict(case)
            found[reason.partition(":")[0]] += 1
            operators.update([case.model.graph.node[0].op_type] if reason == "equal" else [])
        tick()
    return {
        "node tests": found.total(),
        "with their values": found["equal"],
        "operators": len(operators),
        "of other dtypes": found["dtype"],
        "of other operators": found["operator"],
        "of other settings": found["setting"],
    }


def node_tests() -> list[Any]:
    """All of them, in the order of the onnx package."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases  # which makes all of them

        return [case for case in collect_testcases(None) if case.data_sets]


def verdict(case: Any, compiled: bool = True) -> str:
    """`equal`, or why a case is none of ours; AssertionError where a value differs."""
    model = case.model
    types = {x.type.tensor_type.elem_type if x.type.HasField("tensor_type") else 0
             for x in (*model.graph.input, *model.graph.output)}  # fmt: skip
    arrays = [_array(a) for pair in case.data_sets for part in pair for a in part]
    if types - set(DTYPES) or any(str(a.dtype) not in OURS for a in arrays):
        return "dtype"
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    lost = unknown(model.graph.node, functions, {o.domain: o.version for o in model.opset_import})
    if lost:
        return "operator:" + ", ".join(sorted(lost))
    if model.opset_import[0].version < OLDEST:
        return "setting:opset"
    for inputs, outputs in case.data_sets:
        try:
            taken = take(model, inputs)
        except GraphError as error:
            return setting_of(case.name, error)
        check(case, taken, inputs, outputs, compiled)
    return "equal"


def _array(value: Any) -> Any:
    """An array of what a case gives, or an array of an object, which is of no dtype of ours."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return (
        np.asarray(value)
        if isinstance(value, np.ndarray | np.generic | int | float | bool)
        else np.array(None)
    )


def setting_of(name: str, error: GraphError) -> str:
    """The setting that a refusal names; any other refusal is a failure."""
    for part, called in OTHER_SETTINGS.items():
        if part in str(error):
            return f"setting:{called}"
    inner = re.search(r": (\w+) of .* is an operator that staticflow has not", str(error))
    if inner is not None:  # in what ONNX defines an operator by
        return f"operator:{inner.group(1)}"
    raise AssertionError(f"{name}: {error}") from error


def take(model: Any, inputs: Sequence[Any]) -> Any:
    """The model; inputs that decide about its graph, such as axes, become constants."""
    names = [x.name for x in model.graph.input]
    given = dict(zip(names, map(_array, inputs), strict=False))
    try:
        return sf.from_onnx(model)
    except GraphError as error:
        asked = re.search(r"its input (\d+)", str(error))
        if asked is None:
            raise
    lists = {k: v for k, v in given.items() if v.ndim < (2 if v.dtype.kind in "ib" else 1)}
    behind, place = list(model.graph.node[0].input), int(asked.group(1))
    if len(model.graph.node) == 1 and place < len(behind):
        name = behind[place]
        lists = {name: given[name], **_lists_beside(model, given, name)}
    return sf.from_onnx(model, constants=lists)


def _lists_beside(model: Any, given: Mapping[str, Any], first: str) -> dict[str, Any]:
    """What comes behind that input and is a number or a list of numbers."""
    behind = list(model.graph.node[0].input)
    later = behind[behind.index(first) :]
    return {k: given[k] for k in later if k in given and given[k].ndim < 2}


def check(case: Any, taken: Any, inputs: Any, outputs: Any, compiled: bool) -> None:
    """The interpreter, and machine code, give what the case says."""
    names = [x.name for x in case.model.graph.input]
    arrays = dict(zip(names, map(_array, inputs), strict=False))
    env = {node: arrays[name] for name, node in taken.inputs.items()}
    results = [taken.outputs[x.name] for x in case.model.graph.output]
    ways = [interpret(results, env, training=False)]
    if compiled:
        ways.append(sf.function(list(env), results)(*env.values()))
    for way in ways:
        for ours, right in zip(way, map(_array, outputs), strict=True):
            found = np.asarray(ours)
            assert found.dtype == right.dtype, f"{case.name}: {found.dtype}, not {right.dtype}"
            np.testing.assert_allclose(
                found, right, rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=case.name
            )
