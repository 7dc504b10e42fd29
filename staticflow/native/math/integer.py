"""Functions of integers that kernels call: the power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llvmlite import ir

from staticflow.native.toolchain.intrinsics import declare

_WORD = ir.IntType(64)
_POWER = "staticflow.integer_power"


def _power(builder: Any, x: Any, y: Any) -> Any:
    """x^y, as a function of its own, since it loops over the bits of y."""
    module = builder.module
    function = module.globals.get(_POWER) or _define_power(module)
    return builder.call(function, (x, y))


def _define_power(module: Any) -> Any:
    function = ir.Function(module, ir.FunctionType(_WORD, [_WORD, _WORD]), _POWER)
    function.linkage = "internal"
    x, y = function.args
    entry, loop, body, done, below = map(
        function.append_basic_block, ("entry", "loop", "body", "done", "below")
    )
    build = ir.IRBuilder(entry)
    zero, one = ir.Constant(_WORD, 0), ir.Constant(_WORD, 1)
    build.cbranch(build.icmp_signed("<", y, zero), below, loop)
    build.position_at_end(loop)
    result, base, left = (build.phi(_WORD) for _ in range(3))
    build.cbranch(build.icmp_signed("==", left, zero), done, body)
    build.position_at_end(body)
    odd = build.trunc(left, ir.IntType(1))
    steps = (
        (result, one, build.select(odd, build.mul(result, base), result)),
        (base, x, build.mul(base, base)),
        (left, y, build.lshr(left, one)),
    )
    for phi, first, following in steps:
        phi.add_incoming(first, entry)
        phi.add_incoming(following, body)
    build.branch(loop)
    build.position_at_end(done)
    build.ret(result)
    build.position_at_end(below)
    build.ret(_reciprocal_power(build, x, y))
    return function


def _reciprocal_power(build: Any, x: Any, y: Any) -> Any:
    """1 / x^-y towards 0, for y below 0: not 0 for 1 and -1 only."""
    zero, one, minus = (ir.Constant(_WORD, n) for n in (0, 1, -1))
    sign = build.select(build.trunc(y, ir.IntType(1)), minus, one)
    other = build.select(build.icmp_signed("==", x, minus), sign, zero)
    return build.select(build.icmp_signed("==", x, one), one, other)


FUNCTIONS: Mapping[str, object] = {
    "integer_power": declare("integer_power", "i8", ("i8", "i8"), _power),
}
