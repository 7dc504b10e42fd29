"""Native factorisations and triangular systems of square matrices, in blocks around our product.

    cholesky     A = L L'            blocks of 32 columns; the rest of the matrix is updated by gemm
    lu           P A = L U           the same, with row exchanges
    triangular   M X = B             M is a triangle, as it stands or turned; B's rows in blocks
    lu_solve     A X = B, A' X = B   two triangular systems and the row exchange

All take addresses and sizes, loop over leading (batch) sizes, and are row-major. A matrix of up to
32 rows never leaves the first block: then no product is called, and the loops alone run. They need
no LAPACK, so they bring no threads of their own and no import of SciPy. What cannot be computed
becomes NaN (`cholesky`) or divides by zero (`triangular`), as in NumPy's arithmetic.

`{t}` is the type suffix, `{size}` the bytes of an element.
"""

from __future__ import annotations

CHOLESKY = '''
def cholesky(a, l, scratch, batch, n, work, stop):
    """The lower triangle L with L L' = A; NaN where A is not positive definite."""
    inverse = {t}ptr(scratch)
    panel = {t}ptr(scratch + 1024 * {size})
    panel_address = scratch + 1024 * {size}
    for s in range(batch):
        address = l + s * n * n * {size}
        A = {t}ptr(a + s * n * n * {size})
        L = {t}ptr(address)
        for i in range(n):
            for j in range(i + 1):
                L[i * n + j] = A[i * n + j]
        good = True
        for p in range(0, n, 32):
            if load_acquire(stop) != 0 and stopped(stop) != 0:
                return
            q = min(p + 32, n)
            wide = q - p
            for j in range(p, q):
                total = L[j * n + j]
                for c in range(j - p):
                    total -= L[j * n + p + c] * L[j * n + p + c]
                if not total > 0:
                    good = False
                root = {t}(math.sqrt(total))
                L[j * n + j] = root
                for i in range(j + 1, q):
                    value = L[i * n + j]
                    for c in range(j - p):
                        value -= L[i * n + p + c] * L[j * n + p + c]
                    L[i * n + j] = value / root
            if q < n:
                for i in range(wide):
                    for c in range(wide):
                        inverse[i * wide + c] = {t}(0)
                    inverse[i * wide + i] = {t}(1)
                    for j in range(i):
                        value = L[(p + i) * n + p + j]
                        for c in range(j + 1):
                            inverse[i * wide + c] -= value * inverse[j * wide + c]
                    pivot = L[(p + i) * n + p + i]
                    for c in range(i + 1):
                        inverse[i * wide + c] /= pivot
                gemm(n - q, wide, wide, address + (q * n + p) * {size}, n, 1,
                     scratch, 1, wide, panel_address, wide, 0, work)
                for i in range(n - q):
                    for c in range(wide):
                        value = panel[i * wide + c]
                        L[(q + i) * n + p + c] = value
                        panel[i * wide + c] = -value
                for j in range(q, n, 64):
                    gemm(n - j, min(64, n - j), wide,
                         panel_address + (j - q) * wide * {size}, wide, 1,
                         address + (j * n + p) * {size}, 1, n,
                         address + (j * n + j) * {size}, n, 1, work)
        for i in range(n):
            if not good:
                for j in range(i + 1):
                    L[i * n + j] = {t}(math.nan)
            for j in range(i + 1, n):
                L[i * n + j] = {t}(0)
'''

