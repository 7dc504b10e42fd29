"""The printed source is a program: run from its file it computes what the session does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.native.toolchain.dispatcher import KernelDispatcher
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.runtime.program import Program
from staticflow.session.state import session_state

RNG = np.random.default_rng(5)
WIDTH = 120


def run(source: str, folder: Path, **arrays: Any) -> tuple[str, dict[str, Any]]:
    """What the module prints, and what it computes."""
    program, data, result = (folder / name for name in ("step.py", "data.npz", "result.npz"))
    program.write_text(source)
    np.savez(data, **arrays)
    done = subprocess.run(
        [sys.executable, str(program), str(data), str(result)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(result) as file:
        return done.stdout, {name: file[name] for name in file.files}


def regression() -> tuple[sf.Session, dict[str, Any]]:
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    loss = ops.mse(models.FNN([4, 64, 64, 1])(x), t)
    session = sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-2), threads=1)
    return session, {"x": RNG.standard_normal((70, 4)), "t": RNG.standard_normal((70, 1))}


def lstm() -> tuple[sf.Session, dict[str, Any]]:
    x, t = sf.input("x", ("batch", "time", 3)), sf.input("t", ("batch", 1))
    loss = ops.mse(models.FNN([8, 1])(models.RNN(8, "lstm", 2)(x)), t)
    session = sf.Session(loss=loss, optimizer=sf.optim.RMSProp(1e-2), threads=1)
    return session, {"x": RNG.standard_normal((70, 6, 3)), "t": RNG.standard_normal((70, 1))}


def everything() -> tuple[sf.Session, dict[str, Any]]:
    """States, draws, constants, a parameter that is not trained, a metric, decay, a schedule."""
    x, labels = sf.input("x", ("batch", 4)), sf.input("labels", ("batch",), "int64")
    fixed = sf.param("fixed", (4,), init="ones", trainable=False)
    table = sf.const(RNG.standard_normal((10, 10)).astype("float32"))
    net = models.FNN([4, 10, 3], norm="batch", dropout=0.3)
    logits = net(x * fixed) + table.sum() * 1e-3
    loss = ops.softmax_cross_entropy(logits, labels).mean()
    right = ops.equal(ops.argmax(logits, 1), labels).astype("float32").mean()
    rate = sf.optim.cosine(1e-2, 20)
    session = sf.Session(
        loss=loss, metrics={"accuracy": right}, threads=1, seed=3,
        optimizer=sf.optim.AdamW(rate, weight_decay=0.1, clip_norm=0.5),
    )  # fmt: skip
    return session, {"x": RNG.standard_normal((70, 4)), "labels": RNG.integers(0, 3, 70)}


def in_blocks() -> tuple[sf.Session, dict[str, Any]]:
    """Rows with so many intermediate values that they are run in blocks of 16; with draws, which
    tell blocks apart, and a penalty, of which each block has a part.
    """
    x, t = sf.input("x", ("batch", "time", 3)), sf.input("t", ("batch", 1))
    w = sf.param("w", (8, 1))
    loss = ops.mse(ops.dropout(models.RNN(8, "lstm", 3)(x), 0.3) @ w, t) + 1e-2 * (w * w).sum()
    session = sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-2), threads=1, seed=3)
    return session, {"x": RNG.standard_normal((75, 400, 3)), "t": RNG.standard_normal((75, 1))}


def test_blocks_of_rows_are_those_of_the_session(tmp_path: Path) -> None:
    session, data = in_blocks()
    start = {name: value.copy() for name, value in session.params.items()}
    history = session.fit(data, epochs=3, batch_size=32, shuffle=False, progress=False)
    assert [trainer.blocks for trainer in session._state.trainers.values()] == [(16,)]
    source, small = session.source, regression()[0].source
    assert "run_blocks" in source and "run_blocks" not in small
    text, results = run(source, tmp_path, **data, **start)
    assert [float(line.split()[-1]) for line in text.splitlines()] == [h["loss"] for h in history]
    for name, value in session.params.items():
        np.testing.assert_array_equal(results[name], value, err_msg=name)


@pytest.mark.parametrize("make", [regression, lstm, everything])
def test_training_from_the_file_has_the_bits_of_the_session(
    make: Callable[[], tuple[sf.Session, dict[str, Any]]], tmp_path: Path
) -> None:
    session, data = make()
    start = {name: value.copy() for name, value in {**session.params, **session.states}.items()}
    history = session.fit(data, epochs=3, batch_size=32, shuffle=False, progress=False)
    text, results = run(session.source, tmp_path, **data, **start)
    printed = [float(line.split()[-1]) for line in text.splitlines()]
    assert printed == [log["loss"] for log in history]
    assert len(printed) == 3
    for name, value in {**session.params, **session.states}.items():
        np.testing.assert_array_equal(results[name], value, err_msg=name)


def test_a_hessian_from_the_file_has_the_bits_of_the_function(tmp_path: Path) -> None:
    a, x = sf.input("A", ("n", 4), "float64"), sf.input("x", (4,), "float64")
    f = sf.function([a, x], sf.hessian(ops.exp(ops.tanh(a @ x)).sum(), x))
    values = {"A": RNG.standard_normal((9, 4)), "x": RNG.standard_normal(4)}
    _, results = run(f.source, tmp_path, **values)
    np.testing.assert_array_equal(results["out0"], f(values["A"], values["x"]))


def test_outputs_with_parameters_and_rows_in_blocks(tmp_path: Path) -> None:
    x = sf.input("x", ("n", 300), "float64")
    w = sf.param("w", (300,), dtype="float64")
    session = sf.Session(outputs={"y": ops.exp(x @ w) @ x}, threads=1)
    value = RNG.standard_normal((400, 300))
    _, results = run(session.source, tmp_path, x=value, w=session.params["w"])
    np.testing.assert_array_equal(results["out0"], session.run("y", {"x": value}))


def test_a_session_that_shares_its_programs_prints_its_own(tmp_path: Path) -> None:
    (first, _), (second, data) = lstm(), lstm()
    first.fit(data, batch_size=32, progress=False)
    start = {name: value.copy() for name, value in second.params.items()}
    history = second.fit(data, epochs=3, batch_size=32, shuffle=False, progress=False)
    assert second.source == first.source
    text, _ = run(second.source, tmp_path, **data, **start)
    assert [float(line.split()[-1]) for line in text.splitlines()] == [h["loss"] for h in history]


def of_width(width: int) -> tuple[sf.Session, dict[str, Any]]:
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    loss = ops.mse(models.FNN([4, width, width + 7, 1], norm="batch")(x), t)
    session = sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-2), threads=1)
    return session, {"x": RNG.standard_normal((70, 4)), "t": RNG.standard_normal((70, 1))}


def test_sessions_of_two_widths_that_share_print_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source_of(session: sf.Session) -> str:
        return session.source  # in one line, which stands in it

    widths = (9, 1234)  # of other lengths, so that comments break elsewhere
    sessions = [of_width(width)[0] for width in widths]
    sources = list(map(source_of, sessions))  # while both have one program
    for width, source in zip(widths, sources, strict=True):
        assert f"float32[4, {width}]" in source and f"float32[{width}, {width + 7}]" in source
        assert not re.search(r"<\d+>", source)
        alone = Toolchain(tmp_path / str(width))  # whose table has no entries yet
        with monkeypatch.context() as patch:
            patch.setattr(session_state, "toolchain", lambda alone=alone: alone)
            assert source_of(of_width(width)[0]) == source


def test_a_file_of_another_width_has_the_bits_of_its_session(tmp_path: Path) -> None:
    (first, _), (second, data) = of_width(9), of_width(300)
    first.fit(data, batch_size=32, progress=False)
    start = {name: v.copy() for name, v in {**second.params, **second.states}.items()}
    history = second.fit(data, epochs=3, batch_size=32, shuffle=False, progress=False)
    text, _ = run(second.source, tmp_path, **data, **start)
    assert [float(line.split()[-1]) for line in text.splitlines()] == [h["loss"] for h in history]


def test_without_data_it_trains_on_random_numbers(tmp_path: Path) -> None:
    session, _ = regression()
    (tmp_path / "step.py").write_text(session.source)
    done = subprocess.run(
        [sys.executable, "step.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(losses) == 3 and losses[2] < losses[0]


def test_wrong_data_is_refused_by_name(tmp_path: Path) -> None:
    session, _ = regression()
    (tmp_path / "step.py").write_text(session.source)
    np.savez(tmp_path / "data.npz", x=np.zeros((5, 3)))
    done = subprocess.run(
        [sys.executable, "step.py", "data.npz"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "x has another shape" in done.stderr
    assert "(5, 3), not (5, 4)" in done.stderr


@pytest.mark.parametrize("make", [regression, lstm, everything, in_blocks])
def test_it_reads_like_a_program(make: Callable[[], tuple[sf.Session, dict[str, Any]]]) -> None:
    source = make()[0].source
    lines = source.splitlines()
    assert max(map(len, lines)) <= WIDTH and not any(line != line.rstrip() for line in lines)
    tree = ast.parse(source)
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(defined) == len(set(defined)) and defined[-2:] == ["train", "main"]
    calls = [i for i, line in enumerate(lines) if re.match(r"    gemm_\w+\(", line)]
    assert calls and all("# test_module_source.py:" in "".join(lines[:i]) for i in calls)


def test_every_function_of_the_source_goes_through_a_numba_dispatcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: set[str] = set()
    compile_ = KernelDispatcher.compile

    def counted(self: Any, signature: Any) -> Any:
        compiled.add(self.py_func.__name__)
        return compile_(self, signature)

    monkeypatch.setattr(KernelDispatcher, "compile", counted)
    monkeypatch.setattr(
        "staticflow.session.state.session_state.toolchain", lambda: Toolchain(tmp_path)
    )
    session, data = everything()
    session.fit(data, batch_size=32, progress=False)
    tree = ast.parse(session.source)
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert len(defined) > 8
    assert defined - {"train", "main"} <= compiled  # these two are the file's own
    assert "train" in compiled  # the session's own loop, for any number of threads


def test_large_constants_are_in_the_file(tmp_path: Path) -> None:
    table = RNG.standard_normal((20, 20))
    x = sf.input("x", ("n", 20), "float64")
    f = sf.function([x], x @ sf.const(table))
    value = RNG.standard_normal((3, 20))
    _, results = run(f.source, tmp_path, x=value)
    np.testing.assert_array_equal(results["out0"], f(value))


def test_a_program_has_no_other_way_to_code() -> None:
    """Kernels and drivers have one way to machine code, and it is Numba's."""
    assert not hasattr(Program, "source")


NASTY = "x' + __import__('os').abort() + '\\"


def test_names_stay_names(tmp_path: Path) -> None:
    """Whatever an input, an axis or an output is called, it is text in the printed program."""
    x = sf.input(NASTY, ("n", 3))
    session = sf.Session(outputs={"y": ops.exp(x).named(NASTY * 20)})
    source = session.source
    ast.parse(source)
    value = RNG.standard_normal((2, 3)).astype("float32")
    (tmp_path / "step.py").write_text(source)
    _, results = run(source, tmp_path, **{NASTY: value})
    np.testing.assert_array_equal(results["out0"], session.run("y", {NASTY: value}))


def test_long_lines_are_broken_within_brackets_and_not_within_strings() -> None:
    from staticflow.compiler.codegen.writer import folded

    line = "    f(" + ", ".join(["'a b, (c d'", '"e \\" f"', "g(h, i)"] * 12) + ")"
    lines = folded(line)
    assert len(lines) > 2 and max(map(len, lines)) <= WIDTH
    assert ast.dump(ast.parse("\n".join(lines).strip())) == ast.dump(ast.parse(line.strip()))
