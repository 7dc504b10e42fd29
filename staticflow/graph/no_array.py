"""What a node refuses to be: a number, an array of numbers, a thing that changes.

Python and NumPy ask a value for its truth, its number, its elements. A node has none of them while
the graph is declared, and each of these methods says what to write instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from staticflow.errors import GraphError, fail
from staticflow.graph.foreign_names import OF_NODES, unknown
from staticflow.graph.numpy_calls import function, no_numbers, ufunc
from staticflow.graph.operators import FUNCTIONS

_EVAL = "float(node.eval(x=array, ...)) is the value for arrays by the names of its leaves"


class NoArray:
    """The base of nodes: the answers to who takes one for an array."""

    __slots__ = ()

    def __bool__(self) -> bool:
        fail(
            GraphError,
            "a node has no truth value while the graph is declared",
            do="choose by a value with ops.where or sf.cond, repeat with sf.while_loop",
        )

    if not TYPE_CHECKING:  # for a type checker, a node is no number and has what is written in it

        def __getattr__(self, name: str) -> NoReturn:
            known = {name: f"ops.{name}(node)"} if name in FUNCTIONS else {}
            raise unknown("a node", name, {**known, **OF_NODES}, type(self).__name__)

        def __float__(self) -> NoReturn:
            no_numbers("float", self, _EVAL)

        def __int__(self) -> NoReturn:
            no_numbers("int", self, _EVAL.replace("float", "int"))

        def __setitem__(self, index: Any, value: Any) -> NoReturn:
            fail(
                GraphError,
                "a node cannot be changed, nor can its elements",
                do="make another: ops.where(mask, value, node), ops.concatenate([...]), "
                "ops.scatter_add(node, indices, values)",
            )

        def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
            no_numbers(
                "np.asarray",
                self,
                "ops take nodes as they are, and ops.stack joins a list of them; "
                "node.eval(x=array, ...) gives the value",
            )

        def __array_ufunc__(self, called: Any, method: str, *inputs: Any, **options: Any) -> Any:
            return ufunc(self, called, method, inputs, options)

        def __array_function__(
            self, called: Any, types: Any, arguments: Sequence[Any], options: Mapping[str, Any]
        ) -> Any:
            return function(called, arguments)
