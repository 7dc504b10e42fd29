"""Documents whose code makes their formulas and pictures: `python -m tests.documents`."""
