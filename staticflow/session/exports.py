"""The ways out of a session into other formats, which are written above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from staticflow.graph.operators import OPERATORS


class Exports:
    """The methods of a session that write it in other formats."""

    def export_onnx(self, path: Any, outputs: Any = None, opset: int | None = None) -> None:
        """Write outputs, at inference, as an ONNX model; by default all of them.

        `outputs` are names, nodes, a list of these or a dict from name to node; `opset` is 18 by
        default. Of a session with members, floats are their means; `session.member(k)` is one.
        Raises GraphError, before there is a file, for an op that ONNX has no words for.
        """
        OPERATORS["export_onnx"](self, path, outputs, opset)

    def export_c(
        self,
        path: Any,
        outputs: Any = None,
        dtype: str | None = None,
        derivatives: Sequence[str] = (),
        training: bool = False,
        *,
        sizes: Mapping[str, int] | None = None,
        stream: str | None = None,
        carry: Sequence[str] = (),
        weights: str = "arrays",
    ) -> None:
        """Write outputs, at inference, as a C99 file and its header; by default all of them.

        `path` ends in .c; `net.c` has the function `net_predict` of inputs, outputs and scratch
        memory, and `net.h` says their shapes. `outputs` are names, nodes, a list of these or a dict
        of nodes by name. Sizes are fixed: `sizes` gives those of named dimensions; what leads
        inputs is 1 by default. `dtype` says what the outputs must be; nothing is converted. With
        `derivatives`, names of inputs, `net_derivatives` gives the Jacobian of each output by each
        of them, as `sf.jacobian` does, under names such as `dy_dx`.

        With `stream`, the name of a dimension that loops go over, there are `net_step`, which takes
        one element of it and hands a `net_state` on, and `net_reset`. So there are with `carry`,
        names of states that are set to their updates in each step. With `training`, there is
        `net_train`, one update by one batch as `step` makes it, of parameters that are in the
        `net_state` and begin as they are here; `net_predict` reads them there.

        With `weights="file"`, they are in `net.bin` instead of const arrays, and functions take
        what it holds, as a pointer before that to scratch memory.

        Raises DTypeError for outputs of another dtype, and GraphError, before there is a file, for
        an op that cannot be written in C, for inputs by which there is no derivative, for what
        needs more than one element of `stream`, and for a session with members:
        `session.member(k)` is one.
        """
        OPERATORS["export_c"](
            self, path, outputs=outputs, dtype=dtype, derivatives=derivatives, training=training,
            sizes=sizes, stream=stream, carry=carry, weights=weights,
        )  # fmt: skip
