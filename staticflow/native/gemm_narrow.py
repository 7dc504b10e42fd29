"""Products whose result has so few columns that vectors along them would be mostly empty.

`quads`: rows of A are contiguous, and C has at most as many columns as 16 bytes hold. A vector
takes a row of C in each of its quarters, so that four rows are summed at a time:

      A, 4 rows x 4 of k                B, 4 of k x 4 columns, each row repeated in all quarters
      +----+----+----+----+             +----+----+----+----+
      | a0 | a1 | a2 | a3 |             | b0 | b0 | b0 | b0 |     sums += (element p of every
      +----+----+----+----+             +----+----+----+----+             quarter, spread) * b_p

`sideways`: columns of A are contiguous (the gradient of a narrow layer's weights, X^T dY). Then
C^T = B^T A^T has long rows: it is made in `work` and turned on its way to C.
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir

from staticflow.native.gemm_code import I1, I32, Code, Value, Values, number
from staticflow.native.gemm_pack import transpose
from staticflow.native.gemm_scratch import GEMM_WORK_BYTES

GROUPS = 4  # vectors of rows at a time, so that one's sums don't wait for themselves
FEWEST_ROWS = 64
TURN = 120  # multiplications for which a vector of columns is turned back


class _Quads:
    """The quarters of a code's vectors: 16 bytes each, however many there are."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.width = 16 // code.size
        self.count = code.lanes // self.width
        self.type = ir.VectorType(code.element, self.width)
        self.zero = ir.Constant(self.type, [0.0] * self.width)
        self.name = f"v{self.width}f{8 * code.size}.p0"

    def mask(self, count: Value) -> Value:
        """The mask of the first `count` elements of a quarter."""
        b, kind = self.code.b, ir.VectorType(I32, self.width)
        lane = ir.Constant(kind, list(range(self.width)))
        return b.icmp_signed("<", lane, self.code.splat(b.trunc(count, I32), kind))

    def load(self, address: Value, mask: Value) -> Value:
        align = ir.Constant(I32, self.code.size)
        name = f"llvm.masked.load.{self.name}"
        return self.code.intrinsic(name, self.type, address, align, mask, self.zero)

    def store(self, value: Value, address: Value, mask: Value) -> None:
        align = ir.Constant(I32, self.code.size)
        name = f"llvm.masked.store.{self.name}"
        self.code.intrinsic(name, ir.VoidType(), value, address, align, mask)

    def join(self, quarters: list[Value]) -> Value:
        """One vector of its quarters."""
        while len(quarters) > 1:
            lanes = range(2 * quarters[0].type.count)
            pairs = zip(quarters[::2], quarters[1::2], strict=True)
            quarters = [self.code.shuffle(x, y, lanes) for x, y in pairs]
        return quarters[0]

    def part(self, vector: Value, quarter: int) -> Value:
        first = quarter * self.width
        return self.code.shuffle(vector, vector, range(first, first + self.width))

    def spread(self, vector: Value, element: int) -> Value:
        """In every quarter, its own `element` in all places."""
        w = self.width
        lanes = [lane // w * w + element for lane in range(self.code.lanes)]
        return self.code.shuffle(vector, vector, lanes)


def quads(code: Code) -> None:
    """The function `quads`; `work` must hold a vector for each of k, and some."""
    quad = _Quads(code)
    x = code.function("quads", "a b c work", "a_row b_row c_row k accumulate m n")
    _repeat_rows(code, quad, x)
    whole = number(quad.count * GROUPS)
    i = code.steps(number(0), x["m"], whole, partial(_rows, code, quad, x, GROUPS))
    rest = code.sub(x["m"], i)
    code.blocks(rest, quad.count, lambda j, _: _rows(code, quad, x, 1, code.add(i, j)))
    code.b.ret_void()


def _repeat_rows(code: Code, quad: _Quads, x: Values) -> None:
    """Each row of B in all quarters of a vector of `work`, and rows of zeros up to whole quads."""
    mask = quad.mask(x["n"])

    def row(p: Value) -> None:
        b = quad.load(code.move(x["b"], code.mul(p, x["b_row"])), mask)
        code.store(quad.join([b] * quad.count), _line(code, x, p))

    code.steps(number(0), x["k"], 1, row)
    for r in range(quad.width - 1):
        code.store(code.zero, _line(code, x, code.add(x["k"], r)))


def _line(code: Code, x: Values, p: Value) -> Value:
    return code.move(x["work"], code.mul(p, code.vector_bytes))


def _rows(code: Code, quad: _Quads, x: Values, groups: int, i: Value) -> None:
    """`groups` vectors of rows from row i on; those beyond the last row repeat it."""
    last = code.sub(x["m"], 1)
    rows = [code.minimum(code.add(i, r), last) for r in range(groups * quad.count)]
    lines = [code.move(x["a"], code.mul(row, x["a_row"])) for row in rows]
    everything = ir.Constant(ir.VectorType(I1, quad.width), [1] * quad.width)

    def step(mask: Value, state: list[Value]) -> list[Value]:
        b, along, *sums = state
        factors = [code.load(code.move(b, p * code.vector_bytes)) for p in range(quad.width)]
        for group in range(groups):
            own = lines[group * quad.count : (group + 1) * quad.count]
            a = quad.join([quad.load(code.move(line, along), mask) for line in own])
            for p, factor in enumerate(factors):
                sums[group] = code.fma(quad.spread(a, p), factor, sums[group])
        moved = code.move(b, quad.width * code.vector_bytes)
        return [moved, code.add(along, quad.width * code.size), *sums]

    state = [x["work"], number(0), *[code.zero] * groups]
    whole = code.b.udiv(x["k"], number(quad.width))
    rest = code.b.urem(x["k"], number(quad.width))
    loop = partial(code.repeat, whole, state, partial(step, everything))
    state = code.either(code.is_(whole, ">", 0), loop, partial(list, state))
    tail = partial(step, quad.mask(rest), state)
    sums = code.either(code.is_(rest, ">", 0), tail, partial(list, state))[2:]
    places = [code.move(x["c"], code.mul(row, x["c_row"])) for row in rows]
    _store(code, quad, x, sums, places)


def _store(code: Code, quad: _Quads, x: Values, sums: list[Value], places: list[Value]) -> None:
    """C = or += the sums, a row from each quarter; all old values are read before any is stored."""
    mask = quad.mask(x["n"])
    before = code.either(
        code.is_(x["accumulate"], "!=", 0),
        lambda: [quad.load(place, mask) for place in places],
        lambda: [quad.zero] * len(places),
    )
    for r, (place, old) in enumerate(zip(places, before, strict=True)):
        new = quad.part(sums[r // quad.count], r % quad.count)
        quad.store(code.b.fadd(new, old), place, mask)


def quads_pay(code: Code, x: Values) -> Value:
    """Whether `quads` is possible, and there are rows enough."""
    quad = _Quads(code)
    if quad.count < 2:
        return ir.Constant(I1, 0)
    return code.all(
        code.is_(x["a_col"], "==", code.size),
        code.is_(x["b_col"], "==", code.size),
        code.is_(x["n"], "<=", quad.width),
        code.is_(x["m"], ">=", FEWEST_ROWS),
        code.is_(x["k"], "<=", GEMM_WORK_BYTES // code.vector_bytes - quad.width),
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
    """Whether `sideways` is possible, and saves more vectors than turning C back costs."""
    m, n, k = x["m"], x["n"], x["k"]
    up, wide = code.vectors(m), code.vectors(n)
    saved = code.mul(k, code.sub(code.mul(m, wide), code.mul(n, up)))
    return code.all(
        code.is_(x["a_row"], "==", code.size),
        code.is_(code.mul(code.mul(m, n), code.size), "<=", GEMM_WORK_BYTES),
        code.is_(saved, ">", code.mul(code.mul(up, wide), TURN)),
    )
