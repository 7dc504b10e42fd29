"""What a session was made to compute: its loss, outputs and metrics, and what follows from them.

None of this changes while the session lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_loss, check_metrics, check_outside_loops
from staticflow.graph.dims import names_of
from staticflow.graph.leaves import Input, Param
from staticflow.graph.node import Node
from staticflow.graph.pytree import flatten
from staticflow.graph.state_updates import states_of, updates_of
from staticflow.graph.traversal import dims_of, leaves, toposort
from staticflow.native.memory import Array
from staticflow.runtime.feeds import (
    as_array,
    bind_sizes,
    input_nodes,
    leading_names,
    measured,
    row_dimension,
)
from staticflow.runtime.index_checks import IndexLimit, check_indices, index_limits
from staticflow.runtime.parameters import declared_order
from staticflow.session.state.row_means import check_row_means

NEW_SESSION = "make another session, with params=session.params to go on with its values"


class FixedDict(dict[str, Any]):
    """A dict that cannot be changed, as what it says has been compiled."""

    def _refuse(self, *args: Any, **options: Any) -> Any:
        fail(GraphError, "the outputs and metrics of a session cannot be changed", do=NEW_SESSION)

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


class SessionGraph:
    """The graph of a session.

    `loss` is a float scalar or None, `outputs` what the user gave as such (names in a dict),
    `metrics` float scalars by name, `inputs` all inputs by name, `params` and `states` the leaves
    that have values, in order of declaration.
    """

    def __init__(
        self, loss: Node | None, outputs: Any = None, metrics: Mapping[str, Node] | None = None
    ) -> None:
        if loss is not None:
            check_loss(loss)
        self.loss = loss
        self.outputs = _named(outputs)
        self.metrics = FixedDict(check_metrics(metrics))
        self.roots = [*self._scalars(), *flatten(self.outputs)]
        if not self.roots:
            fail(GraphError, "a session needs a loss or outputs", do="pass loss= or outputs=")
        check_outside_loops(self.roots)
        self.states = declared_order(states_of(self.roots, self._scalars()))
        everything = [*self.roots, *updates_of(self.states)]
        self.params = declared_order(leaves(everything, Param))
        self.inputs = input_nodes(everything)
        check_row_means(self.metrics, list(leading_names(self.inputs)))

    def _scalars(self) -> list[Node]:
        return [n for n in (self.loss, *self.metrics.values()) if n is not None]

    @cached_property
    def training_roots(self) -> list[Node]:
        """What a training step computes before it differentiates."""
        return [*self._scalars(), *updates_of(self.states)]

    @cached_property
    def training_inputs(self) -> dict[str, Node]:
        """The inputs that a training step reads, or takes a size from."""
        roots = self.training_roots
        inputs = input_nodes(roots)
        names = names_of(dim for node in toposort(roots) for dim in dims_of(node))
        sizes = measured(names, inputs.values(), self.inputs)
        return inputs | {node.name: node for node in sizes}

    @cached_property
    def labels(self) -> list[str]:
        """The float inputs of a training step that no output reads."""
        read = set(leaves(flatten(self.outputs), Input))
        return [n for n, x in self.training_inputs.items() if x.type.is_float and x not in read]

    @cached_property
    def training_limits(self) -> list[IndexLimit]:
        """What indices must keep to in a training step."""
        return index_limits(self.training_roots)

    def batch_name(self) -> str:
        """The dimension that training slices; "" where no input has a named leading one."""
        return row_dimension(self.training_inputs, None)

    def checked(self, named: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, int]]:
        """What is fed to a training step as arrays, and the sizes of the named dimensions."""
        inputs = self.training_inputs
        arrays = {name: as_array(inputs[name], named[name]) for name in inputs}
        env = bind_sizes(inputs, arrays)
        check_indices(self.training_limits, arrays, env)
        return arrays, env


def _named(outputs: Any) -> Any:
    """The outputs of a session as they were given, names in a dict that stays as it is."""
    if outputs is None:
        return FixedDict()
    flatten(outputs)
    return FixedDict(outputs) if isinstance(outputs, Mapping) else outputs
