"""Graph to graph: derivatives are ordinary nodes of the same ops.

In: nodes and what to differentiate by. Out: nodes: cotangents (`derivatives`), tangents, Jacobians
row by row, and the rules of loops and branches. May import: ops, graph, errors.
"""
