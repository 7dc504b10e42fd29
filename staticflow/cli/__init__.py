"""The command line: `staticflow train`, `predict`, `evaluate`, `inspect`, `bench`."""
