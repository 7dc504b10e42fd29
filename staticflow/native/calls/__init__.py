"""NumPy arrays in and out of native code without Python between.

In: arrays. Out: arrays. May import: all of native above.
"""
