"""Numba's type inference, for kernels.

Numba runs all its rules again and again until no variable's type changes, at least twice, and gives
each a context for warnings. A rule for a call whose operands have the types that they had says
nothing new: here only those run again whose operands changed, as they do around a loop.
"""

from __future__ import annotations

from typing import Any

from numba.core import errors, typeinfer

_CALLS = (typeinfer.CallConstraint, typeinfer.IntrinsicCallConstraint)


class _Rules(typeinfer.ConstraintNetwork):  # type: ignore[misc]
    """Numba's rules, without those that have nothing new to say."""

    def __init__(self) -> None:
        super().__init__()
        self._operands: dict[int, tuple[Any, ...]] = {}  # of each call when its rule ran last

    def propagate(self, inference: Any) -> list[Exception]:
        """Run the rules once; those whose operands are not known yet give errors."""
        failed: list[Exception] = []
        for number, rule in enumerate(self.constraints):
            if type(rule) in _CALLS:
                operands = tuple(inference.typevars[each.name].type for each in rule.args)
                if rule.signature is not None and operands == self._operands.get(number):
                    continue
                self._operands[number] = operands
            try:
                rule(inference)
            except errors.TypingError as error:
                failed.append(error)
        return failed


def infer_types(state: Any) -> tuple[Any, Any, Any]:
    """The types of a kernel's variables, of its result, and of its calls.

    Raises Numba's TypingError for what has none.
    """
    inference = typeinfer.TypeInferer(state.typingctx, state.func_ir, warnings=None)
    inference.constraints = _Rules()
    calls = state.typingctx.callstack
    target = state.targetctx.target
    with calls.register(target, inference, state.func_id, state.args):
        for index, (name, type_) in enumerate(
            zip(state.func_ir.arg_names, state.args, strict=True)
        ):
            inference.seed_argument(name, index, type_)
        if state.return_type is not None:
            inference.seed_return(state.return_type)
        inference.build_constraint()
        inference.propagate()
        found: tuple[Any, Any, Any] = inference.unify()
    return found
