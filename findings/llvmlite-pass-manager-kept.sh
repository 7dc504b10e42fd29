#!/usr/bin/env bash
# Surprise: llvmlite never gives a new-style module pass manager back. Each one that
#   `PassBuilder.getModulePassManager()` makes stays for the life of the process, 55 to 95 kB for
#   every module that is optimised, although the object is collected and `close()` is called.
# Versions: llvmlite 0.50.0, Python 3.11 (Linux, x86-64).
# Guess that fails: the class has a `_dispose` that calls LLVM's, as every other class there has; so
#   memory levels off after a few modules.
# Why: `class ModulePassManager(ffi.ObjectRef, NewPassManager)`; `_dispose` is written in
#   `NewPassManager`, but `ObjectRef`, whose `_dispose` does nothing, comes first.
# Matters to whoever compiles many small functions in one process; Numba does as well.
# Way round: call `NewPassManager._dispose(manager)` after the last use.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet llvmlite==0.50.0
"$work/venv/bin/python" - <<'PY'
import gc
import sys

import llvmlite
import llvmlite.binding as llvm
from llvmlite.binding import ffi, newpassmanagers

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
machine = llvm.Target.from_default_triple().create_target_machine(opt=3)
TEXT = "define double @f(double %x) {\n  %y = fmul double %x, %x\n  ret double %y\n}\n"


def resident_kb() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def optimise(give_back: bool) -> None:
    module = llvm.parse_assembly(TEXT, llvm.create_context())
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    if give_back:
        newpassmanagers.NewPassManager._dispose(manager)
    manager.close()


def growth(give_back: bool, count: int = 300) -> float:
    for _ in range(30):
        optimise(give_back)
    gc.collect()
    before = resident_kb()
    for _ in range(count):
        optimise(give_back)
    gc.collect()
    return (resident_kb() - before) / count


print("llvmlite", llvmlite.__version__)
print("_dispose is the one that does nothing:",
      newpassmanagers.ModulePassManager._dispose is ffi.ObjectRef._dispose)
kept, freed = growth(False), growth(True)
print(f"kB that stay for each module: {kept:.1f} as it is, {freed:.1f} with NewPassManager._dispose")
sys.exit(0 if kept > 20 and freed < 5 else 1)
PY
