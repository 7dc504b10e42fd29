"""staticflow: declare a network once as a static graph; train and run it as native loops."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from staticflow import ops
from staticflow.autodiff.derivatives import grad, hvp, jvp, vjp
from staticflow.autodiff.jacobian import hessian, jacobian
from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError
from staticflow.graph.declare import input, param, state, update
from staticflow.graph.foreign_names import OF_FACE, unknown_of_module
from staticflow.graph.leaves import const
from staticflow.graph.node import Node
from staticflow.graph.operators import bind
from staticflow.ops.control_flow.scan import scan
from staticflow.ops.custom_op import custom_op

if TYPE_CHECKING:
    from staticflow import compiler, init, models, optim
    from staticflow.compiler.formula.explain import explain
    from staticflow.ops.control_flow.conditionals import cond, while_loop
    from staticflow.ops.control_flow.vmap import vmap
    from staticflow.session.check_grad import check_grad
    from staticflow.session.derivation.derive import derive
    from staticflow.session.drawing.draw import draw
    from staticflow.session.function import function
    from staticflow.session.interchange.onnx_in.model import from_onnx
    from staticflow.session.report.history import History
    from staticflow.session.session import Session

__all__ = [
    "DTypeError", "GraphError", "History", "Node", "NumericsError", "Session", "ShapeError",
    "check_grad", "compiler", "cond", "const", "custom_op", "derive", "draw", "explain",
    "from_onnx", "function", "grad", "hessian", "hvp", "init", "input", "jacobian", "jvp",
    "models", "ops", "optim", "param", "scan", "state", "update", "vjp", "vmap", "while_loop",
]  # fmt: skip

# What declaring a graph does not need is imported when it is first asked for.
_LATER = {
    "check_grad": "staticflow.session.check_grad",
    "History": "staticflow.session.report.history",
    "Session": "staticflow.session.session",
    "cond": "staticflow.ops.control_flow.conditionals",
    "derive": "staticflow.session.derivation.derive",
    "draw": "staticflow.session.drawing.draw",
    "explain": "staticflow.compiler.formula.explain",
    "from_onnx": "staticflow.session.interchange.onnx_in.model",
    "function": "staticflow.session.function",
    "while_loop": "staticflow.ops.control_flow.conditionals",
    "vmap": "staticflow.ops.control_flow.vmap",
}
_MODULES = ("compiler", "init", "models", "optim")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        value = getattr(importlib.import_module(_LATER[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"staticflow.{name}")
    else:
        raise unknown_of_module("staticflow", name, OF_FACE)
    globals()[name] = value
    return value


def _value_of(node: Node, feeds: dict[str, Any]) -> Any:
    """`node.eval`: a graph that is only declared needs nothing that computes."""
    return importlib.import_module("staticflow.session.calculator").value_of(node, feeds)


def _picture_of(what: Node | Session) -> str:
    """What a notebook shows of a node or session; words, where a picture would be too large."""
    html: str = importlib.import_module("staticflow.session.drawing.draw").shown(what)
    return html


def _export_onnx(session: Session, path: Any, outputs: Any, opset: int | None) -> None:
    """`session.export_onnx`: sessions know nothing of other formats."""
    module = importlib.import_module("staticflow.session.interchange.onnx_out.model")
    module.export_onnx(session, path, outputs, opset)


def _export_c(session: Session, path: Any, **options: Any) -> None:
    """`session.export_c`, likewise."""
    importlib.import_module("staticflow.session.interchange.c_out.model").export_c(
        session, path, **options
    )


def _members() -> type[Session]:
    """What a session of several members is; others need nothing of it."""
    found: type[Session] = importlib.import_module("staticflow.session.ensemble").Ensemble
    return found


bind("eval", _value_of)
bind("export_c", _export_c)
bind("export_onnx", _export_onnx)
bind("members", _members)
bind("picture", _picture_of)


def _old_names() -> None:
    """Let pickles of version 0.1.0 find what makes sessions and functions again."""
    places = {"_function": "staticflow.session.function", "_session": "staticflow.session.session"}

    def found(name: str) -> Any:
        if name not in places:
            raise AttributeError(name)
        return getattr(importlib.import_module(places[name]), f"{name[1:]}_from_pickle")

    module = ModuleType("staticflow.replicas")
    vars(module)["__getattr__"] = found
    sys.modules[module.__name__] = module


_old_names()


def __dir__() -> list[str]:
    return sorted(__all__)
