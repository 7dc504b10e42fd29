"""What splits an array asks for the axes that NumPy asks for."""

from __future__ import annotations

import pytest

import staticflow as sf
from staticflow import ops


def test_splits_ask_for_their_axes() -> None:
    x = sf.input("x", (4,))
    assert [part.shape for part in ops.hsplit(x, 2)] == [(2,), (2,)]
    with pytest.raises(sf.ShapeError, match="vsplit: needs two axes or more"):
        ops.vsplit(x, 2)
    with pytest.raises(sf.ShapeError):
        ops.dsplit(ops.reshape(x, (2, 2)), 2)


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "nancumsum", "nancumprod"])
def test_a_number_has_one_axis_to_add_along(name: str) -> None:
    function, x = getattr(ops, name), sf.input("x", ())
    assert function(x).shape == function(x, 0).shape == function(x, -1).shape == (1,)
    with pytest.raises(sf.ShapeError, match="axis 1 is out of range"):
        function(x, 1)


def test_booleans_are_no_nan() -> None:
    assert ops.nan_to_num(sf.input("x", (2,), "bool")).dtype == "bool"