LU = '''
def lu(a, f, perm, sign, scratch, batch, n, work, stop):
    """L below the diagonal (its own is 1) and U, the row of A in each row, and the parity."""
    panel = {t}ptr(scratch)
    parity = {t}ptr(sign)
    for s in range(batch):
        address = f + s * n * n * {size}
        A = {t}ptr(a + s * n * n * {size})
        F = {t}ptr(address)
        order = i4ptr(perm + s * n * 4)
        for i in range(n * n):
            F[i] = A[i]
        for i in range(n):
            order[i] = i4(i)
        odd = False
        for p in range(0, n, 32):
            if load_acquire(stop) != 0 and stopped(stop) != 0:
                return
            q = min(p + 32, n)
            wide = q - p
            for j in range(p, q):
                at = j
                best = abs(F[j * n + j])
                for i in range(j + 1, n):
                    if abs(F[i * n + j]) > best:
                        best = abs(F[i * n + j])
                        at = i
                if at != j:
                    odd = not odd
                    keep = order[j]
                    order[j] = order[at]
                    order[at] = keep
                    for c in range(n):
                        value = F[j * n + c]
                        F[j * n + c] = F[at * n + c]
                        F[at * n + c] = value
                pivot = F[j * n + j]
                if pivot != 0:
                    for i in range(j + 1, n):
                        factor = F[i * n + j] / pivot
                        F[i * n + j] = factor
                        for c in range(q - j - 1):
                            F[i * n + j + 1 + c] -= factor * F[j * n + j + 1 + c]
            if q < n:
                for i in range(p + 1, q):
                    for j in range(p, i):
                        factor = F[i * n + j]
                        for c in range(n - q):
                            F[i * n + q + c] -= factor * F[j * n + q + c]
                for i in range(n - q):
                    for c in range(wide):
                        panel[i * wide + c] = -F[(q + i) * n + p + c]
                gemm(n - q, n - q, wide, scratch, wide, 1, address + (p * n + q) * {size}, n, 1,
                     address + (q * n + q) * {size}, n, 1, work)
        parity[s] = {t}(-1) if odd else {t}(1)
'''

TRIANGULAR = '''
def triangular(a, b, x, scratch, batch, n, k, lower, turned, unit, work, stop):
    """Solve M X = B for X of n rows and k columns; M is A's triangle, transposed if `turned`."""
    row = 1 if turned else n
    column = n if turned else 1
    forward = lower != turned
    negative = {t}ptr(scratch)
    for s in range(batch):
        address = x + s * n * k * {size}
        corner = a + s * n * n * {size}
        A = {t}ptr(corner)
        B = {t}ptr(b + s * n * k * {size})
        X = {t}ptr(address)
        for i in range(n * k):
            X[i] = B[i]
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            return
        if k == 1:
            for step in range(n):
                i = step if forward else n - 1 - step
                if turned:
                    value = X[i] if unit else X[i] / A[i * n + i]
                    X[i] = value
                    first = i + 1 if forward else 0
                    for j in range(n - 1 - step):
                        X[first + j] -= value * A[i * n + first + j]
                else:
                    first = 0 if forward else i + 1
                    value = X[i]
                    for j in range(step):
                        value -= A[i * n + first + j] * X[first + j]
                    X[i] = value if unit else value / A[i * n + i]
        else:
            for done in range(0, n, 32):
                if load_acquire(stop) != 0 and stopped(stop) != 0:
                    return
                wide = min(32, n - done)
                p = done if forward else n - done - wide
                if done > 0:
                    first = 0 if forward else p + wide
                    gemm(wide, k, done, corner + (p * row + first * column) * {size}, row, column,
                         scratch + first * k * {size}, k, 1, address + p * k * {size}, k, 1, work)
                for step in range(wide):
                    i = p + step if forward else p + wide - 1 - step
                    first = p if forward else i + 1
                    for j in range(first, first + step):
                        factor = A[i * row + j * column]
                        for c in range(k):
                            X[i * k + c] -= factor * X[j * k + c]
                    if not unit:
                        pivot = A[i * n + i]
                        for c in range(k):
                            X[i * k + c] /= pivot
                if n > 32:
                    for i in range(p * k, (p + wide) * k):
                        negative[i] = -X[i]
'''

