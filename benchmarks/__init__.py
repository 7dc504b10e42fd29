"""Benchmarks of staticflow against its peers: `python -m benchmarks fnn|rnn|infer|stream|scaling`.

Each contender runs in a process of its own, in its best form and with its best thread count, and
they take turns. Results: a table, `results/SUITE.json`, what the processes printed in
`results/SUITE.log`, and with `--plot` a picture. `--help` lists the options.
"""
