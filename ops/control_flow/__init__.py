"""sf.scan, sf.cond and sf.while_loop: a step function is traced into an op with a body.

In: Python functions over nodes. Out: nodes of loops and branches. May import: ops, graph, errors.
"""
