"""Optimizers against torch.optim, and schedules against torch's, step by step in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.errors import GraphError, ShapeError
from staticflow.graph.traversal import toposort
from staticflow.optim import algorithms as optim
from staticflow.optim.schedules import Schedule
from staticflow.runtime.interpreter import interpret

SIZE, STEPS = 7, 20
Vector = np.ndarray


def start() -> Vector:
    return np.random.default_rng(0).normal(size=SIZE)


def slope(p: Vector, k: int) -> Vector:
    """Some gradient at step k: of a bent bowl that moves."""
    return 3.0 * p + np.sin(2.0 * p + k)


class Trained:
    """Parameters under an optimizer, one interpreted step at a time."""

    def __init__(
        self,
        optimizer: optim.Optimizer,
        dtype: str = "float64",
        mask: Vector | None = None,
        scale: Vector | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.p = start().astype(dtype)
        self.slots = {s: np.full(SIZE, optimizer.slot_init(s), dtype) for s in optimizer.slots}
        self.count = 0
        self.groups = {"mask": mask, "scale": scale}
        names = ("p", "g", "mask", "scale", *self.slots)
        vector = {name: sf.input(name, ("elements",), dtype) for name in names}
        self.step, self.lr = sf.input("step", (), "int64"), sf.input("lr", (), "float64")
        norm = ops.sqrt(ops.sum(ops.square(vector["g"].astype("float64"))))
        groups = [None if a is None else vector[name] for name, a in self.groups.items()]
        slots = {name: vector[name] for name in self.slots}
        self.rate = optimizer.learning_rate(self.step, self.lr)
        self.vector = vector
        self.result = optimizer.update(
            vector["p"], vector["g"], slots, self.step, self.rate, norm, *groups
        )

    def advance(self, g: Vector) -> float:
        """One step; returns the learning rate that it used."""
        self.count += 1
        new_p, new_slots = self.result
        env = {self.vector[name]: value for name, value in self.slots.items()}
        env |= {self.vector[name]: a for name, a in self.groups.items() if a is not None}
        env |= {self.vector["p"]: self.p, self.vector["g"]: g}
        env |= {self.step: self.count, self.lr: self.optimizer.base_lr}
        names = list(self.slots)
        rate, self.p, *rest = interpret([self.rate, new_p, *map(new_slots.get, names)], env)
        self.slots = dict(zip(names, rest, strict=True))
        return float(rate)


def trajectory(optimizer: optim.Optimizer, dtype: str = "float64") -> Vector:
    trained = Trained(optimizer, dtype)
    points = []
    for k in range(STEPS):
        trained.advance(slope(trained.p, k))
        points.append(trained.p)
    return np.array(points)


def peer_trajectory(
    make: Callable[..., Any],
    dtype: str = "float64",
    clip: Callable[[Any, Any], object] | None = None,
) -> Vector:
    torch = pytest.importorskip("torch")
    p = torch.tensor(start().astype(dtype), requires_grad=True)
    peer = make(torch.optim)([p])
    points = []
    for k in range(STEPS):
        p.grad = torch.from_numpy(slope(p.detach().numpy(), k))
        if clip is not None:
            clip(torch.nn.utils, [p])
        peer.step()
        points.append(p.detach().numpy().copy())
    return np.array(points)


CASES: list[tuple[optim.Optimizer, str, dict[str, Any]]] = [
    (optim.SGD(0.05), "SGD", {"lr": 0.05}),
    (optim.SGD(), "SGD", {}),
    (optim.SGD(0.05, 0.9), "SGD", {"lr": 0.05, "momentum": 0.9}),
    (optim.SGD(0.05, 0.9, True), "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    (
        optim.SGD(0.05, momentum=0.9, weight_decay=0.1),
        "SGD",
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
    ),
    (optim.RMSProp(), "RMSprop", {}),
    (optim.RMSProp(0.03, weight_decay=0.1), "RMSprop", {"lr": 0.03, "weight_decay": 0.1}),
    (
        optim.RMSProp(0.03, alpha=0.9, momentum=0.5, centered=True),
        "RMSprop",
        {"lr": 0.03, "alpha": 0.9, "momentum": 0.5, "centered": True},
    ),
    (optim.Adagrad(), "Adagrad", {}),
    (
        optim.Adagrad(0.3, lr_decay=0.1, initial_accumulator_value=0.2, weight_decay=0.1),
        "Adagrad",
        {"lr": 0.3, "lr_decay": 0.1, "initial_accumulator_value": 0.2, "weight_decay": 0.1},
    ),
    (optim.Adam(), "Adam", {}),
    (optim.Adam(0.1, weight_decay=0.1), "Adam", {"lr": 0.1, "weight_decay": 0.1}),
    (
        optim.Adam(0.1, betas=(0.8, 0.9), eps=1e-3),
        "Adam",
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3},
    ),
    (optim.AdamW(), "AdamW", {}),
    (optim.AdamW(0.1, weight_decay=0.3), "AdamW", {"lr": 0.1, "weight_decay": 0.3}),
]


@pytest.mark.peers
@pytest.mark.parametrize(("ours", "name", "settings"), CASES, ids=lambda v: str(v)[:60])
def test_follows_torch(ours: optim.Optimizer, name: str, settings: dict[str, Any]) -> None:
    theirs = peer_trajectory(
        lambda torch_optim: lambda p: getattr(torch_optim, name)(p, **settings)
    )
    np.testing.assert_allclose(trajectory(ours), theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.peers
@pytest.mark.parametrize(("ours", "name", "settings"), CASES[::3], ids=lambda v: str(v)[:60])
def test_follows_torch_in_float32(
    ours: optim.Optimizer, name: str, settings: dict[str, Any]
) -> None:
    theirs = peer_trajectory(
        lambda torch_optim: lambda p: getattr(torch_optim, name)(p, **settings), "float32"
    )
    points = trajectory(ours, "float32")
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.peers
def test_clipping_follows_torch() -> None:
    by_norm = peer_trajectory(
        lambda o: lambda p: o.SGD(p, 0.1), clip=lambda u, p: u.clip_grad_norm_(p, 1.5)
    )
    np.testing.assert_allclose(trajectory(optim.SGD(0.1, clip_norm=1.5)), by_norm, rtol=1e-12)
    by_value = peer_trajectory(
        lambda o: lambda p: o.Adam(p, 0.1), clip=lambda u, p: u.clip_grad_value_(p, 0.5)
    )
    np.testing.assert_allclose(trajectory(optim.Adam(0.1, clip_value=0.5)), by_value, rtol=1e-12)


def test_clip_norm_needs_the_norm() -> None:
    p = sf.input("p", ("elements",), "float64")
    with pytest.raises(GraphError, match="norm of the gradient is missing"):
        optim.SGD(0.1, clip_norm=1.0).update(p, p, {}, sf.const(1), sf.const(0.1, "float64"))


def lion(p: Vector, lr: float, b1: float, b2: float, decay: float) -> Vector:
    """Lion by the paper's Algorithm 2."""
    m, points = np.zeros_like(p), []
    for k in range(STEPS):
        g = slope(p, k)
        p = p - lr * (np.sign(b1 * m + (1 - b1) * g) + decay * p)
        m = b2 * m + (1 - b2) * g
        points.append(p)
    return np.array(points)


