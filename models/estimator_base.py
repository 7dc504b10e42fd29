"""`base`: what the estimators build on, scikit-learn's where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from staticflow.models import plain_estimator as base
else:
    try:
        from staticflow.models import sklearn_estimator as base
    except ImportError:
        from staticflow.models import plain_estimator as base

__all__ = ["base"]
