"""The error of a data file that cannot be used as it is."""

from __future__ import annotations


class DataError(ValueError):
    """Names the file, the column and the line, what is there and what to do."""
