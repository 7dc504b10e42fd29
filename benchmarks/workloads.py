"""What is measured: the tables' rows, as plain data that travels to the contenders' processes.

Every training row is one Adam step (learning rate 1e-3, PyTorch's defaults) on the mean squared
error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LEARNING_RATE = 1e-3


def _sizes(sizes: tuple[int, ...]) -> str:
    """The sizes in the field's notation; many equal hidden layers as `64x16`."""
    first, *hidden, last = sizes
    if len(hidden) > 3 and len(set(hidden)) == 1:
        return f"{first}-{hidden[0]}x{len(hidden)}-{last}"
    return "-".join(map(str, sizes))


@dataclass(frozen=True)
class FNN:
    """One training step of a feed-forward net, cycling through `batches` minibatches."""

    sizes: tuple[int, ...]
    batch: int
    activation: str = "relu"
    dtype: str = "float32"
    batches: int = 64
    target: float | None = None
    data: str = "random"
    kind: str = "fnn"

    @property
    def name(self) -> str:
        return f"{_sizes(self.sizes)} {self.activation}, batch {self.batch}"


@dataclass(frozen=True)
class RNN:
    """One training step of a recurrent net with a linear readout of the last hidden state."""

    cell: str
    features: int
    hidden: int
    time: int
    batch: int
    layers: int = 1
    bidirectional: bool = False
    ragged: bool = False
    dtype: str = "float32"
    batches: int = 4
    target: float | None = None
    kind: str = "rnn"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def gates(self) -> int:
        return {"tanh": 1, "lstm": 4, "gru": 3}[self.cell]

    @property
    def name(self) -> str:
        cell = "Elman" if self.cell == "tanh" else self.cell.upper()
        shape = f"{cell}, in {self.features}, hidden {self.hidden}, T {self.time}"
        shape += f", batch {self.batch}"
        if self.layers > 1 or self.bidirectional:
            shape += f", {self.layers} layers{', bidirectional' if self.bidirectional else ''}"
        return shape + (", ragged" if self.ragged else "")


@dataclass(frozen=True)
class Ensemble:
    """One training step of each of many nets of equal shapes, all on the same minibatch."""

    members: int
    net: FNN | RNN
    dtype: str = "float32"
    target: float | None = None
    kind: str = "ensemble"

    @property
    def batches(self) -> int:
        return self.net.batches

    @property
    def name(self) -> str:
        return f"{self.members} nets {self.net.name}"


@dataclass(frozen=True)
class Infer:
    """One forward call from Python on a batch of rows."""

    sizes: tuple[int, ...]
    batch: int
    activation: str = "relu"
    dtype: str = "float32"
    target: float | None = None
    kind: str = "infer"

    @property
    def name(self) -> str:
        return f"{_sizes(self.sizes)} {self.activation}, {self.batch} rows"


@dataclass(frozen=True)
class Stream:
    """One step of an LSTM with a linear readout, its state carried from call to call, batch 1."""

    features: int = 8
    hidden: int = 32
    dtype: str = "float32"
    target: float | None = None
    kind: str = "stream"

    @property
    def name(self) -> str:
        return f"LSTM step, in {self.features}, hidden {self.hidden}, batch 1"


@dataclass(frozen=True)
class Ode:
    """One Runge-Kutta step (four calls) of a pendulum whose right-hand side is a net, batch 1."""

    sizes: tuple[int, ...] = (2, 16, 16, 2)
    activation: str = "tanh"
    step: float = 1e-3
    dtype: str = "float32"
    target: float | None = None
    kind: str = "ode"

    @property
    def name(self) -> str:
        return f"RK4 step of a {_sizes(self.sizes)} {self.activation} net"


@dataclass(frozen=True)
class Calculus:
    """Derivatives of one function, in one call from Python on arrays."""

    problem: str
    size: int
    rows: int = 0
    dtype: str = "float64"
    target: float | None = None
    kind: str = "calculus"

    @property
    def name(self) -> str:
        shape = f"{self.rows} x {self.size}" if self.rows else f"n = {self.size}"
        return f"{self.problem}, {shape}"


@dataclass(frozen=True)
class Loops:
    """A loop of many small steps, or its value and gradient, in one call from Python."""

    problem: str
    size: int
    rows: int
    gradient: bool = False
    dtype: str = "float64"
    target: float | None = None
    kind: str = "loops"

    @property
    def name(self) -> str:
        what = ", value and gradient" if self.gradient else ""
        return f"{self.problem}, {self.size} numbers, {self.rows} steps{what}"


