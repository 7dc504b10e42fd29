"""How names, numbers and functions are written as LaTeX, for `explain` and `derive` alike."""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.formula.map_rules import COMPARISONS

SIGNS = {"==": "=", "!=": r"\neq", "<=": r"\leq", ">=": r"\geq"}
PLAIN = {"det", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan", "max", "min"}
GREEK = {
    **{name: name for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta",
       "kappa", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega")},
    "lam": "lambda", "lambda_": "lambda",
}  # fmt: skip
FUNCTIONS = {
    **{name: rf"\left[{{}} {SIGNS.get(sign, sign)} {{}}\right]"
       for name, sign in COMPARISONS.items()},
    "det": r"\left|{}\right|",
    "norm": r"\left\|{}\right\|",
    "expm": r"e^{{{}}}",
    "expm_frechet": r"L\left({}, {}\right)",
    "pinv": r"\left({}\right)^{{+}}",
    "clip": r"\left[{}\right]_{{{}}}^{{{}}}",
    "where": r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
}  # fmt: skip


def called(name: str, args: Sequence[str]) -> str:
    """A function of arguments that are LaTeX already."""
    if name in FUNCTIONS:
        return FUNCTIONS[name].format(*args)
    shown = rf"\{name}" if name in PLAIN else rf"\operatorname{{{escaped(name)}}}"
    return rf"{shown}\left({', '.join(args)}\right)"


def name_latex(name: str) -> str:
    """Single letters as they are, Greek ones by name, and `W_1` and `labels` upright."""
    if name in GREEK:
        return rf"\{GREEK[name]}"
    return name if len(name) == 1 else rf"\mathrm{{{escaped(name)}}}"


def bold(shown: str) -> str:
    """Of vectors and matrices."""
    return rf"\boldsymbol{{{shown}}}"


def verbatim(code: str) -> str:
    """Python as it is."""
    return rf"\mathtt{{{escaped(code)}}}"


def escaped(name: str) -> str:
    for sign in "\\{}_#%&$":
        name = name.replace(sign, r"\backslash{}" if sign == "\\" else rf"\{sign}")
    return name.replace(" ", r"\ ")


def number_latex(text: str) -> str:
    r"""`1e-05` as 10^{-5}."""
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    power = rf"10^{{{int(exponent)}}}"
    front = {"1": "", "-1": "-"}.get(mantissa, rf"{mantissa} \times ")
    return f"{front}{power}"
