"""A namespace of the Array API standard (2024.12) whose functions compute with ours at once.

The standard's own suite of tests runs over it; the command is in docs/reliability.md. An array
holds NumPy's; each call declares inputs of its arguments' types, an op of ours on them, and
computes it: by the interpreter, or, with STATICFLOW_COMPILED=1, by machine code. What ops has under
another signature is adapted here, and nothing is computed here.
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.runtime.interpreter import interpret
from tests.peers.array_names import CPU, DTYPES, ONE, SYMBOLS, TWO, Information

__array_api_version__ = "2024.12"
COMPILED = os.environ.get("STATICFLOW_COMPILED") == "1"
DEFAULTS = {bool: "bool", int: "int64", float: "float32"}
SCALARS = (bool, int, float)


class Array:
    """A value, with the operators and attributes that the standard asks for."""

    __array_priority__ = 1

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)

    dtype = property(lambda self: self.value.dtype)
    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    device = property(lambda self: CPU)
    T = property(lambda self: computed(lambda x: x.T, self))
    mT = property(lambda self: matrix_transpose(self))

    def to_device(self, device: str, /, *, stream: Any = None) -> Array:
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return sys.modules[__name__]

    def __repr__(self) -> str:
        return f"Array({self.value!r})"

    def __bool__(self) -> bool:
        return self.value.__bool__()

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __complex__(self) -> complex:
        return complex(self.value)

    def __index__(self) -> int:
        return self.value.__index__()

    def __iter__(self) -> Iterator[Array]:
        return map(Array, self.value)

    def __getitem__(self, key: Any) -> Array:
        return computed(lambda x: x[_index(key)], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        """For the suite, which fills its arrays so; a node has nothing like it."""
        if not self.value.flags.writeable:
            self.value = self.value.copy()
        self.value[_index(key)] = value.value if isinstance(value, Array) else value

    def __dlpack__(self, **options: Any) -> Any:
        return self.value.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.value.__dlpack_device__()


def _index(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    return key.value if isinstance(key, Array) else key


def computed(function: Callable[..., Any], *values: Any) -> Any:
    """What `function` of nodes gives, for arrays; what is no array is passed as it is."""
    arrays = [v for v in values if isinstance(v, Array)]
    inputs = [sf.input(f"x{k}", a.shape, str(a.dtype)) for k, a in enumerate(arrays)]
    nodes = iter(inputs)
    result = function(*(next(nodes) if isinstance(v, Array) else v for v in values))
    results = list(result) if isinstance(result, tuple | list) else [result]
    given = [a.value for a in arrays]
    if COMPILED:
        found = sf.function(inputs, results)(*given)
    else:
        found = interpret(results, dict(zip(inputs, given, strict=True)))
    made = [Array(value) for value in found]
    return tuple(made) if isinstance(result, tuple | list) else made[0]


def _same(name: str, count: int) -> Callable[..., Any]:
    """A function of ops with the standard's signature; `count` arrays come first."""
    function = getattr(ops, name)

    def call(*values: Any, **options: Any) -> Any:
        arrays, rest = values[:count], values[count:]

        def called(*nodes: Any) -> Any:
            named = dict(zip(options, nodes[len(arrays) :], strict=True))
            return function(*nodes[: len(arrays)], *rest, **named)

        return computed(called, *arrays, *options.values())

    call.__name__ = call.__qualname__ = name
    return call


for _name in (*ONE, *TWO):
    globals()[_name] = _same(_name, 1 if _name in ONE else 2)
where, take, broadcast_to = _same("where", 3), _same("take", 2), _same("broadcast_to", 1)
matmul, tensordot = _same("matmul", 2), _same("tensordot", 2)
equal, not_equal = _same("equal", 2), _same("not_equal", 2)


def _operator(name: str) -> Callable[..., Any]:
    """The operator of nodes."""

    def call(self: Array, *others: Any) -> Any:
        if others and not isinstance(others[0], (Array, *SCALARS)):
            return NotImplemented
        return computed(lambda x, *rest: getattr(type(x), name)(x, *rest), self, *others)

    call.__name__ = name
    return call


def _replaced(name: str) -> Callable[..., Any]:
    """The operator that changes the array in place, where its result has the array's type."""

    def call(self: Array, other: Any) -> Any:
        found = getattr(self, name)(other)
        if found is NotImplemented or found.dtype != self.dtype or found.shape != self.shape:
            raise TypeError(f"{name} in place changes the type")
        self.value = found.value
        return self

    return call


