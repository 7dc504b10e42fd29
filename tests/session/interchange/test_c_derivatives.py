"""Jacobians beside the outputs of an exported file, and what dtype it is asked to have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.errors import DTypeError, GraphError
from staticflow.session.interchange.c_out.model import module_of
from tests.session.interchange.c_runs import COMPILERS, Library, needs_compiler


def arm(dtype: str) -> sf.Session:
    """Two outputs, of which one does not depend on the second input."""
    x, u = sf.input("x", ("batch", 3), dtype), sf.input("u", (2,), dtype)
    y = models.FNN([3, 5, 2], activation="tanh")(x)
    force = ops.sin(y) * u
    return sf.Session(outputs={"y": y, "force": force})


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_jacobians_are_those_of_the_session(dtype: str, tmp_path: Path) -> None:
    session = arm(dtype)
    module = module_of(session, "arm", sizes={"batch": 2}, dtype=dtype, derivatives=["x", "u"])
    library = Library(module, tmp_path, COMPILERS[0])
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(2, 3)).astype(dtype), "u": rng.normal(size=2).astype(dtype)}
    found = library("arm_derivatives", feeds)
    assert set(found) == {"dy_dx", "dforce_dx", "dforce_du"}
    y, force = session.outputs["y"], session.outputs["force"]
    x, u = session.inputs["x"], session.inputs["u"]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for name, node in (
        ("dy_dx", sf.jacobian(y, x)), ("dforce_dx", sf.jacobian(force, x)),
        ("dforce_du", sf.jacobian(force, u)),
    ):  # fmt: skip
        expected = session.run(node, feeds)
        assert found[name].shape == expected.shape
        np.testing.assert_allclose(found[name], expected, tolerance, tolerance)
    np.testing.assert_allclose(
        library("arm_predict", feeds)["y"], session.run("y", feeds), tolerance, tolerance
    )


def test_what_there_is_no_derivative_of(tmp_path: Path) -> None:
    session = arm("float32")
    with pytest.raises(GraphError, match="no output has a derivative by 'z'"):
        session.export_c(tmp_path / "arm.c", derivatives=["z"])
    with pytest.raises(DTypeError, match="'y' is not float64"):
        session.export_c(tmp_path / "arm.c", dtype="float64")
    with pytest.raises(DTypeError, match="float32 or float64"):
        session.export_c(tmp_path / "arm.c", dtype="int8")
    assert not list(tmp_path.iterdir())
    session.export_c(tmp_path / "arm.c", ["y"], "float32", ("x",))
    assert "arm_derivatives" in (tmp_path / "arm.h").read_text()
