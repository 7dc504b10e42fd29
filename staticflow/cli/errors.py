"""The error of a command that cannot be carried out as it was given."""

from __future__ import annotations


class CommandError(ValueError):
    """Its message is all that the user sees: what is wrong and what to do."""
