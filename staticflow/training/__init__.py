"""A training step bound to memory: its programs, shards, owners, and runs by the worker.

In: loss, parameters and an optimizer. Out: steps on batches. May import: runtime, compiler,
autodiff, optim, native, ops, graph, errors.
"""
