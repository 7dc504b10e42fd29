"""Members of a session are the sessions of their seeds, bit for bit.

Random nets, norms, dropout, optimizers, rates by member, rows by member, data by member, batch
sizes, groups of batches and threads: parameters, states, logs, outputs and losses are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import models, ops
from tests.campaigns import Tick

COUNT = 400
SAMPLE = 3
OPTIMIZERS = ("adam", "sgd", "lion", "cosine")


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    compared = 0
    for case in range(count):
        compared += _check(seed, case)
        tick()
    return {"ensembles": count, "members compared": compared}


@dataclass(frozen=True)
class _Case:
    """What sessions of a case have in common."""

    hidden: tuple[int, ...]
    norm: str | None
    dropout: float
    activation: str
    dtype: str
    optimizer: str
    decay: float

    def session(self, rate: Any, **settings: Any) -> sf.Session:
        x, t = sf.input("x", ("batch", 3), self.dtype), sf.input("t", ("batch", 2), self.dtype)
        net = models.FNN(
            [3, *self.hidden, 2], self.activation, dropout=self.dropout, norm=self.norm
        )
        y = net(x)
        makes = {
            "adam": lambda: sf.optim.Adam(rate, weight_decay=self.decay),
            "sgd": lambda: sf.optim.SGD(rate, momentum=0.9, clip_norm=1.0),
            "lion": lambda: sf.optim.Lion(rate, weight_decay=self.decay),
            "cosine": lambda: sf.optim.AdamW(sf.optim.cosine(rate, 20), weight_decay=self.decay),
        }
        return sf.Session(
            loss=ops.mse(y, t), outputs={"y": y}, metrics={"error": ops.mean(ops.abs(y - t))},
            optimizer=makes[self.optimizer](), **settings,
        )  # fmt: skip


def _check(seed: int, case: int) -> int:
    """Compare the members of a case; how many there were."""
    rng = np.random.default_rng((seed, case))
    drawn = _Case(
        hidden=tuple(int(n) for n in rng.integers(2, 9, rng.integers(3))),
        norm=[None, "batch", "layer"][rng.integers(3)],
        dropout=float(rng.choice([0.0, 0.3])),
        activation=str(rng.choice(["relu", "tanh"])),
        dtype=str(rng.choice(["float32", "float64"])),
        optimizer=str(rng.choice(OPTIMIZERS)),
        decay=float(rng.choice([0.0, 0.01])),
    )
    members, rows, threads = (int(rng.integers(1, n)) for n in (7, 80, 17))
    rates = (10.0 ** -rng.uniform(1, 4, members)).tolist()
    x = rng.normal(size=(rows, 3)).astype(drawn.dtype)
    t = rng.normal(size=(rows, 2)).astype(drawn.dtype)
    own = x * np.arange(1, members + 1, dtype=drawn.dtype)[:, None, None]
    given = own if rng.integers(2) else x
    chosen = [rng.integers(rows, size=rng.integers(1, rows + 1)) for _ in range(members)]
    picked = chosen if rng.integers(2) else None
    options: dict[str, Any] = {
        "epochs": int(rng.integers(1, 4)), "batch_size": int(rng.integers(1, 40)),
        "shuffle": [False, "own"][rng.integers(2)], "accumulate": int(rng.integers(1, 4)),
        "progress": False,
    }  # fmt: skip
    whole = drawn.session(rates, members=members, seed=case, threads=threads)
    history = whole.fit({"x": given, "t": t}, rows=picked, **options)
    outputs = whole.run("y", {"x": given})
    losses = whole.evaluate({"x": given, "t": t}, batch_size=7)
    for k in range(members):
        what = f"_check({seed}, {case}), member {k} of {drawn}"
        single = drawn.session(rates[k], seed=case + k, threads=1)
        data = {"x": given[k] if given is own else x, "t": t}
        part = data if picked is None else {n: a[picked[k]] for n, a in data.items()}
        log = single.fit(part, **options)
        for mine, theirs in ((whole.params, single.params), (whole.states, single.states)):
            for name, values in theirs.items():
                assert np.array_equal(mine[name][k], values), f"{what}: {name}"
        for epoch, expected in zip(history, log, strict=True):
            assert {n: v[k] for n, v in epoch.items()} == expected, f"{what}: logs"
        assert np.array_equal(outputs[k], single.run("y", {"x": data["x"]})), f"{what}: outputs"
        found = single.evaluate(data, batch_size=7)
        assert found == {n: v[k] for n, v in losses.items()}, f"{what}: losses"
    return members
