"""Names that other libraries give to what is done otherwise here: messages that say how.

`node.grad` has no meaning in a static graph; who writes it is told of `sf.grad`.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticflow.errors import message
from staticflow.graph.operators import FUNCTIONS

OF_NODES: Mapping[str, str] = {
    "grad": "sf.grad(loss, node) is the derivative as a node; session.gradients(feeds) its values",
    "backward": "sf.grad(loss, nodes) gives the derivatives; session.step(feeds) trains by them",
    "detach": "ops.stop_gradient(node) stops derivatives",
    "requires_grad": "sf.grad(loss, node) takes any node; Session(freeze=[...]) holds parameters",
    "requires_grad_": "sf.grad(loss, node) takes any node; Session(freeze=[...]) holds parameters",
    "zero_grad": "derivatives are nodes and never accumulate: there is nothing to set to zero",
    "no_grad": "ops.stop_gradient(node) stops derivatives",
    "numpy": "node.eval(x=array, ...) gives the value for arrays by the names of its leaves",
    "item": "float(node.eval(x=array, ...)) gives the value of a scalar",
    "value": "node.eval(x=array, ...) gives the value for arrays by the names of its leaves",
    "tolist": "node.eval(x=array, ...).tolist() gives the values",
    "data": "node.eval(x=array, ...) gives the value; session.params holds those of parameters",
    "cpu": "everything is computed on the CPU: leave it out",
    "cuda": "everything is computed on the CPU: leave it out",
    "to": "node.astype('float64') converts; everything is computed on the CPU",
    "clone": "a node cannot change, and needs no copy: use it as it is",
    "copy": "a node cannot change, and needs no copy: use it as it is",
    "view": "node.reshape(...)",
    "permute": "node.transpose(...)",
    "unsqueeze": "ops.expand_dims(node, axis), or node[:, None]",
    "mT": "ops.swapaxes(node, -1, -2), or node.T of a matrix",
    "size": "node.shape",
    "dim": "node.ndim",
    "mm": "node @ other",
    "matmul": "node @ other",
    "float": "node.astype('float32')",
    "double": "node.astype('float64')",
    "long": "node.astype('int64')",
}
# Of the package itself
OF_FACE: Mapping[str, str] = {
    "tensor": "sf.const(values), or the array itself: ops take arrays",
    "array": "sf.const(values), or the array itself: ops take arrays",
    "Tensor": "sf.Node is what ops take and return",
    "Variable": "sf.param(name, shape) declares what is trained",
    "Parameter": "sf.param(name, shape) declares what is trained",
    "placeholder": "sf.input(name, shape) declares what is fed",
    "no_grad": "ops.stop_gradient(node) stops derivatives; session.run computes none",
    "nn": "models.FNN and models.RNN are networks; ops has activations and losses",
    "random": "ops.random draws; sf.init has initial values",
    "jit": "sf.function(inputs, outputs) compiles; session.jit(fetch) is for your own njit code",
    "compile": "sf.function(inputs, outputs) or sf.Session(loss, ...) compiles",
}
# Of `ops`, besides what NumPy calls so
OF_OPS: Mapping[str, str] = {
    "cat": "ops.concatenate",
    "mm": "ops.matmul",
    "bmm": "ops.matmul",
    "detach": "ops.stop_gradient",
    "cross_entropy": "ops.softmax_cross_entropy",
    "binary_cross_entropy_with_logits": "ops.sigmoid_binary_cross_entropy",
    "mse_loss": "ops.mse",
    "l1_loss": "ops.mae",
    "linear": "x @ weight + bias",
    "unsqueeze": "ops.expand_dims",
    "permute": "ops.transpose",
    "gather": "ops.take_along_axis",
    "topk": "ops.top_k",
}
# Of sessions, which train, and of models, which only declare
OF_SESSIONS: Mapping[str, str] = {
    "parameters": "session.params is a mapping from name to live array; net.parameters has nodes",
    "named_parameters": "session.params.items()",
    "weights": "session.params is a mapping from name to live array",
    "get_weights": "session.params is a mapping from name to live array",
    "set_weights": "session.load_params({name: array}), or session.params[name][...] = array",
    "state_dict": "session.params has the arrays; session.save(path) writes all there is",
    "load_state_dict": "session.load_params({name: array}), also of models.from_torch_state(...)",
    "backward": "session.step(feeds) trains on a batch; session.gradients(feeds) only looks",
    "grad": "session.gradients(feeds) are the derivatives of the loss by parameter name",
    "zero_grad": "gradients are computed anew at each step: there is nothing to set to zero",
    "train": "fit, step and gradients compute as in training, all else as at inference",
    "eval": "session.run(fetches, feeds) and session(x=...) compute as at inference",
    "predict": "session(x=array), or session.run('y', {'x': array})",
    "compile": "sf.Session(loss, optimizer=...) is compiled at its first step",
    "train_step": "session.step(feeds)",
    "train_on_batch": "session.step(feeds)",
    "to": "everything is computed on the CPU; dtypes are declared with sf.input and sf.param",
    "cuda": "everything is computed on the CPU: leave it out",
}
OF_MODELS: Mapping[str, str] = {
    "forward": "call the model on a node: y = net(x)",
    "state_dict": "models.to_torch_state(session, net); the values are in session.params",
    "load_state_dict": "session.load_params(models.from_torch_state(state_dict, net))",
    "named_parameters": "net.parameters.items()",
    "train": "session.fit, step and gradients compute as in training, all else as at inference",
    "eval": "session.run and session(x=...) compute as at inference",
    "fit": "sf.Session(loss, optimizer=...).fit(data); models.FNNClassifier has fit and predict",
    "predict": "sf.Session(outputs=...) runs it; models.FNNClassifier has fit and predict",
    "compile": "sf.Session(loss, optimizer=...) is compiled at its first step",
    "zero_grad": "gradients are computed anew at each step: there is nothing to set to zero",
    "requires_grad_": "net.freeze() trains none of them; Session(freeze=[...]) some",
    "to": "it computes in the dtype of its input, on the CPU",
    "cuda": "everything is computed on the CPU: leave it out",
}


def unknown(what: str, name: str, known: Mapping[str, str], own: str) -> AttributeError:
    """The error for an attribute that `what` does not have, an object of a class called `own`."""
    if name in known:
        return AttributeError(message(f"{what} has no .{name}", do=known[name]))
    return AttributeError(f"{own!r} object has no attribute {name!r}")


def unknown_of_module(module: str, name: str, known: Mapping[str, str]) -> AttributeError:
    """The error for a name that a module does not have, and `known` or an op stands for."""
    text = f"module {module!r} has no attribute {name!r}"
    do = known.get(name) or (f"ops.{name}" if name in FUNCTIONS else "")
    return AttributeError(message(text, do=do) if do else text)
