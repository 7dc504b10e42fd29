"""Names that other libraries give to what a node does otherwise: messages that say how.

`node.grad` has no meaning in a static graph; who writes it is told of `sf.grad`.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticflow.errors import message

HERE: Mapping[str, str] = {
    "grad": "sf.grad(loss, node) is the derivative as a node; session.gradients(feeds) its values",
    "backward": "sf.grad(loss, nodes) gives the derivatives; session.step(feeds) trains by them",
    "detach": "ops.stop_gradient(node) stops derivatives",
    "requires_grad": "sf.grad(loss, node) takes any node; Session(freeze=[...]) holds parameters",
    "requires_grad_": "sf.grad(loss, node) takes any node; Session(freeze=[...]) holds parameters",
    "zero_grad": "derivatives are nodes and never accumulate: there is nothing to set to zero",
    "no_grad": "ops.stop_gradient(node) stops derivatives",
    "numpy": "node.eval(x=array, ...) gives the value for arrays by the names of its leaves",
    "item": "float(node.eval(x=array, ...)) gives the value of a scalar",
    "tolist": "node.eval(x=array, ...).tolist() gives the values",
    "data": "node.eval(x=array, ...) gives the value; session.params holds those of parameters",
    "cpu": "everything is computed on the CPU: leave it out",
    "cuda": "everything is computed on the CPU: leave it out",
    "view": "node.reshape(...)",
    "permute": "node.transpose(...)",
    "unsqueeze": "ops.expand_dims(node, axis), or node[:, None]",
    "size": "node.shape",
    "dim": "node.ndim",
    "mm": "node @ other",
    "matmul": "node @ other",
    "float": "node.astype('float32')",
    "double": "node.astype('float64')",
    "long": "node.astype('int64')",
}


def unknown(name: str, own: str) -> AttributeError:
    """The error for an attribute that a node does not have."""
    if name in HERE:
        return AttributeError(message(f"a node has no .{name}", do=HERE[name]))
    return AttributeError(f"{own!r} object has no attribute {name!r}")
