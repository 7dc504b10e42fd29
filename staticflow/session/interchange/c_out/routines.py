"""Native routines as C: their sources are loops over addresses and sizes, in Python for Numba.

An address is a pointer to bytes here, and what a routine is given to work in, or to look at for a
request to stop, it does without.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field

from staticflow.native.routines.table import ITEM_BYTES, ROUTINES, Lapack
from staticflow.session.interchange.c_out.expressions import Expressions, NoWords, Typed
from staticflow.session.interchange.c_out.words import C_TYPES
from staticflow.session.interchange.c_out.writer import CWriter

ADDRESS = "address"
_LEFT_OUT = ("work", "stop")
# How many of a routine's arguments are addresses, of those that others call.
_ADDRESSES = {"triangular": 4}
GEMM = """\
static void sf_gemm_{t}(int64_t m, int64_t n, int64_t k,
        const unsigned char *a, int64_t a_row, int64_t a_column,
        const unsigned char *b, int64_t b_row, int64_t b_column,
        unsigned char *c, int64_t c_row, int64_t adds) {
    const {kind} *A = (const {kind} *)(const void *)a;
    const {kind} *B = (const {kind} *)(const void *)b;
    {kind} *C = ({kind} *)(void *)c;
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            {kind} sum = adds ? C[i * c_row + j] : 0;
            for (int64_t p = 0; p < k; ++p) {
                sum += A[i * a_row + p * a_column] * B[p * b_row + j * b_column];
            }
            C[i * c_row + j] = sum;
        }
    }
}
"""
TURNED = """\
static void sf_turned_{t}(const unsigned char *x, unsigned char *y, int64_t rows,
        int64_t columns) {
    const {kind} *X = (const {kind} *)(const void *)x;
    {kind} *Y = ({kind} *)(void *)y;
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) Y[j * rows + i] = X[i * columns + j];
    }
}
"""
_OWN = {"gemm": GEMM, "turned": TURNED}


def why_not(name: str) -> str:
    """Why a routine cannot be written in C; "" if it can."""
    if name not in ROUTINES:
        return "a compiled function of the user's"
    if any(isinstance(called, Lapack) for called in ROUTINES[name].calls):
        return "the factorisation is LAPACK's"
    return ""


def routine_name(name: str, suffix: str) -> str:
    """What a routine is called in the text."""
    return f"sf_{name}_{suffix}"


def routine_texts(name: str, suffix: str, addresses: int, functions: set[str]) -> list[str]:
    """The functions for a routine, those that it calls first; enters what they need."""
    if name in _OWN:
        return [_OWN[name].replace("{t}", suffix).replace("{kind}", C_TYPES[suffix])]
    routine = ROUTINES[name]
    texts: list[str] = []
    for called in routine.calls:
        assert isinstance(called, str)
        texts += routine_texts(called, suffix, _ADDRESSES.get(called, 0), functions)
    source = routine.source.replace("{t}", suffix).replace("{size}", str(ITEM_BYTES[suffix]))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    writer = _Routine(function, suffix, addresses, functions)
    return [*texts, writer.text()]


class _Words(Expressions):
    """Expressions whose integers are sizes and places, which never leave their range."""

    def _integers(self, sign: str, left: Typed, right: Typed) -> Typed:
        return Typed(f"({left.text} {'/' if sign == '//' else sign} {right.text})", "i8")


@dataclass
class _Routine:
    """The state of translating one function."""

    function: ast.FunctionDef
    suffix: str
    addresses: int
    functions: set[str]
    write: CWriter = field(default_factory=CWriter)
    names: dict[str, Typed] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)  # types of C by name

    def __post_init__(self) -> None:
        self.expressions = _Words(self.functions)

    def text(self) -> str:
        parameters = []
        for position, argument in enumerate(self.function.args.args):
            if argument.arg in _LEFT_OUT:
                continue
            is_address = position < self.addresses
            self.names[argument.arg] = Typed(argument.arg, ADDRESS if is_address else "i8")
            kind = "unsigned char *" if is_address else "int64_t "
            parameters.append(f"{kind}{argument.arg}")
        self.write.depth = 1
        self.body(self.function.body)
        name = routine_name(self.function.name, self.suffix)
        lines = [f"    {kind}{name} = 0;" for name, kind in self.declared.items()]
        head = CWriter()
        head(f"static void {name}({', '.join(parameters)}) {{")
        return "\n".join([head.text + "\n".join(lines), f"{self.write.text}}}\n"])

    def body(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Expr(value=ast.Constant()):
                return
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=args)):
                texts = [self.value(x).text for x in args if not _is_left_out(x)]
                self.write(f"{routine_name(name, self.suffix)}({', '.join(texts)});")
            case ast.If(test=test) if "load_acquire" in ast.unparse(test):
                return
            case ast.If(test=test, body=body, orelse=orelse):
                with self.write.block(f"if ({self.value(test).text})"):
                    self.body(body)
                if orelse:
                    with self.write.block("else"):
                        self.body(orelse)
            case ast.While(test=test, body=body):
                with self.write.block(f"while ({self.value(test).text})"):
                    self.body(body)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(args=args), body=body):
                self._for(name, [self.value(x).text for x in args], body)
            case ast.Assign(targets=[target], value=value):
                self._assign(target, value)
            case ast.AugAssign(target=target, op=op, value=value):
                now = ast.BinOp(left=ast.parse(ast.unparse(target), mode="eval").body, op=op,
                                right=value)  # fmt: skip
                self._assign(target, now)
            case ast.Return(value=None):
                self.write("return;")
            case _:
                raise NoWords(ast.unparse(statement))

    def _for(self, name: str, range_: Sequence[str], body: Sequence[ast.stmt]) -> None:
        start, end = ("0", range_[0]) if len(range_) == 1 else range_[:2]
        step = f"{name} += {range_[2]}" if len(range_) == 3 else f"++{name}"
        outer = self.names.get(name)
        self.names[name] = Typed(name, "i8")
        with self.write.block(f"for (int64_t {name} = {start}; {name} < {end}; {step})"):
            self.body(body)
        if outer is None:
            del self.names[name]

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        found = self.value(value)
        if isinstance(target, ast.Name):
            type_ = {"int": "i8", "float": "f8"}.get(found.type, found.type)
            known = self.names.get(target.id)
            if known is None or target.id not in self.declared:
                self.names[target.id] = Typed(target.id, type_)
                self.declared[target.id] = _kind(type_)
            elif known.type != type_:
                found = self.expressions.cast(known.type, found)
            self.write(f"{target.id} = {found.text};")
            return
        place = self.value(target)
        self.write(f"{place.text} = {self.expressions.cast(place.type, found).text};")

    def value(self, node: ast.expr) -> Typed:
        """An expression, with addresses and elements of arrays among its parts."""
        holes = _Holes(self)
        text = ast.unparse(holes.visit(ast.parse(ast.unparse(node), mode="eval").body))
        if text in holes.found:
            return holes.found[text]
        return self.expressions.of(text, {**self.names, **holes.found})


class _Holes(ast.NodeTransformer):
    """Puts names in the places of what expressions of kernels do not have."""

    def __init__(self, routine: _Routine) -> None:
        self.routine = routine
        self.found: dict[str, Typed] = {}

    def _hole(self, value: Typed) -> ast.Name:
        name = f"hole_{len(self.found)}"
        self.found[name] = value
        return ast.Name(id=name)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        assert isinstance(node.value, ast.Name)
        array = self.routine.names[node.value.id]
        index = self.routine.value(node.slice)
        inner = index.text
        return self._hole(Typed(f"{array.text}[{inner}]", array.type.rstrip("*")))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = ast.unparse(node.func)
        if name.endswith("ptr"):
            suffix = name.removesuffix("ptr")
            inner = self.routine.value(node.args[0]).text
            text = f"({C_TYPES[suffix]} *)(void *)({inner})"
            return self._hole(Typed(text, f"{suffix}*"))
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """An address plus some bytes."""
        if isinstance(node.op, ast.Add):
            left = self.routine.value(node.left)
            if left.type == ADDRESS:
                right = self.routine.value(node.right)
                return self._hole(Typed(f"{left.text} + {right.text}", ADDRESS))
        return self.generic_visit(node)  # type: ignore[return-value]


def _kind(type_: str) -> str:
    if type_ == ADDRESS:
        return "unsigned char *"
    if type_.endswith("*"):
        return f"{C_TYPES[type_[:-1]]} *"
    return f"{C_TYPES[type_]} "


def _is_left_out(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in _LEFT_OUT
