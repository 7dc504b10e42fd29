"""The small functions and macros that the text may need, by name; only those in use are written.

Integers wrap, and floats become the nearest integer there is, as in a session's kernels: no
operand makes the behaviour undefined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from staticflow.session.interchange.c_out.math_text import function_text
from staticflow.session.interchange.c_out.words import C_TYPES

MACROS = """\
/* x y + z in one instruction where there is one, else in two. */
#if defined(FP_FAST_FMAF) || defined(__FP_FAST_FMAF) || defined(__FMA__) || \\
    (defined(__ARM_FEATURE_FMA) && (!defined(__ARM_FP) || (__ARM_FP & 4)))
#define SF_FMA_F4(x, y, z) fmaf((x), (y), (z))
#else
#define SF_FMA_F4(x, y, z) ((x) * (y) + (z))
#endif
#if defined(FP_FAST_FMA) || defined(__FP_FAST_FMA) || defined(__FMA__) || \\
    (defined(__ARM_FEATURE_FMA) && (!defined(__ARM_FP) || (__ARM_FP & 8)))
#define SF_FMA_F8(x, y, z) fma((x), (y), (z))
#else
#define SF_FMA_F8(x, y, z) ((x) * (y) + (z))
#endif
"""
# The formulas have the products in them that may fuse; what a compiler fuses beside them would
# make their error terms wrong.
CONTRACTION = """\
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize ("fp-contract=off")
#endif
"""


def _bits(width: int, kind: str) -> dict[str, str]:
    """The bits of a float as an integer, and back."""
    return {
        f"sf_bits{width}": f"""\
static inline uint{width}_t sf_bits{width}({kind} x) {{
    uint{width}_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}}
""",
        f"sf_value{width}": f"""\
static inline {kind} sf_value{width}(uint{width}_t bits) {{
    {kind} x;
    memcpy(&x, &bits, sizeof x);
    return x;
}}
""",
    }


def _integers(suffix: str) -> dict[str, str]:
    kind, unsigned = C_TYPES[suffix], f"u{C_TYPES[suffix]}"
    lowest, highest = kind.upper().replace("_T", "_MIN"), kind.upper().replace("_T", "_MAX")
    limit = "2147483648.0" if suffix == "i4" else "9223372036854775808.0"
    return {
        f"sf_nearest_{suffix}": f"""\
static inline {kind} sf_nearest_{suffix}(double x) {{
    if (x >= {limit}) return {highest};
    if (x < -{limit}) return {lowest};
    return x == x ? ({kind})x : 0;
}}
""",
        f"sf_quotient_{suffix}": f"""\
static inline {kind} sf_quotient_{suffix}({kind} x, {kind} y) {{
    if (y == 0) return 0;
    if (y == -1) return ({kind})(0 - ({unsigned})x);
    return x / y - (x % y != 0 && (x % y < 0) != (y < 0));
}}
""",
        f"sf_rest_{suffix}": f"""\
static inline {kind} sf_rest_{suffix}({kind} x, {kind} y) {{
    if (y == 0 || y == -1) return 0;
    return x % y + ((x % y != 0 && (x % y < 0) != (y < 0)) ? y : 0);
}}
""",
    }


HELPERS: Mapping[str, str] = {
    **_bits(32, "float"),
    **_bits(64, "double"),
    **_integers("i8"),
    **_integers("i4"),
    "sf_wrap_index": """\
/* A negative index counts from the end, and none leaves the axis. */
static inline int64_t sf_wrap_index(int64_t at, int64_t extent) {
    at += at < 0 ? extent : 0;
    return at < 0 ? 0 : at >= extent ? extent - 1 : at;
}
""",
    "sf_shift_left": """\
static inline int64_t sf_shift_left(int64_t x, int64_t y) {
    return (int64_t)((uint64_t)x << (y & 63));
}
""",
    "sf_shift_right": """\
static inline int64_t sf_shift_right(int64_t x, int64_t y) {
    return x < 0 ? ~(~x >> (y & 63)) : x >> (y & 63);
}
""",
    "sf_integer_power": """\
static inline int64_t sf_integer_power(int64_t x, int64_t y) {
    uint64_t result = 1, base = (uint64_t)x;
    if (y < 0) return x == 1 ? 1 : x == -1 ? ((y & 1) ? -1 : 1) : 0;
    for (; y != 0; y >>= 1) {
        result *= (y & 1) ? base : 1;
        base *= base;
    }
    return (int64_t)result;
}
""",
}
_ORDER = tuple(HELPERS)


def helper_texts(names: Iterable[str]) -> list[str]:
    """The functions of these names, and those that they call, in an order that C takes.

    Names are those of `HELPERS`, or `exp_f4` and the like of the math functions.
    """
    wanted = set(names)
    formulas = [
        function_text(*name.rsplit("_", 1)) for name in sorted(wanted) if name not in HELPERS
    ]
    text = "\n".join(formulas)
    used = [name for name in _ORDER if name in wanted or f"{name}(" in text]
    return [*(HELPERS[name] for name in used), *formulas]
