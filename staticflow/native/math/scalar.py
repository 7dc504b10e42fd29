"""The scalar math functions that generated kernels call: `FUNCTIONS["exp_f4"]` and so on.

Every function exists for float32 (`_f4`) and float64 (`_f8`). In a loop LLVM vectorises them, and
the compiled code refers to no library, except `remainder` and `floor_divide`, which call the C
library's fmod. `math.trace` says how they are made. Their errors, in units of the last place of the
exact result, stand in their docstrings as measured: for float32 at 2000 numbers of every exponent
and densely where most happens (exp, expm1, sigmoid, tanh, log, log1p, softplus: at all numbers),
for float64 at 200. A result below the normal numbers may be 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from staticflow.native.math import (
    erf as math_error,
)
from staticflow.native.math import (
    exp as math_exp,
)
from staticflow.native.math import (
    gamma as math_gamma,
)
from staticflow.native.math import (
    inverse_trig as math_arc,
)
from staticflow.native.math import (
    log as math_log,
)
from staticflow.native.math import (
    power as math_power,
)
from staticflow.native.math import (
    rounding as math_round,
)
from staticflow.native.math import (
    trig as math_trig,
)

_SUBJECTS = (
    math_exp,
    math_log,
    math_trig,
    math_arc,
    math_power,
    math_error,
    math_gamma,
    math_round,
)

FUNCTIONS: Mapping[str, object] = MappingProxyType(
    {name: function for module in _SUBJECTS for name, function in module.FUNCTIONS.items()}
)
