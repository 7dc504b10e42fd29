"""A session as a file and back: safetensors with the graph as JSON, checked when read.

In: files as data, whoever wrote them. Out: what a session is made of. May import: session's state,
runtime, training, graph, errors.
"""
