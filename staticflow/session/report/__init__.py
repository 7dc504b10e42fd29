"""What people look at while a session trains, and after: history, loss curves, progress.

In: numbers by names. Out: text and SVG. May import: nothing.
"""
