"""A derivation: its lines, each with the rule that leads to it, as text and as LaTeX."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from staticflow.session.derivation.expr import (
    Expr,
)
from staticflow.session.derivation.latex import latex
from staticflow.session.derivation.printing import text


@dataclass(frozen=True)
class Step:
    """One line: `left = right`, and the rule by which it follows from the one before.

    `value` tells which lines have equal values: those of one quantity (df, or df/dX).
    """

    left: str
    left_latex: str
    expr: Expr
    rule: str
    quantity: str

    @property
    def text(self) -> str:
        """The line as Python over columns and matrices: `df = tr(a.T @ dX @ b)`."""
        return f"{self.left} = {text(self.expr)}"

    @property
    def latex(self) -> str:
        return f"{self.left_latex} = {latex(self.expr)}"

    def __str__(self) -> str:
        return f"{self.text}    [{self.rule}]"


@dataclass(frozen=True)
class Derivation:
    """The derivation of one derivative, line by line.

    `.steps` are its lines, `str()` prints them with their rules, `.latex()` and a notebook show
    them as mathematics; `.result` is the last line's right side as text.
    """

    steps: tuple[Step, ...]

    @property
    def result(self) -> str:
        return text(self.steps[-1].expr)

    def __str__(self) -> str:
        width = max(len(step.text) for step in self.steps)
        return "\n".join(f"{step.text:<{width}}    [{step.rule}]" for step in self.steps)

    def __repr__(self) -> str:
        return str(self)

    def latex(self) -> str:
        """The lines under each other, as an `aligned` environment."""
        rows = [
            rf"{s.left_latex} &= {latex(s.expr)} && \text{{{_plain(s.rule)}}}" for s in self.steps
        ]
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'><code>{escape(s.text)}</code></td>"
            f"<td style='text-align:left'>{escape(s.rule)}</td></tr>"
            for s in self.steps
        )
        return f"<table>{rows}</table>"


def _plain(rule: str) -> str:
    """A rule's name within \\text{}."""
    for sign, shown in (("_", r"\_"), ("&", r"\&"), ("%", r"\%"), ("#", r"\#")):
        rule = rule.replace(sign, shown)
    return rule
