"""JAX: the training loop is one `lax.scan` inside one jit, its carry donated, Adam by optax.

Forms: optax on the tree of parameters or on one flat vector; recurrences with the input projection
hoisted by hand out of the time loop, or with [x, h] joined in one product per step; gates are one
matrix in all of them. The sequence is held time-major, which is what `lax.scan` wants.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import calculus_jax, data, loops_jax
from benchmarks.contender import CallJob, Forms, Job, LoopJob
from benchmarks.workloads import (
    FNN,
    LEARNING_RATE,
    RNN,
    Calculus,
    Infer,
    Loops,
    Ode,
    Stream,
    Workload,
)

Params = Any
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


class ScanJob(Job):
    """Training: `loss(params, minibatch)`, with minibatches taken by a dynamic index."""

    compiles_per_count = True

    def __init__(
        self,
        loss: Callable[[Params, Any], Any],
        params: Params,
        batches: Any,
        optimizer: optax.GradientTransformation,
    ) -> None:
        self._params = jax.tree.map(np.asarray, params)
        self._optimizer = optimizer
        batches = jax.tree.map(jnp.asarray, batches)
        count = jax.tree.leaves(batches)[0].shape[0]

        def step(carry: Any, _: None) -> tuple[Any, Any]:
            params, state, k = carry
            batch = jax.tree.map(lambda a: a[k], batches)
            value, gradient = jax.value_and_grad(loss)(params, batch)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state, (k + 1) % count), value

        @partial(jax.jit, donate_argnums=0, static_argnums=1)
        def train(carry: Any, steps: int) -> tuple[Any, Any]:
            return jax.lax.scan(step, carry, None, length=steps)

        self._train = train
        self._carry = self._start()

    def _start(self) -> Any:
        params = jax.tree.map(jnp.array, self._params)
        return params, self._optimizer.init(params), jnp.int32(0)

    def run(self, steps: int) -> None:
        self._carry, losses = self._train(self._carry, steps)
        jax.block_until_ready(losses)
        jax.block_until_ready(self._carry)

    def check(self, steps: int) -> tuple[float, float]:
        _, losses = self._train(self._start(), steps)
        return float(losses[0]), float(losses[-1])


def feed_forward(params: Params, x: Any, activation: str) -> Any:
    """The output of a feed-forward net."""
    *hidden, (last, bias) = params
    for w, b in hidden:
        x = ACTIVATIONS[activation](x @ w + b)
    return x @ last + bias


def _fnn_forms(w: FNN) -> Forms:
    batches = data.fnn_batches(w)

    def loss(params: Params, batch: Any) -> Any:
        x, y = batch
        return jnp.mean((feed_forward(params, x, w.activation) - y) ** 2)

    adam = optax.adam(LEARNING_RATE)
    for label, optimizer in (("", adam), ("flat Adam", optax.flatten(adam))):
        yield label, partial(ScanJob, loss, data.fnn_weights(w), (batches.x, batches.y), optimizer)


def _lstm(z: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = jnp.split(z, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(x: Any, z: Any, h: Any) -> Any:
    xr, xz, xn = jnp.split(x, 3, -1)
    hr, hz, hn = jnp.split(z, 3, -1)
    update = jax.nn.sigmoid(xz + hz)
    new = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return new + update * (h - new)


def _advance(cell: str, p: Params, x: Any, state: Any) -> Any:
    """One step from the projected input; the state is (h,) or (h, c)."""
    z = state[0] @ p["hh"]
    if cell == "tanh":
        return (jnp.tanh(x + z),)
    if cell == "gru":
        return (_gru(x, z + p["bias_hh"], state[0]),)
    return _lstm(x + z, state[1])


def _advance_joined(cell: str, p: Params, x: Any, state: Any) -> Any:
    z = jnp.concatenate([x, state[0]], -1) @ p["joined"] + p["bias"]
    return (jnp.tanh(z),) if cell == "tanh" else _lstm(z, state[1])


def _recur(w: RNN, p: Params, xs: Any, mask: Any, reverse: bool, joined: bool) -> tuple[Any, Any]:
    """Run one direction of one layer over (time, batch, features); returns the last h and all h."""
    start = tuple(jnp.zeros((w.batch, w.hidden), w.dtype) for _ in range(1 + (w.cell == "lstm")))
    if joined:
        p = {"joined": jnp.concatenate([p["ih"], p["hh"]]), "bias": p["bias"]}
    else:
        xs = xs @ p["ih"] + p["bias"]
    advance = _advance_joined if joined else _advance

    def step(state: Any, x_mask: Any) -> tuple[Any, Any]:
        x, live = x_mask
        new = advance(w.cell, p, x, state)
        if live is not None:
            new = tuple(jnp.where(live, n, s) for n, s in zip(new, state, strict=True))
        return new, new[0] if w.layers > 1 else None

    state, hs = jax.lax.scan(step, start, (xs, mask), reverse=reverse)
    return state[0], hs


def rnn_params(w: RNN) -> Params:
    """Matrices as (in, out); one bias, but for GRU, whose second one stands inside a product."""
    named = data.rnn_weights(w)
    params: Params = {"head": (named["head.weight"], named["head.bias"])}
    for layer in range(w.layers):
        for suffix in ("", "_reverse")[: w.directions]:
            key = f"l{layer}{suffix}"
            p = {"ih": named[f"weight_ih_{key}"].T, "hh": named[f"weight_hh_{key}"].T}
            p["bias"] = named[f"bias_ih_{key}"]
            if w.cell == "gru":
                p["bias_hh"] = named[f"bias_hh_{key}"]
            else:
                p["bias"] = p["bias"] + named[f"bias_hh_{key}"]
            params[key] = p
    return params


def rnn_loss(w: RNN, joined: bool, params: Params, batch: Any) -> Any:
    """The loss of a recurrent net, its products joined or not."""
    xs, y, lengths = batch
    mask = None if lengths is None else (jnp.arange(w.time)[:, None] < lengths)[:, :, None]
    for layer in range(w.layers):
        directions = [
            _recur(w, params[f"l{layer}{suffix}"], xs, mask, suffix != "", joined)
            for suffix in ("", "_reverse")[: w.directions]
        ]
        if layer + 1 < w.layers:
            xs = jnp.concatenate([hs for _, hs in directions], -1)
    last = jnp.concatenate([h for h, _ in directions], -1)
    matrix, bias = params["head"]
    return jnp.mean((last @ matrix + bias - y) ** 2)


def _rnn_forms(w: RNN) -> Forms:
    batches = data.rnn_batches(w)
    held = (np.ascontiguousarray(batches.x.swapaxes(1, 2)), batches.y, batches.lengths)
    for joined in (False, True):
        if joined and w.cell == "gru":
            continue  # The reset gate stands between the two products.
        loss = partial(rnn_loss, w, joined)
        label = "[x, h] joined" if joined else "input hoisted"
        yield label, partial(ScanJob, loss, rnn_params(w), held, optax.adam(LEARNING_RATE))


def _infer_forms(w: Infer) -> Forms:
    params = jax.tree.map(jnp.asarray, data.fnn_weights(w))
    rows = data.infer_rows(w)
    on_device = jnp.asarray(rows)
    forward = jax.jit(partial(feed_forward, activation=w.activation))
    closed = jax.jit(lambda x: feed_forward(params, x, w.activation))
    calls = {
        "NumPy in and out": lambda: np.asarray(closed(rows)),
        "own arrays": lambda: closed(on_device).block_until_ready(),
        "own arrays, weights as arguments": lambda: forward(params, on_device).block_until_ready(),
    }
    for label, call in calls.items():
        yield label, partial(CallJob, call, lambda y: float(np.asarray(y).sum()))


class _StreamJob(Job):
    """Each step is one call of a jitted cell, as a loop with the user's own code in it needs."""

    def __init__(self, w: Stream) -> None:
        row = RNN("lstm", w.features, w.hidden, 1, 1, dtype=w.dtype)
        params = jax.tree.map(jnp.asarray, rnn_params(row))
        matrix, bias = params["head"]

        @partial(jax.jit, donate_argnums=0)
        def step(state: Any, x: Any) -> tuple[Any, Any]:
            p = params["l0"]
            state = _advance("lstm", p, x @ p["ih"] + p["bias"], state)
            return state, state[0] @ matrix + bias

        self._step = step
        self._rows = data.stream_rows(w)
        self._state = tuple(jnp.zeros(w.hidden, w.dtype) for _ in range(2))

    def run(self, steps: int) -> None:
        state, rows = self._state, self._rows
        for k in range(steps):
            state, y = self._step(state, rows[k % len(rows)])
            float(y[0])
        self._state = state


