"""Networks made of the public API alone: feed-forward and recurrent ones, and estimators.

In a checkout this package is also found as `models`; that name is made to mean this very package.
The estimators are imported at their first use, for scikit-learn takes its time.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from staticflow.models.fnn import FNN
from staticflow.models.rnn import RNN
from staticflow.models.torch_state import from_torch_state, to_torch_state

if TYPE_CHECKING:
    from staticflow.models.estimators import (
        FNNClassifier,
        FNNRegressor,
        RNNClassifier,
        RNNRegressor,
    )
    from staticflow.models.search import search

__all__ = [
    "FNN",
    "RNN",
    "FNNClassifier",
    "FNNRegressor",
    "RNNClassifier",
    "RNNRegressor",
    "from_torch_state",
    "search",
    "to_torch_state",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "search" if name == "search" else "estimators"
    value = getattr(importlib.import_module(f"staticflow.models.{module}"), name)
    globals()[name] = value  # also in place of the module of this name
    return value


if __name__ != "staticflow.models":
    importlib.import_module("staticflow.models.estimators")
    for _name in [name for name in sys.modules if f"{name}.".startswith("staticflow.models.")]:
        sys.modules[_name.removeprefix("staticflow.")] = sys.modules[_name]