LU_SOLVE = '''
def lu_solve(f, perm, b, x, scratch, batch, n, k, turned, work, stop):
    """Solve A X = B, or A' X = B if `turned`, by the factors of A."""
    count = n * k
    second = scratch + count * {size}
    for s in range(batch):
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            return
        F = f + s * n * n * {size}
        order = i4ptr(perm + s * n * 4)
        B = {t}ptr(b + s * count * {size})
        X = {t}ptr(x + s * count * {size})
        if turned:
            Y = {t}ptr(second)
            triangular(F, b + s * count * {size}, second, scratch, 1, n, k, 0, 1, 0, work, stop)
            triangular(F, second, second, scratch, 1, n, k, 1, 1, 1, work, stop)
            for i in range(n):
                row = min(max(i8(order[i]), 0), n - 1)  # whoever has made the order
                for c in range(k):
                    X[row * k + c] = Y[i * k + c]
        else:
            for i in range(n):
                row = min(max(i8(order[i]), 0), n - 1)
                for c in range(k):
                    X[i * k + c] = B[row * k + c]
            address = x + s * count * {size}
            triangular(F, address, address, scratch, 1, n, k, 1, 0, 1, work, stop)
            triangular(F, address, address, scratch, 1, n, k, 0, 0, 0, work, stop)
'''

QR = '''
def qr(a, q, r, scratch, batch, m, n, stop):
    """A = Q R by reflections; Q has k = min(m, n) orthonormal columns. Signs are LAPACK's."""
    k = min(m, n)
    H = {t}ptr(scratch)
    tau = {t}ptr(scratch + m * n * {size})
    sums = {t}ptr(scratch + (m * n + k) * {size})
    for s in range(batch):
        A = {t}ptr(a + s * m * n * {size})
        Q = {t}ptr(q + s * m * k * {size})
        R = {t}ptr(r + s * k * n * {size})
        for i in range(m * n):
            H[i] = A[i]
        for j in range(k):
            if load_acquire(stop) != 0 and stopped(stop) != 0:
                return
            scale = {t}(0)
            for i in range(j + 1, m):
                scale += H[i * n + j] * H[i * n + j]
            alpha = H[j * n + j]
            tau[j] = {t}(0)
            if scale != 0:
                beta = {t}(math.sqrt(alpha * alpha + scale))
                if alpha > 0:
                    beta = -beta
                tau[j] = (beta - alpha) / beta
                H[j * n + j] = beta
                for i in range(j + 1, m):
                    H[i * n + j] /= alpha - beta
                for c in range(j + 1, n):
                    sums[c] = H[j * n + c]
                for i in range(j + 1, m):
                    factor = H[i * n + j]
                    for c in range(j + 1, n):
                        sums[c] += factor * H[i * n + c]
                for c in range(j + 1, n):
                    sums[c] *= tau[j]
                    H[j * n + c] -= sums[c]
                for i in range(j + 1, m):
                    factor = H[i * n + j]
                    for c in range(j + 1, n):
                        H[i * n + c] -= factor * sums[c]
        for i in range(k):
            for c in range(n):
                R[i * n + c] = H[i * n + c] if c >= i else {t}(0)
        for i in range(m):
            for c in range(k):
                Q[i * k + c] = {t}(1) if i == c else {t}(0)
        for step in range(k):
            if load_acquire(stop) != 0 and stopped(stop) != 0:
                return
            j = k - 1 - step
            for c in range(j, k):
                sums[c] = Q[j * k + c]
            for i in range(j + 1, m):
                factor = H[i * n + j]
                for c in range(j, k):
                    sums[c] += factor * Q[i * k + c]
            for c in range(j, k):
                sums[c] *= tau[j]
                Q[j * k + c] -= sums[c]
            for i in range(j + 1, m):
                factor = H[i * n + j]
                for c in range(j, k):
                    Q[i * k + c] -= factor * sums[c]
'''

SQUARINGS = '''
def squarings(a, times, y, scratch, batch, n, work, stop):
    """A squared `times` times: A^(2^times); by 2048, all but A = I is 0 or infinite."""
    count = i8ptr(times)
    for s in range(batch):
        A = {t}ptr(a + s * n * n * {size})
        Y = {t}ptr(y + s * n * n * {size})
        spare = {t}ptr(scratch)
        for i in range(n * n):
            Y[i] = A[i]
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            return
        for step in range(min(count[s], 2048)):
            if load_acquire(stop) != 0 and stopped(stop) != 0:
                return
            address = y + s * n * n * {size}
            gemm(n, n, n, address, n, 1, address, n, 1, scratch, n, 0, work)
            for i in range(n * n):
                Y[i] = spare[i]
'''
