"""Networks as C: their values, memory, and what is asked of the file."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.errors import GraphError
from staticflow.graph.leaves import Input, Param, State
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.c_out.model import enter, module_of
from staticflow.session.interchange.c_out.text import Module
from tests.session.interchange.c_programs import main_of, outputs_of_command
from tests.session.interchange.c_runs import (
    COMPILERS,
    STRICT,
    Array,
    Library,
    compiled,
    needs_compiler,
)
from tests.support.places import ROOT

NEAR = {"float32": 1e-5, "float64": 1e-13}
SIZES = {"batch": 3, "time": 5}


class Net(NamedTuple):
    """A session, what it is fed, and the sizes of what is fed."""

    session: Any
    feeds: Mapping[str, Array]
    sizes: Mapping[str, int]


def net(build: Callable[..., Any], dtype: str, sizes: Mapping[str, int], *extra: Node) -> Net:
    """The network that is built on inputs of a batch of rows, and of a batch of sequences."""
    x = sf.input("x", ("batch", 6), dtype)
    s = sf.input("s", ("batch", "time", 6), dtype)
    n = sf.input("n", ("batch",), "int64")
    made = build(x, s, n)
    outputs = made if isinstance(made, dict) else {"y": made}
    session = sf.Session(outputs=outputs, seed=3)
    rng = np.random.default_rng(1)
    for array in session.params.values():
        array[...] = rng.normal(scale=0.4, size=array.shape)
    batch, time = sizes["batch"], sizes["time"]
    feeds = {
        "x": rng.normal(size=(batch, 6)), "s": rng.normal(size=(batch, time, 6)),
        "n": rng.integers(0, time + 1, batch),
    }  # fmt: skip
    own = {k: v.astype(session.inputs[k].dtype) for k, v in feeds.items() if k in session.inputs}
    named = {str(d) for node in session.inputs.values() for d in node.shape}
    return Net(session, own, {k: v for k, v in sizes.items() if k in named})


def _scans(x: Node, s: Node, n: Node) -> dict[str, Node]:
    first = x[:, :2] * 0.0
    last, every = sf.scan(
        lambda h, z: (ops.tanh(h + z[:, :2]), h * 2.0), first, ops.swapaxes(s, 0, 1)
    )
    back, _ = sf.scan(lambda h, z: (0.5 * h + z[:, :2], h), first, ops.swapaxes(s, 0, 1),
                      reverse=True)  # fmt: skip
    return {"last": last, "every": every, "back": back}


def _control(x: Node, s: Node, n: Node) -> dict[str, Node]:
    chosen = sf.cond(x.sum() > 0.0, lambda: x @ x.T, lambda: ops.exp(-x) @ x.T)
    repeated = sf.while_loop(lambda v: (v * v).sum() < 50.0, lambda v: v * 1.5 + 0.1, x)
    table = sf.param("table", (5, 3), dtype=x.dtype)
    return {
        "cond": chosen, "while": repeated, "rows": table[n % 5], "lost": ops.take(x, n - 2, 1),
        "one_hot": ops.one_hot(n, 4), "hessian": sf.hessian(ops.tanh(x).sum(), x),
    }  # fmt: skip


def _reductions(x: Node, s: Node, n: Node) -> dict[str, Node]:
    return {
        "softmax": ops.softmax(x), "log_softmax": ops.log_softmax(s, 1), "std": ops.std(s, 1),
        "layer_norm": ops.layer_norm(x), "max": s.max((0, 2)), "argmax": ops.argmax(x, -1),
        "all": (s > 0.0).all(), "loss": ops.softmax_cross_entropy(x, n % 6).mean(), "same": x,
        "turned": ops.swapaxes(s, 1, 2), "twice": x,
    }  # fmt: skip


ACTIVATIONS = (
    "relu", "tanh", "sigmoid", "gelu", "silu", "elu", "selu", "softplus", "leaky_relu", "mish",
    "softsign", "hard_sigmoid",
)  # fmt: skip


def _activations(x: Node, s: Node, n: Node) -> dict[str, Node]:
    return {a: models.FNN([6, 7, 3], activation=a, name=a)(x) for a in ACTIVATIONS}


def _recurrent(cell: str) -> Callable[..., dict[str, Node]]:
    def build(x: Node, s: Node, n: Node) -> dict[str, Node]:
        both = models.RNN(4, cell=cell, layers=2, bidirectional=True, name="both")
        every = models.RNN(5, cell=cell, return_sequences=True, name="every")
        return {"last": both(s, lengths=n), "every": every(s)}

    return build


BUILDS: Mapping[str, Callable[..., Any]] = {
    "activations": _activations,
    "norms": lambda x, s, n: {
        kind: models.FNN([6, 8, 8, 2], norm=kind, dropout=0.2, name=kind)(x)
        for kind in ("layer", "batch")
    },
    **{cell: _recurrent(cell) for cell in ("tanh", "relu", "lstm", "gru")},
    "scans": _scans, "control": _control, "reductions": _reductions,
}  # fmt: skip


def all_nets() -> dict[str, Net]:
    """Each network in both dtypes; in float64 with all sizes 1."""
    sizes = {"float32": SIZES, "float64": dict.fromkeys(SIZES, 1)}
    return {
        f"{name}_{dtype}": net(build, dtype, own)
        for name, build in BUILDS.items()
        for dtype, own in sizes.items()
    }


def in_one(nets: Mapping[str, Net]) -> Module:
    """A file with a function for each network."""
    module = Module("nets")
    for name, (session, _, sizes) in nets.items():
        enter(module, name, session.outputs, {**session.states, **session.params}, sizes)
    return module


@needs_compiler
def test_networks_have_the_values_of_the_session(tmp_path: Path) -> None:
    """The same from an optimised library and from a program under the sanitizers; and the library
    has neither variables nor calls of anything but mathematics.
    """
    nets = all_nets()
    module = in_one(nets)
    library = Library(module, tmp_path, COMPILERS[0], "-O2")
    found = {name: library(name, each.feeds) for name, each in nets.items()}
    for name, each in nets.items():
        for label, value in interpreted(each).items():
            check(found[name][label], value, f"{name}: {label}")
    check_symbols(tmp_path / "nets.so")
    check_sanitized(module, nets, found, tmp_path)


def interpreted(each: Net) -> dict[str, Array]:
    """The outputs by NumPy."""
    outputs = list(each.session.outputs.values())
    named = {**each.session.states, **each.session.params, **each.feeds}
    env = {x: named[x.name] for x in leaves(outputs, Input | Param | State)}
    return dict(zip(each.session.outputs, interpret(outputs, env, False), strict=True))


def check(found: Array, value: Array, what: str) -> None:
    assert found.dtype == value.dtype and found.shape == value.shape
    near = NEAR.get(value.dtype.name, 0.0)
    scale = float(np.abs(value).max(initial=0.0)) if near else 0.0
    np.testing.assert_allclose(found, value, near, near * scale, err_msg=what)


def check_symbols(library: Path) -> None:
    """No memory of its own that could change, and no function but those of libm and memcpy."""
    if shutil.which("nm") is None:
        return
    listed = subprocess.run(["nm", str(library)], check=True, capture_output=True, text=True).stdout
    own = [line.split() for line in listed.splitlines()]
    variables = {line[-1] for line in own if line[-2] in "bBdDC"}
    runtime = {"completed.0", "__bss_start", "_edata", "_end", "__dso_handle", "__TMC_END__"}
    assert {v for v in variables if not v.startswith("_")} <= runtime
    called = {re.sub(r"@.*", "", line[-1]) for line in own if line[-2] == "U"}
    assert {c for c in called if not c.startswith("_")} <= {"memcpy", "memmove", "memset", *LIBM}


LIBM = {f"{name}{end}" for end in ("", "f") for name in (
    "fma", "fmod", "floor", "ceil", "trunc", "rint", "sqrt", "sin", "cos", "fabs", "copysign",
)}  # fmt: skip


def check_sanitized(
    module: Module, nets: Mapping[str, Net], found: Mapping[str, Any], folder: Path
) -> None:
    """A program under the sanitizers gives the same, without a fault."""
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    try:
        program = compiled(module, folder, COMPILERS[0], *flags, main=main_of(module))
    except subprocess.CalledProcessError as error:
        if "cannot find" in error.stderr:  # the libraries of the sanitizers are not installed
            return
        pytest.fail(error.stderr[:4000])
    check_program(module, nets, found, [str(program)])


def check_program(
    module: Module, nets: Mapping[str, Net], found: Mapping[str, Any], command: list[str]
) -> None:
    """A program that reads the inputs and writes the outputs gives the same."""
    feeds = {name: each.feeds for name, each in nets.items()}
    for name, outputs in outputs_of_command(module, feeds, command).items():
        for label, array in outputs.items():
            check(array, found[name][label], f"{name}: {label}")


ARM64, QEMU, ARM = "aarch64-linux-gnu-gcc", "qemu-aarch64", "arm-none-eabi-gcc"
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-Os")


def _few() -> dict[str, Net]:
    return {name: net(BUILDS[name], "float32", SIZES) for name in ("gru", "reductions")}


@pytest.mark.skipif(
    not (shutil.which(ARM64) and shutil.which(QEMU)), reason="no compiler, or no emulator"
)
def test_networks_on_another_processor(tmp_path: Path) -> None:
    nets = _few()
    module = in_one(nets)
    program = compiled(module, tmp_path, ARM64, "-O2", "-static", main=main_of(module))
    found = {name: interpreted(each) for name, each in nets.items()}
    check_program(module, nets, found, [QEMU, str(program)])


@pytest.mark.skipif(not shutil.which(ARM), reason="there is no compiler for microcontrollers")
def test_networks_for_a_microcontroller(tmp_path: Path) -> None:
    """They compile, and need no memory that could change."""
    module = in_one(_few())
    (tmp_path / "nets.c").write_text(module.source("nets.h"))
    (tmp_path / "nets.h").write_text(module.header())
    command = [ARM, *STRICT, *CORTEX_M4, "-c", "nets.c", "-o", "nets.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    size = ["arm-none-eabi-size", "nets.o"]
    listed = subprocess.run(size, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    text, data, bss = map(int, listed.splitlines()[1].split()[:3])
    assert text > 0 and data == bss == 0


@needs_compiler
def test_a_file_and_its_header(tmp_path: Path) -> None:
    x = sf.input("x", ("batch", 4))
    session = sf.Session(outputs={"y": models.FNN([4, 8, 2])(x), "double": 2.0 * x})
    session.export_c(tmp_path / "my-net.c", outputs="y")
    header = (tmp_path / "my-net.h").read_text()
    assert "void my_net_predict(const float *x, float *y, void *scratch);" in header
    assert "float x[1][4] (batch, 4)" in header and "MY_NET_SCRATCH_BYTES" in header
    assert '#include "my-net.h"' in (tmp_path / "my-net.c").read_text()
    module = module_of(session, "net", ["y"], {"batch": 5})
    data = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
    library = Library(module, tmp_path, COMPILERS[0], "-O3", "-march=native")
    check(library("net_predict", {"x": data})["y"], session.run("y", {"x": data}), "y")


@needs_compiler
def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    x = sf.input("x", ("batch", 4))
    y = models.FNN([4, 8, 2], norm="batch")(x)
    session = sf.Session(outputs={"y": y + np.arange(2, dtype="f4")})
    session.export_c(tmp_path / "net.c", weights="file")
    data = np.random.default_rng(0).normal(size=(1, 4)).astype("f4")
    module = module_of(session, "net", weights="file")
    assert (tmp_path / "net.bin").read_bytes() == module.blob and not module.arrays
    assert "const void *weights, void *scratch" in (tmp_path / "net.h").read_text()
    library = Library(module, tmp_path, COMPILERS[0], "-O1")
    expected = y.eval(x=data, **session.params, **session.states) + np.arange(2, dtype="f4")
    check(library("net_predict", {"x": data})["y"], expected, "y")


def test_what_cannot_be_exported_is_refused_before_there_is_a_file(tmp_path: Path) -> None:
    x = sf.input("x", ("batch", "time"))
    session = sf.Session(outputs={"y": ops.tanh(x)})
    for error, options in (
        ("the size of dimension 'time' is fixed", {}),
        ("there is no dimension 'width'", {"sizes": {"width": 3}}),
        ("there is no output 'z'", {"outputs": "z"}),
        ("is fixed in C", {"sizes": {"time": -1}}),
    ):
        with pytest.raises(GraphError, match=error):
            session.export_c(tmp_path / "net.c", **options)
    with pytest.raises(GraphError, match=r"something\.c"):
        session.export_c(tmp_path / "net.cpp", sizes={"time": 3})
    p = sf.param("p", (3, 3))
    several = sf.Session(outputs={"y": p + 1.0}, members=2)
    with pytest.raises(GraphError, match="member"):
        several.export_c(tmp_path / "net.c")
    several.member(1).export_c(tmp_path / "net.c")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["net.c", "net.h"]


def test_names_that_c_has_or_that_are_none() -> None:
    x = sf.input("float", ("batch", 2))
    y = sf.input("a b/c*/", (2,))
    p = sf.param("exp", (2,))
    outputs = {"double": ops.exp(x) + y + p, "scratch": x * p, "x*/": y}
    session = sf.Session(outputs=outputs)
    module = module_of(session, "exp")
    names = [a.name for a in module.entries[0].arguments]
    assert names == ["float_2", "a_b_c", "double_2", "scratch_2", "x"]
    assert module.source("exp.h").count("*/") == module.source("exp.h").count("/*")


@needs_compiler
def test_the_example_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    python = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    c = re.search(r"```c\n(.*?)```", page, re.DOTALL)
    command = re.search(r"^gcc .*$", page, re.MULTILINE)
    assert python and c and command
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(python[1], names)
    Path("main.c").write_text(c[1])
    subprocess.run([COMPILERS[0], *command[0].split()[1:], *STRICT], check=True)
    run = subprocess.run(["./a.out"], check=True, capture_output=True, text=True)
    feeds = {"x": np.array([[0.5, -1.0, 0.25, 2.0]], np.float32)}
    expected = names["session"].run("y", feeds)[0]
    np.testing.assert_allclose([float(v) for v in run.stdout.split()], expected, 1e-5, 2e-6)