class _OdeScan(Job):
    """The whole integration inside one jit, which leaves the user's loop no Python either."""

    compiles_per_count = True

    def __init__(self, step: Callable[[Any], Any], state: Any) -> None:
        def advance(state: Any, _: None) -> tuple[Any, None]:
            return step(state), None

        @partial(jax.jit, static_argnums=1)
        def integrate(state: Any, steps: int) -> Any:
            return jax.lax.scan(advance, state, None, length=steps)[0]

        self._integrate, self._state = integrate, state

    def run(self, steps: int) -> None:
        self._state = self._integrate(self._state, steps).block_until_ready()


def _ode_forms(w: Ode) -> Forms:
    params = jax.tree.map(jnp.asarray, data.fnn_weights(w))
    steps = data.ode_steps(w)
    forward = jax.jit(lambda x: feed_forward(params, x, w.activation))
    inside = partial(feed_forward, params, activation=w.activation)
    start = data.ode_start(w)

    def outside(x: np.ndarray) -> np.ndarray:
        return np.asarray(forward(x))

    yield "loop in NumPy", lambda: LoopJob(partial(data.runge_kutta, outside, steps), start)
    yield (
        "loop in jit",
        lambda: _OdeScan(partial(data.runge_kutta, inside, steps), jnp.asarray(start)),
    )


def forms(w: Workload) -> Forms:
    jax.config.update("jax_enable_x64", w.dtype == "float64")
    match w:
        case FNN():
            return _fnn_forms(w)
        case RNN():
            return _rnn_forms(w)
        case Infer():
            return _infer_forms(w)
        case Stream():
            return iter([("", lambda: _StreamJob(w))])
        case Ode():
            return _ode_forms(w)
        case Calculus():
            return calculus_jax.forms(w)
        case Loops():
            return loops_jax.forms(w)
