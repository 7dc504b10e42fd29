"""A compiled training step, or a compiled function, as one Python module that runs by itself.

    imports
    kernels        loop nests over pointers, the user's lines and shapes above each
    drivers        what calls them in order
    the loop       over the batches of an epoch
    main           allocates the buffers, fills the tables, trains, prints the loss

The functions are the units that Numba compiles for a session (`program_units`); `printed` is what
the module imports. On one thread, with all rows of a batch at once, it computes what the session
does, bit for bit.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence

from staticflow.compiler.codegen.driver import EpilogueText, describe
from staticflow.compiler.codegen.kernels import kernel_name, kernel_source
from staticflow.compiler.codegen.writer import SourceWriter, wrapped
from staticflow.compiler.ir.loops import Kernel
from staticflow.compiler.ir.steps import KernelStep, ProductStep, Step, walk, where_of
from staticflow.graph.leaves import Hyper
from staticflow.graph.node import Node
from staticflow.native.toolchain.syntax import parsed_statements
from staticflow.runtime.printing.module_main import outputs_main
from staticflow.runtime.program import Program

MOST_LINES_OF_USERS = 3  # above a kernel
_USAGE = """
    python FILE [DATA.npz [RESULT.npz]]

DATA.npz holds arrays by their names: inputs, and parameters to start from. What it lacks is random.
RESULT.npz gets what was computed. Numba compiles each function; the names are imported below.
"""


def module_text(title: str, functions: str, main: str) -> str:
    """The module: `functions` and `main` behind their imports."""
    body = wrapped(f"{functions}\n\n{main}")
    head = SourceWriter()
    for line in f'"""{title}\n{_USAGE}"""'.splitlines():
        head(line)
    head("")
    head("import sys")
    head("")
    head("import numpy as np")
    head("")
    head("from staticflow.runtime.printed import (")
    for name in _imported(body):
        head(f"    {name},")
    head(")")
    return f"{head.text}\n\n{body}"


def _imported(body: str) -> list[str]:
    """The names that a module's functions use and do not define."""
    own = {*vars(builtins), "np", "sys", "__name__"}
    used: set[str] = set()
    for node in parsed_statements(body):
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        local = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        if isinstance(node, ast.FunctionDef):
            own.add(node.name)
            decorators = [n for d in node.decorator_list for n in ast.walk(d)]
            used |= {n.id for n in decorators if isinstance(n, ast.Name)}
            inner = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]
            local |= {f.name for f in inner} | {a.arg for f in inner for a in f.args.args}
        else:
            own |= local
        used |= {n.id for n in names if isinstance(n.ctx, ast.Load)} - local
    return sorted(used - own)


def functions_text(programs: Sequence[Program]) -> str:
    """The kernels of some programs, each once, then their drivers."""
    drivers = [d for p in programs for d in (*p.compiled.driver.blocks, p.compiled.driver)]
    uses = _uses(programs)
    parts = []
    done: set[str] = set()
    for driver in drivers:
        for name, kernel in driver.kernels.items():
            if name not in done:
                parts.append(_kernel_text(name, kernel, uses.get(name, [])))
        for name, epilogue in driver.epilogues.items():
            if name not in done:
                parts.append(_epilogue_text(name, epilogue))
        done |= driver.kernels.keys() | driver.epilogues.keys()
    for program in programs:
        own = program.compiled.driver
        parts += [f"@part\n{block.source}" for block in own.blocks]
        parts.append(f"@driver\n{own.source}")
    return programs[0].shown("\n\n".join(parts))  # which are all of one graph


def _uses(programs: Sequence[Program]) -> dict[str, list[str]]:
    """What stands above each kernel: whose lines it computes, and what it first gets."""
    found: dict[str, list[str]] = {}
    for program in programs:
        for step in walk(program.compiled.steps):
            kernel = _kernel_of(step)
            if kernel is None:
                continue
            lines = found.setdefault(kernel_name(kernel.kernel), [*_arguments(program, kernel)])
            line = program.shown(f"{where_of(kernel)}  ->  {describe(kernel)}")
            if line not in lines and len(lines) < MOST_LINES_OF_USERS + 1:
                lines.append(line)
    return found


def _kernel_of(step: Step) -> KernelStep | None:
    if isinstance(step, KernelStep):
        return step
    if isinstance(step, ProductStep) and step.epilogue is not None:
        return step.epilogue.kernel
    return None


def _arguments(program: Program, step: KernelStep) -> Iterator[str]:
    """The arrays behind a kernel's pointers, and its sizes, as it is first called."""
    buffers = program.compiled.assignment.buffers
    pairs = zip(step.kernel.pointers, step.pointers, strict=True)
    arrays = [f"{p}: {_named(buffers[b].node)}" for (p, _), (b, _) in pairs]
    yield program.shown(", ".join(arrays))


def _named(node: Node) -> str:
    type_ = node.type
    return f"{node.name} {', '.join(map(str, type_)) if isinstance(type_, tuple) else type_}"


def _kernel_text(name: str, kernel: Kernel, comments: Iterable[str]) -> str:
    write = SourceWriter()
    for line in comments:
        write.comment(line)
    codes = [*(code for _, code in kernel.pointers), *("i8",) * len(kernel.sizes)]
    write(f'@kernel("{", ".join(codes)}")')
    return write.text + kernel_source(kernel, name)


def _epilogue_text(name: str, epilogue: EpilogueText) -> str:
    """A product that does more, whose code is made of a few statements."""
    tile = epilogue.tile
    write = SourceWriter()
    write.comment("The product C = A @ B, and with its tiles, while they are in registers:")
    write(f"{name} = epilogue(")
    write(f'    "{tile.suffix}", {epilogue.kernel}, "{tile.own}", {dict(tile.pointers)!r}, """')
    for statement in tile.statements:
        write(f"    {statement}")
    write('""")')
    return write.text


def outputs_source(program: Program, inputs: Sequence[Node], numbers: Mapping[str, int]) -> str:
    """The module that computes a program's outputs for its inputs; `numbers` as a session sets."""
    given = {node.name: node for node in inputs if not isinstance(node.op, Hyper)}
    title = "Outputs of a graph, as staticflow compiled them."
    return module_text(title, functions_text([program]), outputs_main(program, given, numbers))
