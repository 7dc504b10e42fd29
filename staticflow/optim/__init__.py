"""Optimizers and schedules of learning rates, as graphs: sf.optim.

In: gradients, slots and a step's number, as nodes. Out: nodes of new parameters and slots. `base`
has the interface, `schedules` the rates. May import: ops, graph, errors.
"""

from staticflow.optim.algorithms import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Optimizer,
    RMSProp,
    cosine,
    exponential,
    step,
    warmup,
)

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Optimizer",
    "RMSProp",
    "cosine",
    "exponential",
    "step",
    "warmup",
]
