"""`draw`: a graph as a picture, with its values and cotangents.

In: nodes, or a session's. Out: SVG. May import: the interpreter, derivatives, the calculator.
"""
