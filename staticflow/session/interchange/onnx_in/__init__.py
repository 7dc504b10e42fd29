"""ONNX models as graphs of ours: read, checked, and each operator written with ours.

In: a file, its bytes or a ModelProto. Out: input and output nodes, parameters with their values.
"""
