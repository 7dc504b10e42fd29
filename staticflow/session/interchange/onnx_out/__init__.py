"""A graph of ours as an ONNX model: one table says how each op is written, `write` makes the file.

In: output nodes and the arrays of parameters. Out: a checked ModelProto, or an error before it.
"""
