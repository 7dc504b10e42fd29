"""What people look at: history, loss curves, progress, profile, explain.

In: a session's state. Out: text and SVG. May import: session's state, training, runtime.
"""
