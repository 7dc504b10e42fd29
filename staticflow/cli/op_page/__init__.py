"""The page of all ops, generated from their table. May import: ops, autodiff, compiler.formula."""
