"""The loops in JAX: jitted, with the scan as it is or unrolled by some steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import loops_programs
from benchmarks.calculus_data import ResultJob
from benchmarks.contender import Forms
from benchmarks.loops_programs import Library
from benchmarks.workloads import Loops

jax.config.update("jax_enable_x64", True)


def _full(shape: tuple[int, ...], value: float) -> Any:
    return jnp.full(shape, value, jnp.float64)


def _library(unroll: int) -> Library:
    return Library(
        jnp.exp, jnp.tanh, jnp.sqrt, jnp.log, jnp.stack, jnp.concatenate, jnp.outer, _full,
        partial(jax.lax.scan, unroll=unroll),
    )  # fmt: skip


def _job(w: Loops, unroll: int) -> ResultJob:
    given = {name: jnp.asarray(a) for name, a in loops_programs.arrays(w).items()}
    library, names = _library(unroll), loops_programs.by(w)

    def results(given: Any) -> Any:
        return loops_programs.program(w, library, given)[0]

    def value(own: Any, given: Any) -> Any:
        return loops_programs.program(w, library, {**given, **own})[1]

    own = {name: given[name] for name in names}
    if w.gradient:
        both = jax.jit(jax.value_and_grad(value))

        def call() -> list[Any]:
            found, slopes = jax.block_until_ready(both(own, given))
            return [found, *(slopes[name] for name in names)]

        return ResultJob(call)
    compiled = jax.jit(results)
    return ResultJob(lambda: list(jax.block_until_ready(compiled(given))))


def forms(w: Loops) -> Forms:
    for unroll in (1, 4):
        yield f"unroll {unroll}", partial(_job, w, unroll)
