"""Where pickles of version 0.1.0 look for what makes sessions and functions again."""

from __future__ import annotations

from staticflow.session import session_from_pickle as _session
from staticflow.stateless import function_from_pickle as _function

__all__ = ["_function", "_session"]
