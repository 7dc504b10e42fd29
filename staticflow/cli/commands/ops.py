"""`staticflow ops`: the page that lists every op."""

from __future__ import annotations

import argparse

from staticflow.cli.op_page.page import op_page


def run(options: argparse.Namespace) -> int:
    """Print the page, as Markdown."""
    print(op_page())
    return 0
