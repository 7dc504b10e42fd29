"""What is declared: nodes with their types, ops with bodies, leaves, sizes.

In: what the user declares. Out: an immutable graph of nodes, each with its op, type and line.
What `+` or `.sum()` mean is in a table that `ops` fills. May import: init, errors.
"""
