"""staticflow: declare a network once as a static graph; train and run it as native loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from staticflow import ops
from staticflow.custom import custom_op
from staticflow.declare import input, param, state, update
from staticflow.differentiate import grad, hvp, jvp, vjp
from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError
from staticflow.jacobians import hessian, jacobian
from staticflow.leaves import const
from staticflow.node import Node
from staticflow.scan import scan

if TYPE_CHECKING:
    from staticflow import compiler, init, models, optim
    from staticflow.control import cond, while_loop
    from staticflow.formula import explain
    from staticflow.history import History
    from staticflow.session import Session
    from staticflow.stateless import function

__all__ = [
    "DTypeError", "GraphError", "History", "Node", "NumericsError", "Session", "ShapeError",
    "compiler", "cond", "const", "custom_op", "explain", "function", "grad", "hessian", "hvp",
    "init", "input", "jacobian", "jvp", "models", "ops", "optim", "param", "scan", "state",
    "update", "vjp", "while_loop",
]  # fmt: skip

# What declaring a graph does not need is imported when it is first asked for.
_LATER = {
    "History": "staticflow.history",
    "Session": "staticflow.session",
    "cond": "staticflow.control",
    "explain": "staticflow.formula",
    "function": "staticflow.stateless",
    "while_loop": "staticflow.control",
}
_MODULES = ("compiler", "init", "models", "optim")


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LATER:
        value = getattr(importlib.import_module(_LATER[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"staticflow.{name}")
    else:
        raise AttributeError(f"module 'staticflow' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