Workload = FNN | RNN | Ensemble | Infer | Stream | Ode | Calculus | Loops

FNN_ROWS = (
    FNN((4, 16, 1), 16, target=6.0),
    FNN((16, 64, 64, 1), 32, target=3.0),
    FNN((784, 128, 10), 32, target=2.0),
    FNN((784, 128, 10), 128, target=1.5),
    FNN((1024, 1024, 1024, 10), 256, batches=8, target=1.1),
    FNN((4, 32, 16, 4), 10_000, "tanh", batches=1, target=4.0, data="expm"),
    FNN((10, 45, 45, 10), 128, target=3.0),
    FNN((10, 46, 46, 10), 128, target=3.0),
)

RNN_ROWS = (
    RNN("tanh", 8, 32, 50, 32, target=6.0),
    RNN("tanh", 1, 16, 100, 1, target=5.0),
    RNN("tanh", 64, 128, 100, 64, target=2.5),
    RNN("lstm", 8, 32, 50, 32, target=5.0),
    RNN("lstm", 64, 128, 100, 64, target=2.2),
    RNN("lstm", 64, 512, 50, 64, batches=1, target=1.2),
    RNN("lstm", 256, 256, 150, 16, batches=2, target=1.5),
    RNN("gru", 64, 128, 100, 64, target=3.0),
    RNN("gru", 16, 64, 80, 32, layers=2, bidirectional=True, ragged=True, target=3.0),
)

ENSEMBLE_ROWS = (
    Ensemble(64, FNN((16, 64, 64, 1), 32), target=3.0),
    Ensemble(1000, FNN((4, 16, 1), 16), target=8.0),
    Ensemble(32, RNN("lstm", 8, 32, 50, 32), target=4.0),
)

INFER_ROWS = tuple(
    Infer(sizes, batch)
    for sizes in ((4, 16, 1), (784, 128, 10))
    for batch in (1, 10, 100, 1000, 10_000)
)

STREAM_ROWS = (Stream(), Ode())

CALCULUS_ROWS = (
    Calculus("exp gradient by X", 1000, 1000, target=1.0),
    Calculus("exp gradient by b", 1000, 1000, target=1.0),
    Calculus("tanh net jacobian", 50, target=3.0),
    Calculus("logistic hessian", 100, 10_000, target=1.0),
    Calculus("logistic hvp", 10_000, 1000, target=1.0),
    Calculus("gaussian likelihood", 300, target=1.0),
    Calculus("kalman filter", 4, 1000, target=5.0),
)

LOOPS_ROWS = tuple(
    Loops(problem, size, steps, gradient, target=8.0 if gradient else None)
    for problem, size, steps in (
        ("scalar carries", 60, 614),
        ("small matrices", 3, 2000),
        ("lorenz", 3, 3000),
        ("hodgkin-huxley", 32, 4000),
    )
    for gradient in (False, True)
)

_FNN_SCALING = {
    "width": [FNN((w, w, w, 1), 64, batches=8) for w in (16, 32, 64, 128, 256, 512, 1024, 2048)],
    "batch": [
        FNN((64, 64, 64, 1), b, batches=8)
        for b in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    ],
    "depth": [FNN((64,) * (d + 1) + (1,), 64, batches=8) for d in (1, 2, 4, 8, 16)],
}
_RNN_SCALING = {
    "time": [RNN("lstm", 8, 32, t, 32, batches=2) for t in (10, 30, 100, 300, 1000, 5000)],
    "hidden": [RNN("lstm", 16, h, 50, 32, batches=2) for h in (8, 16, 32, 64, 128, 256, 512, 1024)],
    "batch": [RNN("lstm", 8, 32, 50, b, batches=2) for b in (1, 4, 16, 64, 256, 512)],
}
SCALING: dict[str, dict[str, list[Workload]]] = {
    "fnn": {axis: list(rows) for axis, rows in _FNN_SCALING.items()},
    "rnn": {axis: list(rows) for axis, rows in _RNN_SCALING.items()},
}

_KINDS: dict[str, type] = {
    kind.kind: kind for kind in (FNN, RNN, Ensemble, Infer, Stream, Ode, Calculus, Loops)
}


def to_json(workload: Workload) -> dict[str, Any]:
    return asdict(workload)


def from_json(fields: dict[str, Any]) -> Workload:
    fields = dict(fields)
    if "net" in fields:
        fields["net"] = from_json(fields["net"])
    if "sizes" in fields:
        fields["sizes"] = tuple(fields["sizes"])
    workload: Workload = _KINDS[fields["kind"]](**fields)
    return workload
