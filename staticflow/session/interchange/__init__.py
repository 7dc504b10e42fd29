"""Networks to and from the formats of others: ONNX, both ways, and C.

In: a session's nodes and values, or a model file. Out: a file, or nodes with their parameters.
May import: session (files), runtime, compiler, native's formulas, ops, graph, init, errors.
"""
