"""Products whose result has so few columns that vectors along them would be mostly empty.

`quads`: rows of A are contiguous, and C has at most half as many columns as a vector has elements.
A vector is four quarters of 16 bytes (two, if it is half as long), each for one column of C:

      A, 4 of a row's k, repeated       B, 4 of k x 4 columns
      +----+----+----+----+             +----+----+----+----+
      | a  | a  | a  | a  |      *      | b0 | b1 | b2 | b3 |      sums of this row +=
      +----+----+----+----+             +----+----+----+----+

so that one multiplication takes four of k for four columns, and nothing but a repeating load is
needed for A. What is left in a quarter is added up for four rows at once, and turned:

      r0: | c0 | c1 | c2 | c3 |                        | r0 | r1 | r2 | r3 |
      ..: |    |    |    |    |     each a quarter  -> four elements of C each
      r3: | c0 | c1 | c2 | c3 |

`sideways`: columns of A are contiguous (the gradient of a narrow layer's weights, X^T dY). Then
C^T = B^T A^T has long rows: it is made in `work` and turned on its way to C.
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir

from staticflow.native.gemm.builder import I1, I32, Code, Value, Values, number
from staticflow.native.gemm.packing import transpose
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES, QUAD_COLUMNS, QUAD_ROWS
from staticflow.native.gemm.tile import apart, row_addresses

QUARTER_BYTES = 16
ROWS = QUAD_ROWS  # at a time, so that one's sums don't wait for themselves; fewer gain nothing
TURN = 120  # multiplications for which a vector of columns is turned back


class _Part:
    """Vectors of fewer elements than a code's."""

    def __init__(self, code: Code, lanes: int) -> None:
        self.code = code
        self.lanes = lanes
        self.type = ir.VectorType(code.element, lanes)
        self.zero = ir.Constant(self.type, [0.0] * lanes)
        self.name = f"v{lanes}f{8 * code.size}.p0"

    def mask(self, count: Value) -> Value:
        """The mask of the first `count` elements."""
        b, kind = self.code.b, ir.VectorType(I32, self.lanes)
        lane = ir.Constant(kind, list(range(self.lanes)))
        return b.icmp_signed("<", lane, self.code.splat(b.trunc(count, I32), kind))

    def everything(self) -> Value:
        """The mask of all elements."""
        return ir.Constant(ir.VectorType(I1, self.lanes), [1] * self.lanes)

    def load(self, address: Value, mask: Value) -> Value:
        align = ir.Constant(I32, self.code.size)
        name = f"llvm.masked.load.{self.name}"
        return self.code.intrinsic(name, self.type, address, align, mask, self.zero)

    def store(self, value: Value, address: Value, mask: Value) -> None:
        align = ir.Constant(I32, self.code.size)
        name = f"llvm.masked.store.{self.name}"
        self.code.intrinsic(name, ir.VoidType(), value, address, align, mask)

    def join(self, parts: list[Value]) -> Value:
        """One vector of its parts."""
        while len(parts) > 1:
            lanes = range(2 * parts[0].type.count)
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self.code.shuffle(x, y, lanes) for x, y in pairs]
        return parts[0]

    def repeat(self, part: Value) -> Value:
        """A vector with this part in all places."""
        lanes = [lane % self.lanes for lane in range(self.code.lanes)]
        return self.code.shuffle(part, part, lanes)

    def cut(self, vector: Value, place: int) -> Value:
        """One part of a vector."""
        first = place * self.lanes
        return self.code.shuffle(vector, vector, range(first, first + self.lanes))


class _Quads:
    """A vector as quarters along k, one for each column; and as rows of C, one after the other."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.depth = QUARTER_BYTES // code.size  # of k, in a quarter
        self.columns = code.lanes // self.depth
        self.quarter = _Part(code, self.depth)
        self.row = _Part(code, self.columns)

    def turned(self, vector: Value, rows_first: bool) -> Value:
        """Columns of quarters to rows of C, or (of B) rows to columns."""
        outer, inner = (self.depth, self.columns) if rows_first else (self.columns, self.depth)
        lanes = [column * outer + row for row in range(outer) for column in range(inner)]
        return self.code.shuffle(vector, vector, lanes)

    def totals(self, sums: list[Value]) -> Value:
        """Rows of C, one for each of the sums: what is in a quarter is added up."""
        rows = 1
        while len(sums) > 1:
            sums = [self._halved(x, y, rows) for x, y in zip(sums[::2], sums[1::2], strict=True)]
            rows *= 2
        return self.turned(sums[0], rows_first=True)

    def _halved(self, x: Value, y: Value, rows: int) -> Value:
        """In each quarter of x and y are sums for `rows` rows, the row counting fastest."""
        half = self.depth // 2
        lower = [
            quarter * self.depth + part * rows + row + source * self.code.lanes
            for quarter in range(self.columns)
            for part in range(half // rows)
            for source in (0, 1)
            for row in range(rows)
        ]
        upper = [lane + half for lane in lower]
        return self.code.b.fadd(self.code.shuffle(x, y, lower), self.code.shuffle(x, y, upper))


def quads(code: Code) -> None:
    """The function `quads`; `work` must hold a vector for each quarter's depth of k."""
    quad = _Quads(code)
    x = code.function("quads", "a b c work", "a_row b_row c_row k accumulate m n")

    def strip(j: Value, width: Value) -> None:
        along = code.mul(j, code.size)
        at = {"b": code.move(x["b"], along), "c": code.move(x["c"], along), "n": width}
        _turn_b(code, quad, x | at)
        _strip(code, quad, x | at)

    code.blocks(x["n"], quad.columns, strip)
    code.b.ret_void()


