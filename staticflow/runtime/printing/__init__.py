"""A program as one Python module that runs by itself: `session.source`.

In: a program. Out: text. May import: runtime, compiler, graph.
"""
