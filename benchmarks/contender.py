"""The contenders, and what a contender is: a module that turns a workload into jobs.

The module has one function, `forms(workload)`, which yields (label, build) for every form that
might be its best: thread counts, fused or plain optimizers, hoisted or plain recurrences. The
worker times each briefly and keeps the fastest for the rounds. A module is imported only in its own
process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


class Job:
    """One form of one workload, ready to run."""

    granule = 1
    """`run` accepts multiples of this many steps."""
    compiles_per_count = False
    """Whether another number of steps costs a compilation; then the first is a guess."""

    def run(self, steps: int) -> None:
        """Do `steps` steps and come back when they are done."""
        raise NotImplementedError

    def check(self, steps: int) -> tuple[float, float] | None:
        """From the initial weights, the losses of step 1 and of step `steps`, if comparable."""
        return None


class CallJob(Job):
    """A job whose step is one call of a function from Python (inference)."""

    def __init__(self, call: Callable[[], Any], total: Callable[[Any], float] | None = None):
        self.call, self.total = call, total

    def run(self, steps: int) -> None:
        call = self.call
        for _ in range(steps):
            call()

    def check(self, steps: int) -> tuple[float, float] | None:
        if self.total is None:
            return None
        value = float(self.total(self.call()))
        return value, value


class LoopJob(Job):
    """A loop in Python that carries a state from step to step."""

    def __init__(self, step: Callable[[Any], Any], state: Any) -> None:
        self._step, self._state = step, state

    def run(self, steps: int) -> None:
        step, state = self._step, self._state
        for _ in range(steps):
            state = step(state)
        self._state = state


Forms = Iterator[tuple[str, Callable[[], Job]]]


@dataclass(frozen=True)
class Variant:
    """One process of a contender: what cannot be changed once its library is loaded."""

    label: str = ""
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """`role` is ours, peer or floor; `kinds` are those of the workloads it does."""

    name: str
    module: str
    kinds: tuple[str, ...]
    role: str = "peer"
    packages: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = (Variant(),)
    slow_to_build: bool = False


_JAX_DEVICES = Variant(
    "a device a core",
    {
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false "
        f"--xla_force_host_platform_device_count={os.cpu_count() or 1}"
    },
)
_JAX_SERIAL = Variant("1 thread", {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"})

CONTENDERS = {
    c.name: c
    for c in (
        Contender(
            "staticflow",
            "benchmarks.ours",
            ("fnn", "rnn", "ensemble", "infer", "stream", "ode", "calculus", "loops"),
            role="ours",
            packages=("staticflow", "numba", "llvmlite"),
        ),
        Contender(
            "jax",
            "benchmarks.peers_jax",
            ("fnn", "rnn", "infer", "stream", "ode", "calculus", "loops"),
            packages=("jax", "jaxlib", "optax"),
            variants=(Variant(), _JAX_SERIAL),
        ),
        Contender(
            "torch",
            "benchmarks.peers_torch",
            ("fnn", "rnn", "infer", "stream", "ode"),
            packages=("torch",),
        ),
        Contender(
            "jax.vmap",
            "benchmarks.ensemble_jax",
            ("ensemble",),
            packages=("jax", "jaxlib", "optax"),
            variants=(Variant(), _JAX_SERIAL, _JAX_DEVICES),
        ),
        Contender("torch.bmm", "benchmarks.ensemble_torch", ("ensemble",), packages=("torch",)),
        Contender(
            "torch.compile",
            "benchmarks.peers_torch_compile",
            ("fnn",),
            packages=("torch",),
            slow_to_build=True,
        ),
        Contender(
            "sklearn",
            "benchmarks.peers_sklearn",
            ("fnn",),
            packages=("scikit-learn",),
        ),
        Contender(
            "pytensor",
            "benchmarks.peers_pytensor",
            ("fnn", "calculus"),
            packages=("pytensor", "numba"),
            slow_to_build=True,
        ),
        Contender(
            "autograd",
            "benchmarks.calculus_autograd",
            ("calculus",),
            packages=("autograd", "numpy", "scipy"),
        ),
        Contender(
            "onnxruntime",
            "benchmarks.peers_onnx",
            ("infer", "stream", "ode"),
            packages=("onnxruntime", "onnx"),
        ),
        Contender(
            "numpy", "benchmarks.peers_numpy", ("infer", "stream", "ode"), packages=("numpy",)
        ),
        Contender(
            "by hand", "benchmarks.loops_numba", ("loops",), role="floor", packages=("numba",)
        ),
        Contender(
            "floor", "benchmarks.floor", ("fnn",), role="floor", packages=("numba", "llvmlite")
        ),
    )
}
