"""Further expressions, as in `expressions`: tried without having been looked at before."""

from __future__ import annotations

FURTHER: dict[str, tuple[str, str, str]] = {
    "tr(AXB)": ("tr(A @ S @ B)", "S", "A.T @ B.T"),
    "tr(AX'B)": ("tr(A @ S.T @ B)", "S", "B @ A"),
    "tr(X'BXC)": ("tr(W.T @ A @ W)", "A", "W @ W.T"),
    "tr(A kron)": ("tr(ops.kron(A, A))", "A", "2 * trace(A) * eye(n)"),
    "tr(XBX')": ("tr(S @ B @ S.T)", "S", "S @ (B + B.T)"),
    "(Xb)'(Xc)": ("(S @ x).T @ (S @ y)", "S", "S @ (outer(x, y) + outer(y, x))"),
    "(Xb+c)'D(Xb+c)": ("(S @ x + y).T @ A @ (S @ x + y)", "x", "S.T @ (A + A.T) @ (S @ x + y)"),
    "||A - xy'||": (
        "ops.norm(A - x.reshape(N,1) @ y.reshape(1,N)) ** 2", "A",
        "2 * (A - outer(x, y))",
    ),
    "det(A'A)": ("ops.det(X.T @ X)", "X", "2 * det(X.T @ X) * X @ inv(X.T @ X)"),
    "logdet(A+B)": ("ops.logdet(A + B)", "A", "inv(A + B).T"),
    "log det lam": ("ops.logdet(lam * A)", "lam", "n / lam"),
    "inv quad": ("x.T @ ops.inv(A + B) @ x", "A", "-outer(inv(A + B).T @ x, inv(A + B) @ x)"),
    "inv inv": ("tr(ops.inv(ops.inv(A)) @ B)", "A", "B.T"),
    "inv product": ("tr(ops.inv(A) @ ops.inv(B))", "A", "-(inv(A) @ inv(B) @ inv(A)).T"),
    "solve twice": ("ops.norm(ops.solve(A, y)) ** 2", "y", "2 * solve(A.T, solve(A, y))"),
    "x'x": ("x.T @ x", "x", "2 * x"),
    "(x'x)^2": ("(x.T @ x) ** 2", "x", "4 * (x @ x) * x"),
    "exp(a'x)": ("ops.exp(y.T @ x)", "x", "exp(y @ x) * y"),
    "sigmoid(a'x)": ("ops.sigmoid(y.T @ x)", "x", "sigmoid(y @ x) * (1 - sigmoid(y @ x)) * y"),
    "log sigmoid": ("ops.log(ops.sigmoid(y.T @ x))", "x", "(1 - sigmoid(y @ x)) * y"),
    "softplus(a'x)": ("ops.softplus(y.T @ x)", "x", "sigmoid(y @ x) * y"),
    "sum sq": ("(x ** 2).sum()", "x", "2 * x"),
    "cube": ("(x ** 3).sum()", "x", "3 * x ** 2"),
    "sqrt": ("ops.sqrt(x).sum()", "x", "0.5 / sqrt(x)"),
    "1/x": ("(1.0 / x).sum()", "x", "-1 / x ** 2"),
    "x'log x": ("(x * ops.log(y)).sum()", "y", "x / y"),
    "col sums": ("(X.sum(axis=0) ** 2).sum()", "X", "2 * ones((m, m)) @ X"),
    "center": ("((X - X.mean(axis=0)) ** 2).sum()", "X", "2 * (X - mean(X, axis=0))"),
    "var rows": ("ops.var(x)", "x", "2 * (x - mean(x)) / n"),
    "silu": ("ops.silu(x).sum()", "x", "sigmoid(x) + x * sigmoid(x) * (1 - sigmoid(x))"),
    "elu": ("ops.elu(x).sum()", "x", "where(x > 0, 1, exp(x))"),
    "scaled attention": (
        "(ops.softmax(Q @ K.T / 2.0) @ R).sum()", "R",
        "softmax(Q @ K.T / 2).T @ ones((m, k))",
    ),
    "attention by keys": (
        "(ops.softmax(Q @ K.T) @ R * U).sum()", "K",
        "(softmax(Q @ K.T) * (U @ R.T - sum(softmax(Q @ K.T) * (U @ R.T), axis=1)[:, None])).T @ Q",
    ),
    "lstm gate": (
        "(ops.sigmoid(A @ h + B @ x) * y).sum()", "B",
        "outer(y * sigmoid(A @ h + B @ x) * (1 - sigmoid(A @ h + B @ x)), x)",
    ),
    "two layers W1": (
        "((ops.relu(X @ W) @ ops.tanh(q)).sum())", "W",
        "X.T @ (outer(ones(m), tanh(q)) * (X @ W > 0))",
    ),
    "elastic": (
        "0.5 * ops.norm(X @ w - b) ** 2 + 0.5 * lam * ops.norm(w) ** 2", "w",
        "X.T @ (X @ w - b) + lam * w",
    ),
    "tikhonov": (
        "ops.norm(X @ w - b) ** 2 + ops.norm(A @ w) ** 2", "w",
        "2 * X.T @ (X @ w - b) + 2 * A.T @ A @ w",
    ),
    "svm": (
        "ops.relu(1.0 - b * (X @ w)).mean() + lam * (w.T @ w)", "w",
        "2 * lam * w - X.T @ (b * (b * (X @ w) < 1)) / m",
    ),
    "kalman": (
        "tr((ops.eye(N) - A) @ S @ (ops.eye(N) - A).T + A @ B @ A.T)", "A",
        "A @ (B + B.T) - (eye(n) - A) @ (S + S.T)",
    ),
    "gp": (
        "y.T @ ops.inv(S + lam * ops.eye(N)) @ y", "lam",
        "-(y @ inv(S + lam * eye(n)) @ inv(S + lam * eye(n)) @ y)",
    ),
    "mvn precision": (
        "0.5 * ((x - mu).T @ A @ (x - mu)) - 0.5 * ops.logdet(A)", "A",
        "0.5 * outer(x - mu, x - mu) - 0.5 * inv(A).T",
    ),
    "mvn mu": ("0.5 * ((x - mu).T @ A @ (x - mu))", "mu", "-0.5 * (A + A.T) @ (x - mu)"),
    "wishart": ("tr(ops.inv(S) @ A) + ops.logdet(S)", "S", "inv(S).T - (inv(S) @ A @ inv(S)).T"),
    "mahalanobis sqrt": (
        "ops.sqrt((x - y).T @ A @ (x - y))", "x",
        "(A + A.T) @ (x - y) / (2 * sqrt((x - y) @ A @ (x - y)))",
    ),
    "poly kernel": ("(x.T @ y + 1.0) ** 3", "x", "3 * (x @ y + 1) ** 2 * y"),
    "tanh kernel": ("ops.tanh(lam * (x.T @ y))", "lam", "x @ y * (1 - tanh(lam * (x @ y)) ** 2)"),
    "mae": ("ops.abs(X @ w - b).mean()", "w", "X.T @ sign(X @ w - b) / m"),
    "cross entropy mean": (
        "-(b * ops.log(ops.sigmoid(X @ w)) + (1.0 - b) * ops.log(1.0 - ops.sigmoid(X @ w))).mean()",
        "w",
        "X.T @ (sigmoid(X @ w) - b) / m",
    ),
    "perplexity": (
        "ops.exp(ops.softmax_cross_entropy(U, labels).mean())", "U",
        "exp(mean(logsumexp(U, axis=1) - sum(one_hot(labels) * U, axis=1)))"
        " * (softmax(U) - one_hot(labels)) / m",
    ),
    "jac A@B@x": ("A @ B @ x", "x jacobian", "A @ B"),
    "jac x**2": ("x ** 2", "x jacobian", "2 * diag(x)"),
    "jac Ax+b": ("A @ x + y", "x jacobian", "A"),
    "jac by lam": ("lam * x + ops.sin(lam) * y", "lam jacobian", "x + cos(lam) * y"),
    "jac relu": ("ops.relu(A @ x)", "x jacobian", "diag(A @ x > 0) @ A"),
    "hess cubic": ("(x ** 3).sum()", "x hessian", "6 * diag(x)"),
    "hess log": ("ops.log(x).sum()", "x hessian", "-diag(1 / x ** 2)"),
    "hess ridge": (
        "((X @ w - b) ** 2).sum() + lam * (w.T @ w)", "w hessian",
        "2 * (X.T @ X + lam * eye(n))",
    ),
    "hess poisson": (
        "(ops.exp(X @ w) - b * (X @ w)).sum()", "w hessian",
        "X.T @ diag(exp(X @ w)) @ X",
    ),
    "hess gaussian": (
        "0.5 * ((x - mu).T @ ops.inv(S) @ (x - mu))", "mu hessian",
        "0.5 * (inv(S) + inv(S).T)",
    ),
    "hess entropy": ("(x * ops.log(x)).sum()", "x hessian", "diag(1 / x)"),
    "pinv": ("tr(ops.pinv(A) @ B)", "B", "pinv(A).T"),
    "cholesky logdet": ("2.0 * ops.log(ops.diagonal(ops.cholesky(A))).sum()", "B", "zeros((n, n))"),
    "diag": ("tr(ops.diag(ops.diagonal(A)) @ B)", "A", "diag(diagonal(B))"),
    "outer": ("(ops.outer(x, y) * A).sum()", "x", "A @ y"),
    "stack": ("(ops.concatenate([x, y]) ** 2).sum()", "x", "2 * x"),
    "skew": ("x.T @ (A - A.T) @ y", "A", "outer(x, y) - outer(y, x)"),
    "AA'x": ("y.T @ A @ A.T @ x", "A", "(outer(y, x) + outer(x, y)) @ A"),
    "||A||4": ("tr(A.T @ A @ A.T @ A)", "A", "4 * A @ A.T @ A"),
    "tr inv(X'X)": ("tr(ops.inv(X.T @ X))", "X", "-2 * X @ inv(X.T @ X) @ inv(X.T @ X)"),
    "logdet(I+XX')": ("ops.logdet(ops.eye(N) + A @ A.T)", "A", "2 * inv(eye(n) + A @ A.T) @ A"),
    "det inv": ("ops.det(ops.inv(A))", "A", "-det(inv(A)) * inv(A).T"),
    "log trace": ("ops.log(tr(A @ B))", "A", "B.T / trace(A @ B)"),
    "trace squared": ("tr(A) ** 2", "A", "2 * trace(A) * eye(n)"),
    "x'inv(A)x/2 by x": ("0.5 * x.T @ ops.inv(A) @ x", "x", "0.5 * (inv(A) + inv(A).T) @ x"),
    "normalized": ("(x / ops.norm(x)).T @ y", "x", "y / norm(x) - x @ y / norm(x) ** 3 * x"),
    "distance ratio": (
        "ops.norm(x - y) / ops.norm(x + y)", "x",
        "(x - y) / (norm(x - y) * norm(x + y)) - norm(x - y) / norm(x + y) ** 3 * (x + y)",
    ),
    "triplet": (
        "ops.relu(ops.norm(x - y) ** 2 - ops.norm(x - w) ** 2 + 1.0)", "x",
        "2 * (norm(x - y) ** 2 - norm(x - w) ** 2 + 1 > 0) * (w - y)",
    ),
    "contrastive": (
        "-ops.log(ops.exp(x.T @ y) / (ops.exp(x.T @ y) + ops.exp(x.T @ w)))", "y",
        "exp(x @ y) / (exp(x @ y) + exp(x @ w)) * x - x",
    ),
    "gaussian nll": (
        "0.5 * ((x - mu) ** 2 / y).sum() + 0.5 * ops.log(y).sum()", "y",
        "0.5 / y - 0.5 * (x - mu) ** 2 / y ** 2",
    ),
    "gaussian nll mu": ("0.5 * ((x - mu) ** 2 / y).sum()", "mu", "-(x - mu) / y"),
    "kl vae": ("0.5 * (ops.exp(x) + mu ** 2 - 1.0 - x).sum()", "x", "0.5 * (exp(x) - 1)"),
    "softmax loss bias": (
        "ops.softmax_cross_entropy(X @ W + q.T, labels).mean()", "q",
        "mean(softmax(X @ W + q) - one_hot(labels), axis=0)",
    ),
    "softmax X": (
        "ops.softmax_cross_entropy(X @ W, labels).sum()", "X",
        "(softmax(X @ W) - one_hot(labels)) @ W.T",
    ),
    "label smoothing": (
        "-(R * ops.log_softmax(X @ W)).sum()", "W",
        "X.T @ (sum(R, axis=1)[:, None] * softmax(X @ W) - R)",
    ),
    "bilinear attention": (
        "(ops.softmax(Q @ ops.swapaxes(K, 0, 1)) * (U @ R.T)).sum()", "R",
        "softmax(Q @ K.T).T @ U",
    ),
    "mlp3": (
        "(ops.tanh(ops.tanh(X @ A) @ B) * Y).sum()", "B",
        "tanh(X @ A).T @ (Y * (1 - tanh(tanh(X @ A) @ B) ** 2))",
    ),
    "mlp3 A": (
        "(ops.tanh(ops.tanh(X @ A) @ B) * Y).sum()", "A",
        "X.T @ ((1 - tanh(X @ A) ** 2) * ((Y * (1 - tanh(tanh(X @ A) @ B) ** 2)) @ B.T))",
    ),
    "residual, again": (
        "((x + ops.tanh(A @ x)) ** 2).sum()", "A",
        "outer(2 * (x + tanh(A @ x)) * (1 - tanh(A @ x) ** 2), x)",
    ),
    "highway": (
        "(ops.sigmoid(A @ x) * ops.tanh(B @ x)).sum()", "B",
        "outer(sigmoid(A @ x) * (1 - tanh(B @ x) ** 2), x)",
    ),
    "gcn": ("(ops.relu(A @ B @ W) ** 2).sum()", "W", "2 * (A @ B).T @ relu(A @ B @ W)"),
    "rms norm": (
        "(x / ops.sqrt((x ** 2).mean())).T @ y", "x",
        "y / sqrt(mean(x ** 2)) - x @ y / (n * mean(x ** 2) ** 1.5) * x",
    ),
    "gp mean": (
        "0.5 * y.T @ ops.inv(A + lam * ops.eye(N)) @ y", "y",
        "0.5 * (inv(A + lam * eye(n)) + inv(A + lam * eye(n)).T) @ y",
    ),
    "gls": ("(b - X @ w).T @ (b - X @ w) / lam", "lam", "-(b - X @ w) @ (b - X @ w) / lam ** 2"),
    "gamma ll": ("(mu * ops.log(x) - x * y).sum()", "x", "mu / x - y"),
    "pca residual": (
        "ops.norm(X - X @ W @ W.T) ** 2", "X",
        "2 * (X - X @ W @ W.T) - 2 * (X - X @ W @ W.T) @ W @ W.T",
    ),
    "cca": (
        "(x.T @ A @ y) / ops.sqrt((x.T @ B @ x) * (y.T @ C @ y))", "A",
        "outer(x, y) / sqrt(x @ B @ x * (y @ C @ y))",
    ),
    "lda": (
        "(x.T @ A @ x) / (x.T @ B @ x)", "x",
        "(A + A.T) @ x / (x @ B @ x) - x @ A @ x / (x @ B @ x) ** 2 * ((B + B.T) @ x)",
    ),
    "sum of exps": ("ops.exp(A @ x + y).sum()", "x", "A.T @ exp(A @ x + y)"),
    "max row": ("ops.max(A @ x)", "x", "A.T @ (A @ x == max(A @ x))"),
    "sq hinge": (
        "(ops.relu(1.0 - b * (X @ w)) ** 2).sum()", "w",
        "-2 * X.T @ (b * relu(1 - b * (X @ w)))",
    ),
    "jac diag": ("ops.diagonal(A) * x", "x jacobian", "diag(diagonal(A))"),
    "jac Ax/norm": (
        "A @ x / ops.norm(x)", "x jacobian",
        "A / norm(x) - outer(A @ x, x) / norm(x) ** 3",
    ),
    "jac rnn": ("ops.tanh(A @ h + B @ x)", "h jacobian", "diag(1 - tanh(A @ h + B @ x) ** 2) @ A"),
    "hess x'Ax/x'x?": (
        "ops.log(x.T @ x)", "x hessian",
        "2 * eye(n) / (x @ x) - 4 * outer(x, x) / (x @ x) ** 2",
    ),
    "hess sigmoid": (
        "ops.sigmoid(x).sum()", "x hessian",
        "diag(sigmoid(x) * (1 - sigmoid(x)) * (1 - 2 * sigmoid(x)))",
    ),
    "hess norm2": ("ops.norm(A @ x - y) ** 2", "x hessian", "2 * A.T @ A"),
    "hess bilinear": ("(x.T @ y) ** 3", "x hessian", "6 * (x @ y) * outer(y, y)"),
    "hess kernel": (
        "ops.exp(-ops.norm(x - y) ** 2)", "x hessian",
        "exp(-norm(x - y) ** 2) * (4 * outer(x - y, x - y) - 2 * eye(n))",
    ),
    "huber": ("ops.huber(X @ w, b)", "w", "X.T @ clip(X @ w - b, -1, 1) / m"),
    "huber of 2": ("ops.huber(x, y, delta=2.0)", "y", "-clip(x - y, -2, 2) / n"),
    "clip": ("ops.clip(x, 0.0, 1.0).sum()", "x", "(x > 0) * (x < 1)"),
    "clip of a layer": (
        "(ops.clip(X @ w, 0.0, 1.0) * b).sum()", "w", "X.T @ (b * (X @ w > 0) * (X @ w < 1))",
    ),
    "leaky relu": ("ops.leaky_relu(X @ w).sum()", "w", "X.T @ where(X @ w >= 0, 1, 0.01)"),
    "layer norm": (
        "(ops.layer_norm(X) * Y).sum()", "X",
        "G = X - mean(X, axis=1)[:, None]\nv = mean(G ** 2, axis=1)[:, None] + 1e-05\n"
        "(Y - mean(Y, axis=1)[:, None] - mean(Y * G, axis=1)[:, None] * G / v) / sqrt(v)",
    ),
    "jacobian softmax of A x": (
        "ops.softmax(A @ x, axis=0)", "x jacobian",
        "p = softmax(A @ x)\n(diag(p) - outer(p, p)) @ A",
    ),
    "softmax by exps": (
        "(ops.exp(A @ x) / ops.exp(A @ x).sum()).T @ y", "x",
        "p = softmax(A @ x)\nA.T @ (p * y - (p @ y) * p)",
    ),
    "chain of tanh": (
        "ops.tanh(A @ ops.tanh(B @ x))", "x jacobian",
        "g = tanh(B @ x)\ndiag(1 - tanh(A @ g) ** 2) @ A @ diag(1 - g ** 2) @ B",
    ),
    "A x (y'x)": ("A @ x * (y.T @ x)", "x jacobian", "outer(A @ x, y) + y @ x * A"),
    "cross entropy by softmax": (
        "-(ops.log(ops.softmax(X @ W)) * U).sum()", "W",
        "X.T @ (sum(U, axis=1)[:, None] * softmax(X @ W) - U)",
    ),
    "trace of inverses": (
        "tr(ops.inv(A + lam * ops.eye(N)) @ B)", "lam",
        "G = inv(A + lam * eye(n))\n-trace(G @ B @ G)",
    ),
    "product of elements": ("ops.prod(x)", "x", "prod(x) / x"),
    "spectral norm squared": (
        "ops.norm(A, 2) ** 2", "A", "2 * norm(A, 2) * outer(svd(A)[0][:, 0], svd(A)[2][0])",
    ),
    "power of a power": ("(x ** y).sum()", "x", "y * x ** (y - 1)"),
    "triangle": ("(ops.triu(A) * B).sum()", "A", "triu(B)"),
    "sum of eigenvalues": ("ops.eigvalsh(A @ A.T).sum()", "A", "2 * A"),
    "form of exps": (
        "ops.exp(x).T @ A @ ops.exp(x)", "x", "exp(x) * ((A + A.T) @ exp(x))",
    ),
    "jacobian softmax times y": (
        "ops.softmax(x, axis=0) * y", "x jacobian",
        "g = y * softmax(x)\ndiag(g) - outer(g, softmax(x))",
    ),
    "jacobian of a clipped layer": (
        "ops.clip(A @ x, 0.0, 1.0)", "x jacobian",
        "g = A @ x\ndiag((g > 0) * (g < 1)) @ A",
    ),
    "hessian of log of a form": (
        "ops.log(x.T @ A @ x)", "x hessian",
        "g = x @ A @ x\np = (A + A.T) @ x\n(A + A.T) / g - outer(p, p) / g ** 2",
    ),
    "hessian of a bell": (
        "ops.exp(-0.5 * (x.T @ A @ x))", "x hessian",
        "g = exp(-0.5 * (x @ A @ x))\np = (A + A.T) @ x\n"
        "g * (0.25 * outer(p, p) - 0.5 * (A + A.T))",
    ),
    "hessian of x'x y'x": (
        "(x.T @ x) * (y.T @ x)", "x hessian",
        "2 * (y @ x * eye(n) + outer(x, y) + outer(y, x))",
    ),
    "attention, all keys": (
        "(ops.softmax(Q @ K.T) @ R).sum()", "K",
        "P = softmax(Q @ K.T)\n(P * (sum(R, axis=1) - (P @ sum(R, axis=1))[:, None])).T @ Q",
    ),
    "trace of a softmax": (
        "tr(A.T * ops.softmax(B))", "B",
        "P = softmax(B)\nP * (eye(n) * A - diagonal(A * P)[:, None])",
    ),
    "logistic by hand": ("ops.log(1.0 + ops.exp(-(y.T @ x)))", "x", "-sigmoid(-y @ x) * y"),
    "standard deviation": ("ops.std(x)", "x", "(x - mean(x)) / (n * std(x))"),
}  # fmt: skip
