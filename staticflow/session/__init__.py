"""What users hold: Session, fit, evaluate, function, jit. `state` is what a session owns.

The parts take the state, never the session. `files` saves and loads, `report` shows. May import:
training, runtime, compiler, optim, native, ops, graph, errors.
"""
