"""Benchmarks of staticflow against its peers: `python -m benchmarks fnn|rnn|infer|scaling`."""
