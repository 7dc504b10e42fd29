"""Sizes from text as `repr` of a Dim writes them: `batch*time - 1`, `isqrt(n)`, `((a) // (2))`.

The text may come from anywhere. It is read by a grammar of its own, in time and depth that its
length bounds; names are identifiers and nothing else.

    sum      = ["-"] product {("+" | "-") product}
    product  = atom {("*" | "//") atom}
    atom     = number | name | "isqrt" "(" sum ")" | "(" sum ")"
"""

from __future__ import annotations

import re
from typing import NoReturn

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim, Dim, dim_name, floor_divide, square_root

LONGEST = 1 << 20  # characters
DEEPEST = 16  # brackets in each other
_DIGITS = 19  # of a size, which is an int64
_TOKEN = re.compile(r"\s*(?:(\d+)|(\w+)|(//|[-+*()]))", re.ASCII)
_UNICODE_NAME = re.compile(r"\s*(\w+)")


def parse_dim(text: str) -> AnyDim:
    """The size that a text stands for; raises GraphError for what is none."""
    if not isinstance(text, str) or len(text) > LONGEST:
        fail(GraphError, "not a size", got=repr(text)[:80])
    reader = _Reader(text)
    size = reader.sum(0)
    if reader.token:
        reader.refuse()
    return size


class _Reader:
    """The text from a token on; "" behind the last."""

    def __init__(self, text: str) -> None:
        self.text = text.rstrip()
        self.position = 0
        self.token = ""
        self.advance()

    def refuse(self) -> NoReturn:
        fail(GraphError, f"not a size: {self.text[:80]!r}")

    def advance(self) -> None:
        """Go on to the next token."""
        if self.position == len(self.text):
            self.token = ""
            return
        found = _TOKEN.match(self.text, self.position)
        wide = _UNICODE_NAME.match(self.text, self.position)
        if wide is not None and (found is None or wide.end() > found.end()):
            found = wide
        if found is None:
            self.refuse()
        self.token, self.position = found.group().strip(), found.end()

    def take(self, token: str) -> None:
        if self.token != token:
            self.refuse()
        self.advance()

    def sum(self, depth: int) -> AnyDim:
        if depth > DEEPEST:
            self.refuse()
        negative = self.token == "-"
        if negative:
            self.advance()
        total = self.product(depth)
        total = -total if negative else total
        while self.token in ("+", "-"):
            sign = self.token
            self.advance()
            term = self.product(depth)
            total = total + term if sign == "+" else total - term
        return total

    def product(self, depth: int) -> AnyDim:
        total = self.atom(depth)
        while self.token in ("*", "//"):
            sign = self.token
            self.advance()
            factor = self.atom(depth)
            total = total * factor if sign == "*" else self.divided(total, factor)
        return total

    def divided(self, size: AnyDim, divisor: AnyDim) -> AnyDim:
        if isinstance(divisor, int) and divisor < 1:
            self.refuse()
        return floor_divide(size, divisor)

    def atom(self, depth: int) -> AnyDim:
        token = self.token
        self.advance()
        if token == "(" or (token == "isqrt" and self.token == "("):
            if token == "isqrt":
                self.take("(")
            inner = self.sum(depth + 1)
            self.take(")")
            return inner if token == "(" else square_root(inner)
        if token.isascii() and token.isdigit() and len(token) <= _DIGITS:
            return int(token)
        if not token.isidentifier() or dim_name(token) != token:
            self.refuse()
        return Dim.named(token)