for _symbol in SYMBOLS:
    for _prefix in ("", "r"):
        setattr(Array, f"__{_prefix}{_symbol}__", _operator(f"__{_prefix}{_symbol}__"))
    setattr(Array, f"__i{_symbol}__", _replaced(f"__{_symbol}__"))
for _symbol in ("lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"):
    setattr(Array, f"__{_symbol}__", _operator(f"__{_symbol}__"))
setattr(Array, "__eq__", lambda self, other: equal(self, other))  # noqa: B010
setattr(Array, "__ne__", lambda self, other: not_equal(self, other))  # noqa: B010

bool, int32, int64, float32, float64 = map(np.dtype, DTYPES)
e, inf, nan, pi, newaxis = np.e, np.inf, np.nan, np.pi, None


def _dtype(dtype: Any, default: str = "float32") -> str:
    return default if dtype is None else str(np.dtype(dtype))


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Array:
    """An array of what the suite gives: the way in, which nothing of ours computes."""
    value = obj.value if isinstance(obj, Array) else obj
    made = np.asarray(value)
    if dtype is None and not isinstance(value, np.ndarray | np.generic):
        dtype = {"f": "float32", "i": "int64", "b": "bool"}[made.dtype.kind]
    if copy is False:
        return Array(np.asarray(made, dtype=dtype))
    return Array(np.array(made, dtype=dtype))


def from_dlpack(x: Any, /, **options: Any) -> Array:
    return Array(np.from_dlpack(x))


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    return zeros(shape, dtype=dtype)


def empty_like(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
    return computed(lambda node: ops.zeros_like(node, dtype), x)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    return computed(lambda: ops.zeros(shape, _dtype(dtype)))


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    return computed(lambda: ops.ones(shape, _dtype(dtype)))


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    kind = DEFAULTS[type(fill_value)]
    return computed(lambda: ops.full(shape, fill_value, _dtype(dtype, kind)))


def eye(n_rows: int, n_cols: Any = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
        ) -> Array:  # fmt: skip
    return computed(lambda: ops.eye(n_rows, n_cols, k, _dtype(dtype)))


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
           ) -> Array:  # fmt: skip
    return computed(lambda: ops.arange(start, stop, step, dtype))


def linspace(start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None,
             endpoint: Any = True) -> Array:  # fmt: skip
    return computed(lambda: ops.linspace(start, stop, num, _dtype(dtype), endpoint=endpoint))


def meshgrid(*arrays: Array, indexing: str = "xy") -> list[Array]:
    return list(computed(lambda *nodes: ops.meshgrid(*nodes, indexing=indexing), *arrays))


def astype(x: Array, dtype: Any, /, *, copy: Any = True, device: Any = None) -> Array:
    return x if not copy and x.dtype == dtype else computed(lambda node: node.astype(dtype), x)


def reshape(x: Array, /, shape: Any, *, copy: Any = None) -> Array:
    return computed(lambda node: ops.reshape(node, shape), x)


def repeat(x: Array, repeats: Any, /, *, axis: Any = None) -> Array:
    if isinstance(repeats, Array):
        repeats = repeats.value if repeats.ndim else repeats.value[()]
    return computed(lambda node: ops.repeat(node, repeats, axis=axis), x)


def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    return computed(lambda node, low, high: ops.clip(node, min=low, max=high), x, min, max)


def concat(arrays: Sequence[Array], /, *, axis: Any = 0) -> Array:
    return computed(lambda *nodes: ops.concat(nodes, axis=axis), *arrays)


def stack(arrays: Sequence[Array], /, *, axis: int = 0) -> Array:
    return computed(lambda *nodes: ops.stack(nodes, axis=axis), *arrays)


def broadcast_arrays(*arrays: Array) -> list[Array]:
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return [broadcast_to(x, shape) for x in arrays]


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    return computed(lambda node: tuple(ops.moveaxis(node, axis, 0)), x)


def searchsorted(x1: Array, x2: Array, /, *, side: str = "left", sorter: Any = None) -> Array:
    if sorter is not None:
        x1 = take(x1, sorter, axis=0)
    return computed(lambda a, v: ops.searchsorted(a, v, side), x1, x2)


def _running(name: str, first: int) -> Callable[..., Any]:
    def call(x: Array, /, *, axis: Any = None, dtype: Any = None, include_initial: Any = False
             ) -> Array:  # fmt: skip
        along = 0 if axis is None else axis

        def running(node: Any) -> Any:
            y = getattr(ops, name)(node, axis=along, dtype=dtype)
            if not include_initial:
                return y
            shape = list(y.shape)
            shape[along] = 1
            return ops.concat([ops.full(tuple(shape), first, y.dtype), y], axis=along)

        return computed(running, x)

    return call


