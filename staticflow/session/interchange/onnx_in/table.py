"""Every operator of ONNX that is taken in, by domain and name."""

from __future__ import annotations

from collections.abc import Mapping

from staticflow.session.interchange.onnx_in.arrays import ARRAYS
from staticflow.session.interchange.onnx_in.control import CONTROL
from staticflow.session.interchange.onnx_in.elementwise import ELEMENTWISE, Writer
from staticflow.session.interchange.onnx_in.indexing import INDEXING
from staticflow.session.interchange.onnx_in.ml import ML
from staticflow.session.interchange.onnx_in.norms import NORMS
from staticflow.session.interchange.onnx_in.recurrent import RECURRENT
from staticflow.session.interchange.onnx_in.shapes import OF_SHAPES

WRITERS: Mapping[str, Mapping[str, Writer]] = {
    "": {**ELEMENTWISE, **ARRAYS, **INDEXING, **NORMS, **RECURRENT, **CONTROL},
    "ai.onnx.ml": ML,
}
GIVEN = frozenset({"Constant", *OF_SHAPES})  # operators whose value follows without a writer
OLDEST = 7
