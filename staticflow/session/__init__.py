"""What users hold: Session, function, jit, derive, draw. `state` is what a session owns.

The parts take the state, never the session: `run` computes and trains, `files` saves and loads,
`report` shows. May import: training, runtime, compiler, optim, native, ops, graph, errors.
"""
