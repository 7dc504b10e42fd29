"""What runs on a session's state: batches, fetched outputs, steps, fits, evaluation, NaN guards.

In: a state and arrays of the user. Out: trained parameters, arrays, a history. May import: state,
report, training, runtime, compiler, native, graph, errors.
"""
