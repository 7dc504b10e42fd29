"""Code and memory: a program that is loaded, frames for its sizes, what is fed and handed out.

In: a `Compiled` program. Out: runs. `printed` is what a printed program imports. May import:
compiler, optim, native, ops, graph, init, errors.
"""
