"""JAX on many nets of equal shapes, one Adam step of all of them at a time.

Forms, all in one jit with the loop over steps inside: `vmap` of the step; the nets one after the
other (`lax.map`), each through all its steps; the same in groups of up to eight that are vmapped;
and, where the process has several devices (`--xla_force_host_platform_device_count`), each of them
with `pmap` over the devices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import data, peers_jax
from benchmarks.contender import Forms, Job
from benchmarks.workloads import FNN, LEARNING_RATE, Ensemble, Workload

GROUP = 8


class MembersJob(Job):
    """`group` nets at a time through all steps, on so many devices."""

    compiles_per_count = True

    def __init__(
        self, loss: Callable[[Any, Any], Any], params: Any, batches: Any, group: int, devices: int
    ) -> None:
        self._params = jax.tree.map(np.asarray, params)
        self._count = jax.tree.leaves(params)[0].shape[0]
        self._group, self._devices = group, devices
        batches = jax.tree.map(jnp.asarray, batches)
        cycle = jax.tree.leaves(batches)[0].shape[0]
        self._optimizer = optimizer = optax.adam(LEARNING_RATE)

        def step(carry: Any, _: None) -> tuple[Any, Any]:
            params, state, k = carry
            batch = jax.tree.map(lambda a: a[k], batches)
            value, gradient = jax.value_and_grad(loss)(params, batch)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state, (k + 1) % cycle), value

        def train(carry: Any, steps: int) -> tuple[Any, Any]:
            def one(own: Any) -> tuple[Any, Any]:
                return jax.lax.scan(step, own, None, length=steps)

            return jax.lax.map(jax.vmap(one) if group > 1 else one, carry)

        if devices > 1:
            self._train = jax.pmap(train, donate_argnums=0, static_broadcasted_argnums=1)
        else:
            self._train = jax.jit(train, donate_argnums=0, static_argnums=1)
        self._carry = self._start()

    def _start(self) -> Any:
        """The carry of every net, in the shape (devices, groups, group), without axes of 1."""
        shape: tuple[int, ...] = (self._count // self._group,)
        shape = (*shape, self._group) if self._group > 1 else shape
        if self._devices > 1:
            shape = (self._devices, shape[0] // self._devices, *shape[1:])
        one = jax.vmap(lambda p: (p, self._optimizer.init(p), jnp.int32(0)))
        carry = one(jax.tree.map(jnp.array, self._params))
        return jax.tree.map(lambda a: a.reshape(shape + a.shape[1:]), carry)

    def run(self, steps: int) -> None:
        self._carry, losses = self._train(self._carry, steps)
        jax.block_until_ready((self._carry, losses))

    def check(self, steps: int) -> tuple[float, float]:
        _, losses = self._train(self._start(), steps)
        total = np.asarray(losses).reshape(self._count, steps).sum(axis=0)
        return float(total[0]), float(total[-1])


def _loss(w: Ensemble) -> tuple[Callable[[Any, Any], Any], Any, Any]:
    """The loss of one net, the weights of all, and the minibatches."""
    net = w.net
    if isinstance(net, FNN):
        batches = data.fnn_batches(net)

        def loss(params: Any, batch: Any) -> Any:
            x, y = batch
            return jnp.mean((peers_jax.feed_forward(params, x, net.activation) - y) ** 2)

        params = data.fnn_weights(net)
        return loss, data.by_member(w, params), (batches.x, batches.y)
    rows = data.rnn_batches(net)
    held = (np.ascontiguousarray(rows.x.swapaxes(1, 2)), rows.y, rows.lengths)
    params = data.by_member(w, peers_jax.rnn_params(net))
    return partial(peers_jax.rnn_loss, net, False), params, held


def forms(w: Workload) -> Forms:
    assert isinstance(w, Ensemble)
    jax.config.update("jax_enable_x64", w.dtype == "float64")
    loss, params, batches = _loss(w)
    devices = jax.local_device_count()
    each = w.members // devices
    some = max(n for n in range(1, GROUP + 1) if each % n == 0)
    for group in (1, some, each):
        label = {1: "one after the other", some: f"vmap of {some}"}.get(group, "vmap of all")
        yield label, partial(MembersJob, loss, params, batches, group, devices)
