"""The page of a model file, for a browser: graph, parameters, kernels, source and loss curve.

In: a session and what training has logged. Out: one HTML document that loads nothing. May import:
the session, its drawing and its reports.
"""
