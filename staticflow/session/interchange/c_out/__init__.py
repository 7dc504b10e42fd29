"""Sessions as plain C: the compiler's steps, loops and formulas, printed as one C99 file.

In: a session's nodes and values. Out: a file and its header, which need a C compiler and libm.
"""
