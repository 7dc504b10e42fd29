"""Random compositions of the whole vocabulary, built for staticflow and computed again by JAX.

A composition is a list of steps, each a function of earlier values. Every value that no step reads
counts in the loss, so that nothing is dead. Its derivatives are taken forward, in reverse, forward
over reverse, reverse over forward and forward over forward.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

import staticflow as sf
from staticflow import Node
from tests.fuzz.compositions.arrays import ORDERS, REDUCTIONS, VIEWS
from tests.fuzz.compositions.loops import LOOPS
from tests.fuzz.compositions.rules import (
    BINARY,
    LINEAR,
    PRODUCTS,
    UNARY,
    Choose,
    Function,
    Rule,
    Shape,
    one_of,
)
from tests.support.libraries import our_library, their_library

Array = np.ndarray[Any, Any]
LARGEST = 72  # elements of a value
OURS, THEIRS = our_library(), their_library()

ELEMENTWISE = tuple(Rule(name, (None,), lambda _c, _s, f=f: f) for name, f in UNARY.items())
PAIRS = tuple(Rule(name, (None, None), lambda _c, *_s, f=f: f) for name, f in BINARY.items())
FAMILIES: dict[str, tuple[Rule, ...]] = {
    "elementwise": ELEMENTWISE, "pairs": PAIRS, "reductions": REDUCTIONS, "orders": ORDERS,
    "views": VIEWS, "products": PRODUCTS, "linear algebra": LINEAR, "loops": LOOPS,
}  # fmt: skip
INPUT_SHAPES: tuple[Shape, ...] = ((4, 3), (3, 3), (3,), (2, 3), (), (3, 4))


@dataclass(frozen=True)
class Step:
    """A function of the values at some places."""

    name: str
    function: Function
    places: tuple[int, ...]


@dataclass
class Composition:
    """Inputs, steps, and the values of staticflow, which know their shapes."""

    shapes: tuple[Shape, ...]
    inputs: list[Node]
    steps: list[Step] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def add(self, step: Step) -> bool:
        """Whether the step's value is small enough to be kept."""
        node = step.function(OURS, *(self.nodes[k] for k in step.places))
        if int(np.prod(node.shape)) > LARGEST or node.ndim > 4:
            return False
        self.steps.append(step)
        self.nodes.append(node)
        return True

    def loss(self, m: Any, *xs: Any) -> Any:
        """A scalar of every value that no step reads."""
        values = list(xs) if m is not OURS else self.nodes
        if m is not OURS:
            for step in self.steps:
                values.append(step.function(m, *(values[k] for k in step.places)))
        read = {k for step in self.steps for k in step.places}
        return sum(m.sum(m.sin(v)) for k, v in enumerate(values) if k not in read)

    def __str__(self) -> str:
        lines = [f"v{k} {shape}" for k, shape in enumerate(self.shapes)]
        for k, step in enumerate(self.steps, len(lines)):
            places = ", ".join(f"v{p}" for p in step.places)
            lines.append(f"v{k} {self.nodes[k].shape} = {step.name}({places})")
        return "\n".join(lines)


def compose(choose: Choose, prefix: str, length: int, family: str | None = None) -> Composition:
    """A composition of `length` steps, with at least one of the given family."""
    shapes = tuple(one_of(choose, INPUT_SHAPES) for _ in range(2))
    inputs = [sf.input(f"{prefix}_{k}", shape, "float64") for k, shape in enumerate(shapes)]
    made = Composition(shapes, inputs, nodes=list(inputs))
    given = choose(length)
    while len(made.steps) < length:
        now = family if family and len(made.steps) == given else one_of(choose, FAMILIES)
        _grow(choose, made, one_of(choose, FAMILIES[now]))
    return made


