"""`derive`: how a derivative is found by hand, line by line.

    print(sf.derive(a @ ops.exp(X @ b), X))

    df = a.T @ (exp(X @ b) * (dX @ b))          [differential of product, elementwise function]
    df = tr(a.T @ (exp(X @ b) * (dX @ b)))      [scalar = trace: a = tr(a)]
    df = tr((a * exp(X @ b)).T @ dX @ b)        [tr(A'(B . C)) = tr((A . B)'C)]
    df = tr(b @ (a * exp(X @ b)).T @ dX)        [tr(AB) = tr(BA)]
    df = tr(((a * exp(X @ b)) @ b.T).T @ dX)    [(A')' = A, (AB)' = B'A']
    df/dX = (a * exp(X @ b)) @ b.T              [compare with df = tr(G' dX)]

The graph is read as the terms of `explain` and these as matrix expressions (`reading`, `matrix`);
its differential is worked out by rules (`differentials`), and dX brought to the right end (`lines`,
`trace_rules`, `jacobian_rules`).
"""
