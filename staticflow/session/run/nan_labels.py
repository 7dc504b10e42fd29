"""NaN in labels, which is refused where it reaches the loss or a gradient.

A graph may leave such labels out: then nothing comes of them. Its form does not show whether it
does; so a batch that has some is tried without changing anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.native.memory import Array
from staticflow.session.run.nan_guard import has_nan

Attempt = Callable[[Mapping[str, Array]], tuple[float, Mapping[str, Array]]]


def refuse_labels(
    labels: Sequence[str],
    data: Mapping[str, Array],
    attempt: Attempt,
    sample: Callable[[Mapping[str, Array]], Mapping[str, Array]] = lambda bad: {},
) -> bool:
    """Refuse data whose loss or gradients are NaN because labels are.

    `labels` are the names of inputs that count as such, and `attempt` gives the loss and the
    gradients of a batch without changing anything. `sample` gives what to try in place of all the
    data, for the labels that hold NaN. Returns whether there were such labels and they did no harm.
    """
    bad = {n: data[n] for n in labels if n in data and has_nan(data[n])}
    if not bad:
        return False
    tried = sample(bad) or data
    reached = _nan_comes_out(*attempt(tried))
    if not reached:
        return True
    clean = {n: np.where(np.isnan(tried[n]), 0.0, tried[n]) for n in bad}
    if _nan_comes_out(*attempt({**tried, **clean})):
        return False  # from elsewhere
    name, values = next(iter(bad.items()))
    position = tuple(int(i) for i in np.argwhere(np.isnan(values))[0])
    fail(
        GraphError,
        f"input {name!r}: a value is NaN, and so is {reached}",
        got=f"nan at position {position}, {int(np.isnan(values).sum())} in all",
        do="leave such rows out, or put other values in their place before they are computed with: "
        "ops.where(ops.isnan(t), y, t)",
    )


def rows_with_nan(labels: Sequence[Array], count: int, size: int) -> NDArray[np.int64]:
    """`size` of `count` rows, which lead the labels; those first in which one is NaN."""
    missing = np.zeros(count, bool)
    for array in labels:
        missing |= np.isnan(array).reshape(count, -1).any(axis=1)
    return np.sort(np.argsort(~missing, kind="stable")[:size])


def _nan_comes_out(loss: float, gradients: Mapping[str, Array]) -> str:
    """What is NaN: the loss, a gradient, or nothing."""
    if np.isnan(loss):
        return "the loss"
    found = [name for name, gradient in gradients.items() if np.isnan(gradient).any()]
    return f"the gradient of {found[0]!r}" if found else ""
