"""How a command ends that is not carried out as it was given."""

from __future__ import annotations


class CommandError(ValueError):
    """Its message is all that the user sees: what is wrong and what to do."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that keeps what it has done; the message says where."""