def _turn_b(code: Code, quad: _Quads, x: Values) -> None:
    """B to `work`, a vector for as many of k as a quarter holds; zeros beyond the last."""

    def group(p: Value, _: Value) -> None:
        rows = []
        for r in range(quad.depth):
            row = code.add(p, r)
            exists = code.is_(row, "<", x["k"])
            mask = quad.row.mask(code.b.select(exists, x["n"], number(0)))
            rows.append(quad.row.load(code.move(x["b"], code.mul(row, x["b_row"])), mask))
        place = code.move(x["work"], code.mul(p, code.vector_bytes // quad.depth))
        code.store(quad.turned(quad.row.join(rows), rows_first=False), place)

    code.blocks(x["k"], quad.depth, group)


def _strip(code: Code, quad: _Quads, x: Values) -> None:
    """As many columns of C as a vector has quarters, or fewer; no fewer rows than go at a time."""
    dense = code.all(
        code.is_(x["n"], "==", quad.columns),
        code.is_(x["c_row"], "==", quad.columns * code.size),
    )

    def some(i: Value) -> None:
        sums, c = _sums(code, quad, x, i), code.move(x["c"], code.mul(i, x["c_row"]))
        code.cases(
            (dense, lambda: _store_dense(code, x, sums, c)),
            (None, lambda: _store(code, quad, x, sums, c, number(0))),
        )

    i = code.steps(number(0), x["m"], ROWS, some)
    with code.when(code.is_(i, "<", x["m"])):
        first = code.sub(x["m"], ROWS)
        c = code.move(x["c"], code.mul(first, x["c_row"]))
        _store(code, quad, x, _sums(code, quad, x, first), c, code.sub(i, first))


def _sums(code: Code, quad: _Quads, x: Values, i: Value) -> list[Value]:
    """The rows of C from row i on, several in a vector."""
    a = code.move(x["a"], code.mul(i, x["a_row"]))
    thirds = apart(code, a, code.mul(x["a_row"], 3), -(-ROWS // 3))

    def step(mask: Value, state: list[Value]) -> list[Value]:
        b, bases, sums = state[0], state[1 : 1 + len(thirds)], state[1 + len(thirds) :]
        bases = [code.opaque(base) for base in bases]
        factor = code.load(b)
        for r, address in enumerate(row_addresses(code, bases, x["a_row"], ROWS)):
            repeated = quad.quarter.repeat(quad.quarter.load(address, mask))
            sums[r] = code.fma(repeated, factor, sums[r])
        moved = [code.move(base, QUARTER_BYTES) for base in bases]
        return [code.move(b, code.vector_bytes), *moved, *sums]

    state = [x["work"], *thirds, *[code.zero] * ROWS]
    whole = code.b.udiv(x["k"], number(quad.depth))
    rest = code.b.urem(x["k"], number(quad.depth))
    loop = partial(code.repeat, whole, state, partial(step, quad.quarter.everything()))
    state = code.either(code.is_(whole, ">", 0), loop, partial(list, state))
    tail = partial(step, quad.quarter.mask(rest), state)
    state = code.either(code.is_(rest, ">", 0), tail, partial(list, state))
    sums = state[1 + len(thirds) :]
    return [quad.totals(sums[r : r + quad.depth]) for r in range(0, ROWS, quad.depth)]


def _store_dense(code: Code, x: Values, sums: list[Value], c: Value) -> None:
    """C = or += the sums, where its rows follow each other."""
    places = [code.move(c, v * code.vector_bytes) for v in range(len(sums))]
    before = code.either(
        code.is_(x["accumulate"], "!=", 0),
        lambda: [code.load(place) for place in places],
        lambda: [code.zero] * len(places),
    )
    for place, new, old in zip(places, sums, before, strict=True):
        code.store(code.b.fadd(new, old), place)


def _store(
    code: Code, quad: _Quads, x: Values, sums: list[Value], c: Value, skipped: Value
) -> None:
    """C = or += the sums of rows from `c` on, but for the first rows, which are done."""
    places = apart(code, c, x["c_row"], ROWS)
    counts = [
        code.b.select(code.is_(skipped, "<=", r), x["n"], number(0)) for r in range(len(places))
    ]
    masks = [quad.row.mask(count) for count in counts]
    before = code.either(
        code.is_(x["accumulate"], "!=", 0),
        lambda: [quad.row.load(place, mask) for place, mask in zip(places, masks, strict=True)],
        lambda: [quad.row.zero] * ROWS,
    )
    for r, (place, mask, old) in enumerate(zip(places, masks, before, strict=True)):
        new = quad.row.cut(sums[r // quad.depth], r % quad.depth)
        quad.row.store(code.b.fadd(new, old), place, mask)


def quads_pay(code: Code, x: Values) -> Value:
    """Whether `quads` is possible, and wastes less than whole vectors of columns would."""
    quad = _Quads(code)
    if quad.columns < 2:
        return ir.Constant(I1, 0)
    return code.all(
        code.is_(x["a_col"], "==", code.size),
        code.is_(x["b_col"], "==", code.size),
        code.is_(x["n"], "<=", min(code.lanes // 2, QUAD_COLUMNS)),
        code.is_(x["m"], ">=", ROWS),
        code.is_(x["k"], "<=", GEMM_WORK_BYTES // code.vector_bytes * quad.depth),
    )


def sideways(code: Code, vectors: int) -> None:
    """The function `sideways`; `work` must hold C, and a strip of the tiles is `vectors` wide."""
    x = code.function("sideways", "a b c work", "a_col b_row b_col c_row k m n accumulate")
    row = code.mul(x["m"], code.size)
    words = (x["b"], x["a"], x["work"], x["b_col"], x["b_row"], x["a_col"], row)
    strip = number(vectors * code.vector_bytes)
    code.call("columns", *words, x["k"], number(0), x["n"], x["m"], strip)
    code.blocks(x["n"], code.lanes, lambda j, _: _turn(code, x, row, j))
    code.b.ret_void()


def _turn(code: Code, x: Values, row: Value, j: Value) -> None:
    """`lanes` columns of C, from column j on, out of the rows of `work`."""
    width = code.minimum(code.sub(x["n"], j), code.lanes)
    end = code.sub(x["n"], 1)
    lines = [
        code.move(x["work"], code.mul(code.minimum(code.add(j, r), end), row))
        for r in range(code.lanes)
    ]
    across = code.mask(width)
    last = code.sub(x["m"], 1)
    corner = code.move(x["c"], code.mul(j, code.size))

    def block(i: Value, count: Value) -> None:
        along, mask = code.mul(i, code.size), code.mask(count)
        rows = transpose(code, [code.load(code.move(line, along), mask) for line in lines])
        places = [
            code.move(corner, code.mul(code.minimum(code.add(i, r), last), x["c_row"]))
            for r in range(code.lanes)
        ]
        before = code.either(
            code.is_(x["accumulate"], "!=", 0),
            lambda: [code.load(place, across) for place in places],
            lambda: [code.zero] * code.lanes,
        )
        # Rows beyond the last go to the last one's place, which is stored after them: backwards.
        for place, value, old in reversed(list(zip(places, rows, before, strict=True))):
            code.store(code.b.fadd(value, old), place, across)

    code.blocks(x["m"], code.lanes, block)


def sideways_pays(code: Code, x: Values) -> Value:
    """Whether `sideways` is possible, and saves more than turning C back costs."""
    m, n, k = x["m"], x["n"], x["k"]
    up, wide = code.vectors(m), code.vectors(n)
    saved = code.mul(k, code.sub(_eighths(code, m, wide), _eighths(code, n, up)))
    return code.all(
        code.is_(x["a_row"], "==", code.size),
        code.is_(code.mul(code.mul(m, n), code.size), "<=", GEMM_WORK_BYTES),
        code.is_(saved, ">", code.mul(code.mul(up, wide), 8 * TURN)),
    )


def _eighths(code: Code, rows: Value, vectors: Value) -> Value:
    """Eighths of a multiplication for one of k; one vector alone waits for its loads."""
    alone = code.b.select(code.is_(vectors, "==", 1), number(9), number(8))
    return code.mul(code.mul(rows, vectors), alone)
