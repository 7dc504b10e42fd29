"""The table of docs/interchange.md: which of ONNX's node tests are taken in, and why not others.

    python -m tests.session.interchange.node_table

It takes each test in and computes it by the interpreter, and writes the table into the document.
The campaign `onnx_nodes` computes them by machine code as well.
"""

from __future__ import annotations

from collections import Counter

from tests.campaigns.onnx_nodes import node_tests, verdict
from tests.support.places import ROOT

PAGE = ROOT / "docs" / "interchange.md"
START, END = "<!-- node tests -->\n", "<!-- end of node tests -->"


def table() -> str:
    """A row for each reason, with how many tests there are."""
    found = Counter(verdict(case, compiled=False) for case in node_tests())
    lines = [f"Of {found.total()} node tests, {found['equal']} have their values.", ""]
    lines += ["| left out | node tests | of them |", "|---|---|---|"]
    lines.append(f"| other dtypes | {found['dtype']} | float16, bfloat16, other integers, strings, "
                 "sequences, optional values |")  # fmt: skip
    for kind, title in (("operator", "other operators"), ("setting", "other settings")):
        parts = {k.partition(":")[2]: n for k, n in found.items() if k.startswith(f"{kind}:")}
        told = ", ".join(f"{name} {n}" for name, n in sorted(parts.items()))
        lines.append(f"| {title} | {sum(parts.values())} | {told} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    before, rest = PAGE.read_text("utf-8").split(START)
    PAGE.write_text(before + START + table() + END + rest.split(END)[1], "utf-8")


if __name__ == "__main__":
    main()
