"""What a printed formula is evaluated with: NumPy's names, and sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.special

SIZES = {"n": 5, "t": 3}
NUMPY: dict[str, Any] = {
    **{name: getattr(np, name) for name in np.__all__},
    **{
        name: getattr(np.linalg, name)
        for name in (
            "norm",
            "inv",
            "det",
            "solve",
            "qr",
            "svd",
            "eigh",
            "cholesky",
            "pinv",
            "slogdet",
        )
    },
    "softmax": lambda x, axis=-1: scipy.special.softmax(x, axis),
    "log_softmax": lambda x, axis=-1: scipy.special.log_softmax(x, axis),
    "logsumexp": scipy.special.logsumexp,
    "sigmoid": scipy.special.expit,
    "expm": scipy.linalg.expm,
    "expm_frechet": scipy.linalg.expm_frechet,
    "solve_triangular": scipy.linalg.solve_triangular,
    "logdet": lambda x: np.linalg.slogdet(x)[1],
    "erf": scipy.special.erf,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(x, 0),
    "one_hot": lambda y: np.eye(3)[y],
    "sigmoid_binary_cross_entropy": lambda x, t: np.logaddexp(x, 0) - x * t,
}
