"""A matrix product whose result goes through a few operations before it is stored.

    C = A @ B                                  z = x @ w
    C = f(C, matrices, lines), sums += C       h = relu(z + b)

What the operations read beside C lies in matrices of its shape, in lines of a value for each
column, or is a single value; what they leave is C, other such matrices, and sums over the rows. A
tile does them on its registers (`gemm.epilogue_text.Tile` says which), which saves a pass over the
memory of C. Only the ways of `gemm.tile` with the whole of k in one piece and `gemm.swapped` know
how: all other products are made by the general function, and a kernel over memory follows them.

With k up to 32, a pass over C in memory takes a third of the product's time and more; in the tiles
it takes a tenth. A full-batch step of 4-32-16-4 with tanh takes 9 % less time for it, one of
16-64-64-1 with relu and batch 32 takes 5 % less (medians of alternating runs, Zen 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llvmlite import ir

from staticflow.native.gemm import epilogue_text as tile_text
from staticflow.native.gemm.blocked import copying_pays
from staticflow.native.gemm.builder import I64, POINTER, Code, Value, Values, number
from staticflow.native.gemm.epilogue_text import (
    LINE,
    MATRIX,
    SINGLE,
    SPARE,
    SUM,
    Number,
    Tile,
    Variable,
    VectorValue,
)
from staticflow.native.gemm.packing import pack
from staticflow.native.gemm.prepacked import SPARE_ROWS, WIDEST, panel_width
from staticflow.native.gemm.scratch import HALF_BYTES
from staticflow.native.gemm.skinny import quads_pay
from staticflow.native.gemm.swapped import flip_pays, flipped, flipped_vectors
from staticflow.native.gemm.tile import columns, tile_heights

DEPTH = 1024  # of k: beyond it, the general product takes it in slabs
ROWS = 1 << 14  # with sums over them, which add up tile by tile: the kernel has blocks for more
ARGUMENTS = "m n k a a_row a_col b b_row b_col c c_row work stop"
COLUMNS = ("a b c", "a_row a_col b_row c_row k accumulate m n")  # pointers, integers
FLIPPED = ("a b c work", "a_row a_col b_row b_col c_row k accumulate m n")
LIBERTIES = ("contract", "nsz", "reassoc")


class EpilogueCode:
    """The operations on a tile, as code; and how its pointers move along with C's."""

    def __init__(self, code: Code, tile: Tile) -> None:
        self.code = code
        self.tile = tile
        self.words = " ".join(tile.others)

    def right(self, x: Values, distance: Value) -> Values:
        """The pointers `distance` bytes of columns further."""
        fixed = (*self.tile.of_role(SINGLE), *self.tile.of_role(SPARE))
        return {p: x[p] if p in fixed else self.code.move(x[p], distance)
                for p in self.tile.others}  # fmt: skip

    def down(self, x: Values, distance: Value) -> Values:
        """The pointers `distance` bytes of rows further."""
        moving = self.tile.of_role(MATRIX)
        return {p: self.code.move(x[p], distance) if p in moving else x[p]
                for p in self.tile.others}  # fmt: skip

    def store(
        self, x: Values, values: list[Value], masks: list[Value | None], first: Values
    ) -> None:
        """Finish and store a tile, whose rows are `len(masks)` vectors wide each.

        `first` has the addresses of its corner in C and in the matrices, as `c` and by name.
        """
        code, tile = self.code, self.tile
        width = len(masks)
        column = {
            (p, v): code.load(code.move(x[p], v * code.vector_bytes), mask)
            for p in tile.of_role(LINE)
            for v, mask in enumerate(masks)
        }
        single = {p: code.broadcast(x[p]) for p in tile.of_role(SINGLE)}
        sums: dict[tuple[str, int], Value] = {}
        row = {p: first[p] for p in tile.of_role(MATRIX)} | {tile.own: first["c"]}
        for r in range(len(values) // width):
            if r:
                row = {p: code.move(place, x["c_row"]) for p, place in row.items()}
            for v, mask in enumerate(masks):
                self._element(row, column, single, sums, values[r * width + v], v, mask)
        for (p, v), total in sums.items():
            place = code.move(x[p], v * code.vector_bytes)
            code.store(code.b.fadd(code.load(place, masks[v]), total), place, masks[v])

    def _element(
        self,
        row: Values,
        column: Mapping[tuple[str, int], Value],
        single: Values,
        sums: dict[tuple[str, int], Value],
        value: Value,
        v: int,
        mask: Value | None,
    ) -> None:
        """One vector: what is loaded for it, what is computed, what is stored."""
        code, tile = self.code, self.tile
        names: Values = {}
        places = {p: code.move(place, v * code.vector_bytes) if v else place
                  for p, place in row.items()}  # fmt: skip
        for name, p in tile.loads:
            if p == tile.own:
                names[name] = value
            elif p in places:
                names[name] = code.load(places[p], mask)
            else:
                names[name] = single[p] if p in single else column[p, v]
        for let in tile.lets:
            names[let.name] = evaluate(code, let.value, names)
        for p, name in tile.stores:
            if p in places:
                code.store(names[name], places[p], mask)
            else:
                before = sums.get((p, v))
                added = names[name] if before is None else code.b.fadd(before, names[name])
                sums[p, v] = added


def evaluate(code: Code, value: VectorValue, names: Values) -> Value:
    """A value as vectors, of those that have names."""
    if isinstance(value, Variable):
        return names[value.name]
    if isinstance(value, Number):
        return ir.Constant(code.vector, [value.value] * code.lanes)
    parts = [evaluate(code, part, names) for part in value.parts]
    b = code.b
    match value.name:
        case "+" | "-" | "*" | "/":
            make = {"+": b.fadd, "-": b.fsub, "*": b.fmul, "/": b.fdiv}[value.name]
            return make(*parts, flags=LIBERTIES)
        case tile_text.NEGATE:
            return b.fneg(*parts)
        case tile_text.CHOOSE:
            return b.select(*parts)
        case "abs":
            return code.intrinsic(f"llvm.fabs.{code.overload}", code.vector, *parts)
        case "min" | "max":
            first, second = parts
            chosen = _compare(code, "<" if value.name == "min" else ">", second, first)
            return b.select(chosen, second, first)
    return _compare(code, value.name, *parts)


def _compare(code: Code, sign: str, left: Value, right: Value) -> Value:
    test = code.b.fcmp_unordered if sign == "!=" else code.b.fcmp_ordered
    return test(sign, left, right)


def finish_ir(
    dtype: str, vector_bytes: int, tile: Tile, symbols: Mapping[str, str], most: int
) -> str:
    """LLVM IR of a module with one external function: a product, then `tile`.

    Its arguments are those of `products.product` but for the flag to add, and the pointers beside
    C's. `symbols` names the function, the general product and the kernel for what it does not do
    itself: `function`, `product`, `kernel`. Beyond `most` multiplications is such a case: the
    general product can be stopped half-way.
    """
    code = Code(dtype, vector_bytes)
    epilogue = EpilogueCode(code, tile)
    heights = _fewer(tile_heights(vector_bytes))
    pack(code, max(heights))
    columns(code, heights, epilogue)
    flipped(code, epilogue)
    _entry(code, epilogue, max(heights), symbols, most)
    return str(code.module)


def _fewer(heights: dict[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Tiles that take a fifth less time to compile: narrow strips have few rows in few tiles."""
    widest = max(heights)
    return {w: tall if w == widest else (tall[0], 4, 1) for w, tall in heights.items()}


def _entry(
    code: Code, epilogue: EpilogueCode, vectors: int, symbols: Mapping[str, str], most: int
) -> None:
    x = code.function(symbols["function"], "", f"{ARGUMENTS} {epilogue.words}", external=True)
    given = dict(x)
    pointers = ("a", "b", "c", "work", *epilogue.tile.others)
    x |= {word: code.b.inttoptr(x[word], POINTER) for word in pointers}
    strides = ("a_row", "a_col", "b_row", "b_col", "c_row")
    x |= {word: code.mul(x[word], code.size) for word in strides}
    x["accumulate"] = number(0)
    usual = code.all(*(code.is_(x[word], ">", 1) for word in "mn"), _is_one_piece(code, x, most))
    if epilogue.tile.of_role(SUM):
        usual = code.all(usual, code.is_(x["m"], "<=", ROWS))
    code.cases(
        (usual, lambda: _choose(code, epilogue, x, given, vectors, symbols)),
        (None, lambda: _otherwise(code, epilogue, given, symbols)),
    )
    code.b.ret_void()


def _is_one_piece(code: Code, x: Values, most: int) -> Value:
    """Whether the tiles take k at once, and not for long."""
    short = code.is_(code.mul(code.mul(x["m"], x["n"]), x["k"]), "<=", most)
    not_narrow = code.b.not_(quads_pay(code, x))
    return code.all(code.is_(x["k"], ">", 0), code.is_(x["k"], "<=", DEPTH), short, not_narrow)


def _choose(
    code: Code,
    epilogue: EpilogueCode,
    x: Values,
    given: Values,
    vectors: int,
    symbols: Mapping[str, str],
) -> None:
    rows = flipped_vectors(code) * code.lanes
    straight = code.is_(x["b_col"], "==", code.size)
    turned, flip = code.b.not_(straight), flip_pays(code, x)
    in_place = code.all(straight, code.b.not_(copying_pays(code, x)))
    flips = code.all(turned, flip, code.is_(code.b.urem(x["m"], number(rows)), "==", 0))
    elements = code.mul(code.add(x["k"], SPARE_ROWS), code.add(x["n"], WIDEST))
    fits = code.is_(code.mul(elements, code.size), "<=", HALF_BYTES)
    turns = code.all(turned, code.b.not_(flip), fits)
    step = number(vectors * code.vector_bytes)
    code.cases(
        (in_place, lambda: _call(code, epilogue, x, "columns", COLUMNS, step)),
        (flips, lambda: _call(code, epilogue, x, "flipped", FLIPPED)),
        (turns, lambda: _turned(code, epilogue, x, vectors)),
        (None, lambda: _otherwise(code, epilogue, given, symbols)),
    )


def _clear(code: Code, epilogue: EpilogueCode, x: Values) -> None:
    """Set the sums to zero."""
    for p in epilogue.tile.of_role(SUM):

        def vector(j: Value, count: Value, p: str = p) -> None:
            code.store(code.zero, code.move(x[p], code.mul(j, code.size)), code.mask(count))

        code.blocks(x["n"], code.lanes, vector)


def _call(
    code: Code, epilogue: EpilogueCode, x: Values, name: str, words: tuple[str, str], *last: Value
) -> None:
    """Clear the sums and call a function of this module, with the pointers beside C."""
    _clear(code, epilogue, x)
    pointers, integers = (part.split() for part in words)
    named = [*pointers, *epilogue.tile.others, *integers]
    code.call(name, *[x[word] for word in named], *last)


def _turned(code: Code, epilogue: EpilogueCode, x: Values, vectors: int) -> None:
    """Copy B into panels, then the tiles."""
    width = panel_width(code, x["n"], vectors)
    row = code.mul(width, code.size)
    code.call("pack", x["b"], x["work"], x["b_row"], x["b_col"], x["k"], x["n"], width)
    panels = {"b": x["work"], "b_row": row}
    _call(code, epilogue, x | panels, "columns", COLUMNS, code.mul(x["k"], row))


def _otherwise(
    code: Code, epilogue: EpilogueCode, given: Values, symbols: Mapping[str, str]
) -> None:
    """The general product, then the kernel over memory."""
    words = ARGUMENTS.split()
    values: list[Any] = [given[word] for word in words]
    place = words.index("work")
    _call_external(code, symbols["product"], [*values[:place], number(0), *values[place:]])
    own = epilogue.tile.own
    pointers = [given["c" if p == own else p] for p, _ in epilogue.tile.pointers]
    _call_external(code, symbols["kernel"], [*pointers, given["n"], given["m"]])


def _call_external(code: Code, symbol: str, arguments: list[Value]) -> None:
    function = code.module.globals.get(symbol)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(arguments))
        function = ir.Function(code.module, kind, symbol)
    code.b.call(function, arguments)
