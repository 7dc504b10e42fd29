"""Python's parser, for one thread at a time.

Python counts how deep the tree is that it makes in one place for all threads. A collection of
garbage in the middle may run Python code, and with it another thread; if that one parses as well,
the count is wrong and Python raises a SystemError.
"""

from __future__ import annotations

import ast
from typing import Any

from staticflow.native.toolchain.loader import process_lock


def parsed_statements(text: str) -> list[ast.stmt]:
    """The statements of a module's text."""
    with process_lock():
        return ast.parse(text).body


def parsed_expression(text: str) -> Any:
    """The tree of one expression."""
    with process_lock():
        return ast.parse(text, mode="eval").body
