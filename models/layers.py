"""What models are made of: parameters that take their dtype from the first use; dense layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import staticflow as sf
from staticflow import ops
from staticflow.errors import fail
from staticflow.graph.declare import freeze
from staticflow.graph.foreign_names import OF_MODELS, unknown
from staticflow.models.checks import check_width, float_dtype


class Weights:
    """Parameters and states under a prefix, declared at their first use in that graph's dtype."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._declared: dict[str, sf.Node] = {}
        self._parameters: dict[str, None] = {}  # those of them that are no states
        self._frozen = False

    @property
    def parameters(self) -> dict[str, sf.Node]:
        """The parameters declared so far, by name."""
        return {self._declared[name].name: self._declared[name] for name in self._parameters}

    def freeze(self) -> None:
        """Train none of the parameters, in sessions that are made from now on."""
        self._frozen = True
        for node in self.parameters.values():
            freeze(node)

    def param(self, name: str, shape: tuple[int, ...], init: Any, dtype: str) -> sf.Node:
        """The parameter `prefix.name`."""
        node = self._declare(sf.param, name, shape, init, dtype)
        self._parameters[name] = None
        if self._frozen:
            freeze(node)
        return node

    def state(self, name: str, shape: tuple[int, ...], init: Any, dtype: str) -> sf.Node:
        """The state `prefix.name`."""
        return self._declare(sf.state, name, shape, init, dtype)

    def _declare(
        self,
        declare: Callable[..., sf.Node],
        name: str,
        shape: tuple[int, ...],
        init: Any,
        dtype: str,
    ) -> sf.Node:
        full = f"{self.prefix}.{name}"
        if name not in self._declared:
            self._declared[name] = declare(full, shape, init=init, dtype=dtype)
        node = self._declared[name]
        if node.dtype != dtype:
            fail(
                sf.DTypeError,
                f"{full} is {node.dtype} by its first use and cannot be {dtype} as well",
                do="convert the input with .astype, or make another model",
            )
        return node


class Parameters(dict[str, sf.Node]):
    """Parameters by name, as `sf.grad(loss, net.parameters)` and `Session(train=...)` take them."""

    __slots__ = ()

    def __call__(self) -> NoReturn:
        fail(sf.GraphError, "net.parameters is a dict from name to node, and not called",
             do="leave out the parentheses; session.params has the arrays")  # fmt: skip


class Model:
    """What networks can be asked about their weights."""

    if not TYPE_CHECKING:  # for a type checker, a model has what is written in it

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown("a model", name, OF_MODELS, type(self).__name__)

    def weights(self) -> Iterator[Weights]:
        """All of them, in order."""
        raise NotImplementedError

    @property
    def parameters(self) -> Parameters:
        """The parameters by name, of those calls of the model that have been made so far.

        `sf.grad` and its siblings take such a dict, and so do `Session(train=...)` and `freeze=`.
        """
        return Parameters(
            (n, x) for weights in self.weights() for n, x in weights.parameters.items()
        )

    def freeze(self) -> None:
        """Train none of the parameters, in sessions that are made from now on."""
        for weights in self.weights():
            weights.freeze()


class Dense:
    """x @ weight + bias."""

    def __init__(self, width: int, out: int, prefix: str, init: Any) -> None:
        self.width, self.out, self.prefix = width, out, prefix
        self._init = init
        self.weights = Weights(prefix)

    def __call__(self, x: sf.Node) -> sf.Node:
        """(..., width) -> (..., out)."""
        dtype = float_dtype(x, self.prefix)
        check_width(x, self.width, self.prefix)
        weight = self.weights.param("weight", (self.width, self.out), self._init, dtype)
        bias = self.weights.param("bias", (self.out,), "zeros", dtype)
        return ops.matmul(x, weight) + bias
