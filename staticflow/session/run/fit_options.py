"""What a fit is told, beside its data; see `Session.fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_integer
from staticflow.graph.node import Node

Callback = Callable[[Any, dict[str, Any]], Any]
Callbacks = Callback | Sequence[Callback]


@dataclass(frozen=True)
class FitOptions:
    """How to train; see `Session.fit`."""

    epochs: int
    batch_size: int
    shuffle: bool | str
    validation_data: Any
    callbacks: Callbacks | None
    progress: bool
    batch_axis: str | None
    on_nan: str
    accumulate: int


def callables(callbacks: Callbacks | None) -> Sequence[Callback]:
    """Callbacks as a sequence: one may stand alone."""
    if callable(callbacks):
        return (callbacks,)
    if callbacks is None:
        return ()
    if isinstance(callbacks, Iterable):
        callbacks = tuple(callbacks)
        if all(map(callable, callbacks)):
            return callbacks
    fail(
        GraphError,
        "fit: callbacks are functions f(session, log)",
        got=repr(callbacks)[:80],
        do="pass a function or a list of them",
    )


def check_options(inputs: Mapping[str, Node], data: Any, options: FitOptions) -> None:
    """Refuse data of another kind, and numbers that are none."""
    if not callable(data) and not isinstance(data, Mapping):
        wanted = ", ".join(f"{name!r}: ..." for name in inputs)
        fail(
            GraphError,
            "data must be a dict from input name to array, or a callable that returns batches",
            got=type(data).__name__,
            do=f"write fit({{{wanted}}}, epochs=...)",
        )
    epochs, batch_size = options.epochs, options.batch_size
    whole = all(hasattr(n, "__index__") and not np.ndim(n) for n in (epochs, batch_size))
    if not whole or epochs < 0 or batch_size < 1:
        fail(
            GraphError,
            "fit: epochs must be an integer of at least 0, batch_size one of at least 1",
            got=f"epochs={epochs!r}, batch_size={batch_size!r}",
        )
    check_integer(
        "accumulate, the number of batches that have one update,", options.accumulate, 1,
        "leave it out for an update after each batch",
    )  # fmt: skip
