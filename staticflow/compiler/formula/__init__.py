"""Graph to formula: sf.explain. A graph read as terms, kept tidy, printed as NumPy.

In: nodes. Out: text. May import: ops, autodiff, passes, graph, errors.
"""
