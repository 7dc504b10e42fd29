"""Loss and metrics of a session over data."""

from __future__ import annotations

from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.session.run.batches import in_batches
from staticflow.session.run.fetch import Fetches


def evaluate(
    fetches: Fetches, data: Any, batch_size: int, batch_axis: str | None
) -> dict[str, float]:
    """Loss and metrics over all rows, in inference mode: means over rows, by name."""
    graph = fetches.state.graph
    nodes = {"loss": graph.loss, **graph.metrics}
    wanted = {name: node for name, node in nodes.items() if node is not None}
    if not wanted:
        fail(GraphError, "there is no loss and no metric to evaluate", do="pass metrics=")
    totals = dict.fromkeys(wanted, 0.0)
    count = 0
    for rows in in_batches(graph, data, batch_size, batch_axis):
        values = fetches.run(wanted, {**rows.sliced, **rows.whole})
        for name, value in values.items():
            totals[name] += float(value) * rows.count
        count += rows.count
    return {name: total / count for name, total in totals.items()}
