"""Graph to steps: copies, fusion, buffers, what is written in place, loop nests.

In: sharded nodes. Out: kernels, products and calls over buffers, in order. May import: ir, passes,
graph, errors.
"""