def _grow(choose: Choose, made: Composition, rule: Rule) -> None:
    """Add a rule, its operands folded into its shapes, if its value is small enough."""
    places = [_recent(choose, len(made.nodes)) for _ in rule.shapes]
    wanted = [_wanted(made.nodes[k].shape, given, rule.least) for k, given in
              zip(places, rule.shapes, strict=True)]  # fmt: skip
    if rule.shapes[0] is None:
        wanted = [wanted[0]] * len(wanted)
    function = rule.make(choose, *wanted)

    def folded(m: Any, *xs: Any) -> Any:
        return function(m, *(_fold(m, x, shape) for x, shape in zip(xs, wanted, strict=True)))

    made.add(Step(rule.name, folded, tuple(places)))


def _recent(choose: Choose, count: int) -> int:
    """A place, more often one of the last two."""
    return count - 1 - (choose(min(2, count)) if choose(2) else choose(count))


def _wanted(shape: Any, given: Shape | None, least: int) -> Shape:
    if given is not None:
        return given
    return (*(1 for _ in range(least - len(shape))), *shape)


def _fold(m: Any, x: Any, shape: Shape) -> Any:
    """The elements of x, repeated or cut to fill a shape."""
    if tuple(x.shape) == shape:
        return x
    have, need = int(np.prod(x.shape)), int(np.prod(shape))
    flat = m.reshape(x, (have,))
    if have < need:
        flat = m.tile(flat, (-(-need // have),))
    return m.reshape(flat[:need], shape)


def seeded(seed: int) -> Choose:
    """Choices from a seed."""
    return random.Random(seed).randrange


def composition(seed: int) -> Composition:
    """That of a seed, with 2 to 7 steps; neighbours have different families for certain."""
    names = list(FAMILIES)
    return compose(seeded(seed), f"x{seed}", 2 + seed % 6, names[seed % len(names)])


def directions(made: Composition, seed: int) -> tuple[list[Array], list[Array], list[Array]]:
    """A point for the inputs, and two directions."""
    rng = np.random.default_rng(seed)
    first, second, third = (
        [rng.uniform(-1.0, 1.0, shape) for shape in made.shapes] for _ in range(3)
    )
    return first, second, third


def derivatives(made: Composition, first: list[Array], second: list[Array]) -> list[Node]:
    """The loss; its gradient; and by t and u: D t, H t in two ways, and u' H t."""
    y, xs = made.loss(OURS), made.inputs
    gradient = sf.grad(y, xs)
    forward = sf.jvp(y, xs, first)
    return [
        y, *gradient, forward,
        *(sf.jvp(g, xs, first) for g in gradient), *sf.grad(forward, xs),
        sf.jvp(forward, xs, second),
    ]  # fmt: skip


def expected(made: Composition, point: list[Array], first: list[Array], second: list[Array]) -> Any:
    """The same from one pass of JAX, which gives the loss, the gradient and H t."""

    def both(*xs: Any) -> Any:
        return jax.value_and_grad(lambda *zs: made.loss(THEIRS, *zs), (0, 1))(*xs)

    (y, gradient), (slope, change) = jax.jvp(both, tuple(point), tuple(first))
    along = sum(np.vdot(u, h) for u, h in zip(second, change, strict=True))
    return [y, *gradient, slope, *change, *change, along]


KINDS = (
    "value", *("gradient",) * 2, "forward", *("forward over reverse",) * 2,
    *("reverse over forward",) * 2, "forward over forward",
)  # fmt: skip


def assert_agree(made: Composition, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Within 1e-10 and, for second derivatives, 1e-8 of the largest element, or of 1."""
    for kind, a, b in zip(KINDS, found, wanted, strict=True):
        bound = 1e-8 if "over" in kind else 1e-10
        scale = max(1.0, float(np.max(np.abs(b))))
        assert np.shape(a) == np.shape(b), f"{kind}\n{made}"
        np.testing.assert_allclose(
            a / scale, np.asarray(b) / scale, rtol=0, atol=bound, err_msg=f"{kind}\n{made}"
        )
