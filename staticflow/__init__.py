"""staticflow: declare a network once as a static graph; train and run it as native loops."""

from __future__ import annotations

from staticflow import ops
from staticflow.differentiate import grad, hessian, hvp, jacobian, jvp, vjp
from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError
from staticflow.graph import Node, const, input, param, state, update

__all__ = [  # fmt: skip
    "DTypeError", "GraphError", "Node", "NumericsError", "ShapeError", "const", "grad", "hessian",
    "hvp", "input", "jacobian", "jvp", "ops", "param", "state", "update", "vjp",
]
