"""What a session owns: its graph as checked, parameters, states, slots, seed, trainers, lock.

In: a loss, outputs and an optimizer. Out: a `SessionState`, which `run`, `files` and the session
take. May import: training, runtime, graph, errors.
"""