def test_lion() -> None:
    np.testing.assert_allclose(trajectory(optim.Lion()), lion(start(), 1e-4, 0.9, 0.99, 0.0))
    ours = trajectory(optim.Lion(0.05, (0.8, 0.9), weight_decay=0.2))
    np.testing.assert_allclose(ours, lion(start(), 0.05, 0.8, 0.9, 0.2), rtol=1e-12)


@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW, optim.Lion])
def test_groups_act_as_separate_optimizers(make: Callable[..., optim.Optimizer]) -> None:
    mask, scale = np.arange(SIZE) % 2.0, 1.0 + np.arange(SIZE) // 2
    mixed = Trained(make(0.01, weight_decay=0.3), mask=mask, scale=scale)
    alone = [
        Trained(make(0.01 * s, weight_decay=0.3 * m)) for m, s in zip(mask, scale, strict=True)
    ]
    for k in range(5):
        g = slope(mixed.p, k)
        mixed.advance(g)
        for other in alone:
            other.advance(g)
    expected = [other.p[i] for i, other in enumerate(alone)]
    np.testing.assert_allclose(mixed.p, expected, rtol=1e-12)


def rates(lr: Any, count: int = 12) -> list[float]:
    trained = Trained(optim.SGD(lr))
    return [trained.advance(np.zeros(SIZE)) for _ in range(count)]


