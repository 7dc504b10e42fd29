"""What models are made of: parameters that take their dtype from the first use; dense layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import staticflow as sf
from staticflow import ops
from staticflow.errors import fail
from staticflow.models.checks import check_width, float_dtype


class Weights:
    """Parameters and states under a prefix, declared at their first use in that graph's dtype."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._declared: dict[str, sf.Node] = {}

    def param(self, name: str, shape: tuple[int, ...], init: Any, dtype: str) -> sf.Node:
        """The parameter `prefix.name`."""
        return self._declare(sf.param, name, shape, init, dtype)

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


class Dense:
    """x @ weight + bias."""

    def __init__(self, width: int, out: int, prefix: str, init: Any) -> None:
        self.width, self.out, self.prefix = width, out, prefix
        self._init = init
        self._weights = Weights(prefix)

    def __call__(self, x: sf.Node) -> sf.Node:
        """(..., width) -> (..., out)."""
        dtype = float_dtype(x, self.prefix)
        check_width(x, self.width, self.prefix)
        weight = self._weights.param("weight", (self.width, self.out), self._init, dtype)
        bias = self._weights.param("bias", (self.out,), "zeros", dtype)
        return ops.matmul(x, weight) + bias
