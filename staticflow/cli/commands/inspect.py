"""`staticflow inspect`: what is in a model file, and what it compiles to."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from staticflow.cli.errors import CommandError
from staticflow.cli.model_card import Card, TextCard, load_model
from staticflow.cli.report import table
from staticflow.cli.targets import check_targets
from staticflow.compiler.tracing import trace
from staticflow.data.table import listed
from staticflow.graph.node import Node

if TYPE_CHECKING:
    from staticflow.session.session import Session


def run(options: argparse.Namespace) -> int:
    """Print one view of the model."""
    session, card = load_model(options.model)
    if options.html:
        return _write_page(options.html, options.model, session, card)
    if options.source:
        print(session.source)
    elif options.passes:
        roots = [node for node in (session.loss, session.outputs) if isinstance(node, Node)]
        print(trace(roots[:1], training=session.loss is not None))
    elif options.graph or options.memory:
        graph, _, programs = session.explain().partition("\nPROGRAM ")
        print(graph if options.graph else f"PROGRAM {programs}")
    else:
        print(_summary(session, card))
    return 0


def _write_page(path: Path, model: Path, session: Session, card: Card | TextCard) -> int:
    """Write the page of a model; says where it is."""
    from staticflow.cli.inspect_page.page import page

    check_targets([path], [model])
    text = page(session, model.name, _facts(session, card), _curves(session.extra))
    path.write_text(text, encoding="utf-8")
    print(table([("written", f"{path}, {len(text) / 1000:,.0f} kB: open it in a browser")]))
    return 0


def _curves(extra: Mapping[str, Any]) -> dict[str, list[float]]:
    """What training has logged, by name: of a model, or of a checkpoint; none in older files."""
    logs = extra.get("history") or (extra.get("training") or {}).get("logs") or []
    if not isinstance(logs, list) or not all(isinstance(log, dict) for log in logs):
        raise CommandError("what training has logged is damaged in the file; train it again")
    names = dict.fromkeys(name for log in logs for name in log)
    return {n: [nan if log.get(n) is None else float(log[n]) for log in logs] for n in names}


def _summary(session: Session, card: Card | TextCard) -> str:
    shapes = {name: array.shape for name, array in session.params.items()}
    sizes = [(name, " x ".join(map(str, shape))) for name, shape in shapes.items()]
    return table([*_facts(session, card), *sizes])


def _facts(session: Session, card: Card | TextCard) -> list[tuple[str, str]]:
    """What there is to say of a model in a line each."""
    count = sum(array.size for array in session.params.values())
    rows = [("model", f"{card.model}, {count:,} parameters")]
    if isinstance(card, Card):
        answer = listed(card.classes) if card.classes else "a number"
        rows.append(("inputs", listed(card.features)))
        rows.append(("target", f"{card.target}: {answer}"))
    else:
        rows.append(("alphabet", repr(card.alphabet)))
    rows.append(("held out", f"{100 * card.test_fraction:g} % of its data"))
    return rows