def peer_rates(make: Callable[..., Any], lr: float, count: int = 12) -> list[float]:
    torch = pytest.importorskip("torch")
    p = torch.zeros(1, requires_grad=True)
    peer = torch.optim.SGD([p], lr)
    schedule = make(torch.optim.lr_scheduler, peer)
    found = []
    for _ in range(count):
        found.append(peer.param_groups[0]["lr"])
        peer.step()
        schedule.step()
    return found


@pytest.mark.peers
@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (optim.step(0.3, 4, 0.5), lambda s, o: s.StepLR(o, 4, 0.5)),
        (optim.step(0.3, every=5), lambda s, o: s.StepLR(o, 5)),
        (optim.exponential(0.3, 0.9), lambda s, o: s.ExponentialLR(o, 0.9)),
        (optim.cosine(0.3, 12), lambda s, o: s.CosineAnnealingLR(o, 12)),
        (optim.cosine(0.3, 12, final=0.1), lambda s, o: s.CosineAnnealingLR(o, 12, 0.1)),
        (lambda t: 0.3 / (1.0 + t), lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + t))),
    ],
)
def test_schedules_follow_torch(schedule: Any, make: Callable[..., Any]) -> None:
    np.testing.assert_allclose(rates(schedule), peer_rates(make, 0.3), rtol=1e-12)


def test_cosine_stays_at_its_end() -> None:
    assert rates(optim.cosine(0.3, 4, 0.1))[4:] == pytest.approx([0.1] * 8)


def test_warmup_rises_and_hands_over() -> None:
    found = rates(optim.warmup(4, optim.exponential(0.8, 0.5)), 7)
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.2])
    assert rates(optim.warmup(2, 0.5), 3) == pytest.approx([0.25, 0.5, 0.5])
    assert rates(optim.warmup(2, lambda t: 1.0 + t), 4) == pytest.approx([0.5, 1.0, 1.0, 2.0])


@pytest.mark.parametrize("lr", [0.3, optim.cosine(0.3, 9), optim.warmup(3, optim.step(0.3, 2))])
def test_the_base_rate_is_fed(lr: float | Schedule) -> None:
    """Another base rate is another value of the leaf `lr`, and the same graph."""
    trained = Trained(optim.SGD(lr))
    assert trained.optimizer.base_lr == 0.3
    assert trained.lr in toposort([trained.rate])


def test_a_schedule_must_be_a_scalar() -> None:
    with pytest.raises(ShapeError, match="a learning rate must be a scalar"):
        Trained(optim.SGD(lambda t: ops.ones((3,), "float64") * t))


def test_optimizers_are_values() -> None:
    assert optim.Adam(0.1) == optim.Adam(lr=0.1, betas=(0.9, 0.999))
    assert hash(optim.AdamW()) == hash(optim.AdamW(weight_decay=0.01))
    assert optim.SGD(0.1).slots == ()
    assert optim.RMSProp(momentum=0.5, centered=True).slots == ("square", "mean", "momentum")
    assert optim.Adagrad(initial_accumulator_value=0.5).slot_init("sum") == 0.5


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: optim.SGD(-0.1), "lr must be finite and not negative"),
        (lambda: optim.Adam(math.nan), "lr must be finite and not negative"),
        (lambda: optim.Adam("fast"), "lr must be a number"),
        (lambda: optim.SGD(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: optim.SGD(0.1, momentum=-1), r"SGD: momentum must lie in \[0, inf\)"),
        (lambda: optim.Adam(betas=(0.9, 1.0)), "betas must be two numbers"),
        (lambda: optim.Adam(betas=(0.9,)), "betas must be two numbers"),
        (lambda: optim.Adam(weight_decay=-1), r"weight_decay must lie in \[0, inf\)"),
        (lambda: optim.Lion(clip_norm=0), r"Lion: clip_norm must lie in \(0, inf\)"),
        (lambda: optim.RMSProp(alpha=1), r"alpha must lie in \[0, 1\)"),
        (lambda: optim.Adagrad(eps="small"), "eps must lie in"),
        (lambda: optim.cosine(0.1, 0), "steps must be a positive integer"),
        (lambda: optim.step(0.1, 2.5), "every must be a positive integer"),
        (lambda: optim.exponential(0.1, -1), "rate must be finite"),
    ],
)
def test_refused(make: Callable[[], object], text: str) -> None:
    with pytest.raises(GraphError, match=text):
        make()


def test_a_refused_option_names_the_users_line() -> None:
    with pytest.raises(sf.GraphError, match=r"at test_algorithms\.py:\d+: sf\.optim\.Adam\(-1\)"):
        sf.optim.Adam(-1)
