"""NaN in labels, which is refused where it reaches the loss or a gradient.

A graph may leave such labels out: then nothing comes of them. Its form does not show whether it
does; so a batch that has some is tried without changing anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.leaves import Input
from staticflow.nan_guard import has_nan
from staticflow.node import Node
from staticflow.structure import flatten
from staticflow.traversal import leaves

if TYPE_CHECKING:
    from staticflow.session import Session

Array = NDArray[Any]


def label_names(outputs: Any, inputs: Mapping[str, Node]) -> list[str]:
    """The float inputs, of those given, that the outputs do not read."""
    of_outputs = set(leaves(flatten(outputs), Input))
    return [n for n, x in inputs.items() if x.type.is_float and x not in of_outputs]


def refuse_labels(
    session: Session,
    data: Mapping[str, Array],
    batch_axis: str | None,
    batch: Callable[[Mapping[str, Array]], Mapping[str, Array]] = lambda bad: {},
) -> None:
    """Refuse data whose loss or gradients are NaN because labels are.

    `batch` gives what to try in place of all the data, for the labels that hold NaN. It is tried
    only once whether a session's graph copes with it.
    """
    bad = {n: data[n] for n in session.labels if n in data and has_nan(data[n])}
    if not bad or session._copes_with_nan:
        return
    tried = batch(bad) or data
    reached = _nan_comes_out(session, tried, batch_axis)
    if not reached:
        session._copes_with_nan = True
        return
    clean = {n: np.where(np.isnan(tried[n]), 0.0, tried[n]) for n in bad}
    if _nan_comes_out(session, {**tried, **clean}, batch_axis):
        return  # from elsewhere
    name, labels = next(iter(bad.items()))
    position = tuple(int(i) for i in np.argwhere(np.isnan(labels))[0])
    fail(
        GraphError,
        f"input {name!r}: a value is NaN, and so is {reached}",
        got=f"nan at position {position}, {int(np.isnan(labels).sum())} in all",
        do="leave such rows out, or put other values in their place before they are computed with: "
        "ops.where(ops.isnan(t), y, t)",
    )


def rows_with_nan(labels: Sequence[Array], count: int, size: int) -> NDArray[np.int64]:
    """`size` of `count` rows, which lead the labels; those first in which one is NaN."""
    missing = np.zeros(count, bool)
    for array in labels:
        missing |= np.isnan(array).reshape(count, -1).any(axis=1)
    return np.sort(np.argsort(~missing, kind="stable")[:size])


def _nan_comes_out(session: Session, batch: Mapping[str, Array], batch_axis: str | None) -> str:
    """What is NaN: the loss, a gradient, or nothing."""
    trainer, (loss, *_) = session._run_batch(batch, batch_axis, train=False)
    trainer.release()
    if np.isnan(loss):
        return "the loss"
    gradients = trainer.gradients() if trainer.flat is not None else {}
    found = [name for name, gradient in gradients.items() if np.isnan(gradient).any()]
    return f"the gradient of {found[0]!r}" if found else ""