cumulative_sum, cumulative_prod = _running("cumsum", 0), _running("cumprod", 1)


def conj(x: Array, /) -> Array:
    """Of real numbers, the numbers; for the suite's own use."""
    return x


def matrix_transpose(x: Array, /) -> Array:
    return computed(lambda node: ops.swapaxes(node, -1, -2), x)


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    def summed(a: Any, b: Any) -> Any:
        return ops.sum(ops.multiply(ops.moveaxis(a, axis, -1), ops.moveaxis(b, axis, -1)), axis=-1)

    found = computed(summed, x1, x2)
    return astype(found, result_type(x1, x2))


def _trace(x: Array, /, *, offset: int = 0, dtype: Any = None) -> Array:
    kind = dtype or (int64 if x.dtype == int32 else x.dtype)
    return computed(lambda node: ops.trace(node.astype(kind), offset, -2, -1), x)


def _cholesky(x: Array, /, *, upper: Any = False) -> Array:
    return computed(lambda node: ops.cholesky(node, upper=upper), x)


def _tuple(name: str, *fields: str) -> Callable[..., Any]:
    make = namedtuple(f"{name}_result", fields)  # type: ignore[misc]

    def call(x: Array, /, **options: Any) -> Any:
        return make(*computed(lambda node: tuple(getattr(ops, name)(node, **options)), x))

    return call


def _qr(x: Array, /, *, mode: str = "reduced") -> Any:
    if mode != "reduced":
        raise NotImplementedError(mode)
    return _tuple("qr", "Q", "R")(x)


def _svd(x: Array, /, *, full_matrices: Any = True) -> Any:
    return _tuple("svd", "U", "S", "Vh")(x, full_matrices=full_matrices)


def _vector_norm(x: Array, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Array:
    def normed(node: Any) -> Any:
        flat = node.reshape(-1) if axis is None else node
        if isinstance(axis, tuple):
            raise NotImplementedError("several axes")
        found = ops.norm(flat, ord=ord, axis=0 if axis is None else axis, keepdims=keepdims)
        return found.reshape((1,) * node.ndim) if axis is None and keepdims else found

    return computed(normed, x)


def _matrix_norm(x: Array, /, *, keepdims: Any = False, ord: Any = "fro") -> Array:
    return computed(lambda node: ops.norm(node, ord=ord, axis=(-2, -1), keepdims=keepdims), x)


def _pinv(x: Array, /, *, rtol: Any = None) -> Array:
    least = float(rtol) if isinstance(rtol, Array) else rtol
    return computed(lambda node: ops.pinv(node, least), x)


linalg = SimpleNamespace(
    cholesky=_cholesky, cross=_same("cross", 2), det=_same("det", 1), inv=_same("inv", 1),
    diagonal=lambda x, /, *, offset=0: computed(lambda n: ops.diagonal(n, offset, -2, -1), x),
    eigh=_tuple("eigh", "eigenvalues", "eigenvectors"), eigvalsh=_same("eigvalsh", 1),
    matmul=matmul, matrix_norm=_matrix_norm, matrix_power=_same("matrix_power", 1),
    matrix_transpose=matrix_transpose, outer=_same("outer", 2), pinv=_pinv, qr=_qr,
    slogdet=_tuple("slogdet", "sign", "logabsdet"), solve=_same("solve", 2), svd=_svd,
    svdvals=_same("svdvals", 1), tensordot=tensordot, trace=_trace, vecdot=vecdot,
    vector_norm=_vector_norm,
)  # fmt: skip


def result_type(*values: Any) -> np.dtype[Any]:
    """NumPy's, which is the standard's for these dtypes; for the suite's own use."""
    return np.result_type(*(v.value if isinstance(v, Array) else v for v in values))


def isdtype(dtype: Any, kind: Any) -> Any:
    return np.isdtype(dtype, kind)


def can_cast(from_: Any, to: Any, /) -> Any:
    return np.can_cast(from_.dtype if isinstance(from_, Array) else from_, to)


def finfo(type: Any, /) -> Any:
    found = np.finfo(type.dtype if isinstance(type, Array) else type)
    names = ("eps", "max", "min", "smallest_normal")
    numbers = {name: float(getattr(found, name)) for name in names}
    return SimpleNamespace(bits=found.bits, dtype=found.dtype, **numbers)


def iinfo(type: Any, /) -> Any:
    return np.iinfo(type.dtype if isinstance(type, Array) else type)


def __array_namespace_info__() -> Information:
    return Information()
