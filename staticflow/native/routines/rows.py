"""Native loops over rows whose elements depend on each other: running sums, recurrences, orders."""

from __future__ import annotations

CUMSUM = '''
def cumsum(x, y, rows, n, reverse, stop):
    """The sum of each row's elements up to each; from each on if `reverse`."""
    for r in range(rows):
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            return
        X = {t}ptr(x + r * n * {size})
        Y = {t}ptr(y + r * n * {size})
        total = {t}(0)
        for step in range(n):
            i = n - 1 - step if reverse else step
            total += X[i]
            Y[i] = total
'''

RECURRENCE = '''
def recurrence(a, b, y, rows, n, reverse, stop):
    """y[i] = a[i] y[i-1] + b[i] along each row; with y[i+1] if `reverse`."""
    for r in range(rows):
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            return
        A = {t}ptr(a + r * n * {size})
        B = {t}ptr(b + r * n * {size})
        Y = {t}ptr(y + r * n * {size})
        last = {t}(0)
        for step in range(n):
            i = n - 1 - step if reverse else step
            last = A[i] * last + B[i] if step > 0 else B[i]
            Y[i] = last
'''

ARGSORT = '''
def argsort(x, order, scratch, rows, n, descending, stop):
    """The stable order of each row, by merging runs; NaN counts as the largest."""
    for r in range(rows):
        if load_acquire(stop) != 0 and stopped(stop) != 0:
            return
        X = {t}ptr(x + r * n * {size})
        source = i8ptr(order + r * n * 8)
        target = i8ptr(scratch)
        for i in range(n):
            source[i] = i
        width = 1
        while width < n:
            for low in range(0, n, 2 * width):
                if (low & 65535) == 0 and load_acquire(stop) != 0 and stopped(stop) != 0:
                    return
                middle = min(low + width, n)
                high = min(low + 2 * width, n)
                i = low
                j = middle
                for place in range(low, high):
                    right = i >= middle
                    if not right and j < high:
                        u = X[source[j]]
                        v = X[source[i]]
                        if descending:
                            right = u > v or (u != u and v == v)
                        else:
                            right = u < v or (v != v and u == u)
                    if right:
                        target[place] = source[j]
                        j += 1
                    else:
                        target[place] = source[i]
                        i += 1
            for i in range(n):
                source[i] = target[i]
            width *= 2
'''

TURN = '''
def turn(x, y, rows, columns):
    """y[j, i] = x[i, j], with square blocks in registers unless there are but a few elements."""
    if rows * columns >= 64:
        turned(x, y, rows, columns)
        return
    X = {t}ptr(x)
    Y = {t}ptr(y)
    for i in range(rows):
        for j in range(columns):
            Y[j * rows + i] = X[i * columns + j]
'''
