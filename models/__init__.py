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
    from staticflow.models.flax_params import from_flax, to_flax
    from staticflow.models.keras_model import from_keras, to_keras
    from staticflow.models.search import search

__all__ = [
    "FNN",
    "RNN",
    "FNNClassifier",
    "FNNRegressor",
    "RNNClassifier",
    "RNNRegressor",
    "from_flax",
    "from_keras",
    "from_torch_state",
    "search",
    "to_flax",
    "to_keras",
    "to_torch_state",
]
_PLACES = {
    "search": "search", "from_flax": "flax_params", "to_flax": "flax_params",
    "from_keras": "keras_model", "to_keras": "keras_model",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _PLACES.get(name, "estimators")
    value = getattr(importlib.import_module(f"staticflow.models.{module}"), name)
    globals()[name] = value  # also in place of the module of this name
    return value


if __name__ != "staticflow.models":
    importlib.import_module("staticflow.models.estimators")
    for _name in [name for name in sys.modules if f"{name}.".startswith("staticflow.models.")]:
        sys.modules[_name.removeprefix("staticflow.")] = sys.modules[_name]
