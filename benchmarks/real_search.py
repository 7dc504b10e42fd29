"""Searches on real data: candidates times folds, against scikit-learn's GridSearchCV.

    python -m benchmarks.real_search [--candidates 60] [--epochs 20]

Each contender in a process of its own: `models.search`; GridSearchCV over the same estimators, one
by one on one thread; GridSearchCV over scikit-learn's own MLP with the same nets, optimizer, epochs
and batches, with `n_jobs` for all cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np

CONTENDERS = ("search", "ours one by one", "scikit-learn")


def _data(name: str) -> tuple[Any, Any]:
    from sklearn.datasets import load_diabetes, load_digits
    from sklearn.preprocessing import StandardScaler

    x, y = (load_diabetes if name == "diabetes" else load_digits)(return_X_y=True)
    return StandardScaler().fit_transform(x), y


def _grid(candidates: int, rate: str, decay: str, hidden: str) -> dict[str, list[Any]]:
    """Two widths, three decays, and as many rates as that leaves."""
    rates = np.geomspace(1e-4, 1e-1, max(1, candidates // 6)).tolist()
    return {rate: rates, decay: [0.0, 1e-4, 1e-2], hidden: [(16,), (32, 32)]}


def _fitted(contender: str, name: str, candidates: int, epochs: int) -> Any:
    x, y = _data(name)
    if contender == "scikit-learn":
        from sklearn.model_selection import GridSearchCV
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        kind = MLPRegressor if name == "diabetes" else MLPClassifier
        net = kind(batch_size=32, max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=0)
        grid = _grid(candidates, "learning_rate_init", "alpha", "hidden_layer_sizes")
        return GridSearchCV(net, grid, cv=5, n_jobs=os.cpu_count(), refit=False).fit(x, y)
    from sklearn.model_selection import GridSearchCV

    from staticflow import models

    own = models.FNNRegressor if name == "diabetes" else models.FNNClassifier
    grid = _grid(candidates, "learning_rate", "weight_decay", "hidden")
    settings = {"epochs": epochs, "batch_size": 32, "standardise": False, "random_state": 0}
    if contender == "search":
        return models.search(own(**settings), grid, cv=5, refit=False).fit(x, y)
    return GridSearchCV(own(**settings, threads=1), grid, cv=5, refit=False).fit(x, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", nargs=2, help="a contender and a data set, in this process")
    options = parser.parse_args()
    if options.only:
        contender, name = options.only
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _fitted(contender, name, options.candidates, options.epochs)
        print(f"{time.perf_counter() - began:.2f} {found.best_score_:.4f}")
        return
    for name in ("diabetes", "digits"):
        for contender in CONTENDERS:
            command = [sys.executable, "-m", "benchmarks.real_search", "--only", contender, name]
            command += ["--candidates", str(options.candidates), "--epochs", str(options.epochs)]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds, score = shown.split()
            print(f"{name}: {contender} {seconds} s, best score {score}", flush=True)


if __name__ == "__main__":
    main()
