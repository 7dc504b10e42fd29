"""Graph to graph: simplify, take work out of loops, batch, push slices down, shard.

In and out: output nodes. Each file is one rewrite. May import: ir, graph, errors.
"""
