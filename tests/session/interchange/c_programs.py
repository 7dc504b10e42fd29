"""Programs of exported functions: they read all inputs, and write all outputs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from staticflow.session.interchange.c_out.text import Module
from staticflow.session.interchange.c_out.words import C_TYPES
from tests.session.interchange.c_runs import DTYPES, Array, compiled

Arrays = Mapping[str, Array]


def outputs_by_program(
    module: Module, feeds: Mapping[str, Arrays], folder: Path, compiler: str, *flags: str
) -> dict[str, dict[str, Array]]:
    """The outputs of each function, by a program that is compiled so."""
    program = compiled(module, folder, compiler, *flags, main=main_of(module))
    return outputs_of_command(module, feeds, [str(program)])


def outputs_of_command(
    module: Module, feeds: Mapping[str, Arrays], command: list[str]
) -> dict[str, dict[str, Array]]:
    """The outputs of each function, by a command that runs such a program."""
    data = b"".join(
        np.array(feeds[e.name][a.label], DTYPES[a.suffix]).tobytes()
        for e in module.entries
        for a in e.arguments
        if a.reads
    )
    run = subprocess.run(command, input=data, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()[:4000]
    out, found = run.stdout, dict[str, dict[str, Array]]()
    for entry in module.entries:
        for a in (a for a in entry.arguments if not a.reads):
            array = np.frombuffer(out, DTYPES[a.suffix], a.count).reshape(a.shape)
            out = out[array.nbytes :]
            found.setdefault(entry.name, {})[a.label] = array
    assert not out
    return found


def main_of(module: Module) -> str:
    """A program that takes memory of the exact sizes for each function, one after the other."""
    lines = ["#include <stdio.h>", "#include <stdlib.h>", f'#include "{module.name}.h"', "",
             "int main(void) {"]  # fmt: skip
    for entry in module.entries:
        lines.append("    {")
        sizes = {}
        for a in entry.arguments:
            kind = C_TYPES[a.suffix]
            sizes[a.name] = f"{a.count} * sizeof *{a.name}"
            lines.append(f"        {kind} *{a.name} = malloc({a.count} * sizeof({kind}));")
            if a.reads:
                lines.append(f"        if (fread({a.name}, 1, {sizes[a.name]}, stdin) != "
                             f"{sizes[a.name]}) return 1;")  # fmt: skip
        lines.append(f"        void *scratch = malloc({entry.scratch});")
        names = [a.name for a in entry.arguments]
        lines.append(f"        {entry.name}({', '.join([*names, 'scratch'])});")
        lines += [f"        fwrite({a.name}, 1, {sizes[a.name]}, stdout);"
                  for a in entry.arguments if not a.reads]  # fmt: skip
        lines += [f"        free({name});" for name in (*names, "scratch")]
        lines.append("    }")
    return "\n".join([*lines, "    return 0;", "}", ""])
