"""The architecture, kept by the imports: each layer uses what is below it, never what is above.

Imports inside functions and imports for annotations count as all others.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the bottom up. A name is a module or package of `staticflow`; "" is `staticflow` itself.
LAYERS: dict[str, set[str]] = {
    "values and machine": {
        "errors", "init", "native", "plot", "failures", "files", "streams", "file_version",
        "file_errors", "tensor_file",
    },
    "graph": {
        "access", "operators", "node", "kinds", "leaves", "traversal", "op_table", "declare",
        "rewriting", "bodies", "recurrence", "branching", "graph_text", "states", "structure",
        "copying", "dims", "types", "dim_text", "field_types", "require",
    },
    "vocabulary": {"ops"},
    "loops, and derivatives": {
        "custom", "carries", "gates", "scan", "segments", "control", "accumulate", "scan_rules",
        "branch_rules", "differentiate", "jacobians", "ties", "interpret", "checks",
    },
    "graph to graph": {
        "generalise", "simplify", "lift", "hoist", "loop_passes", "merge_scans", "drop_unused",
        "constant_carries", "narrow", "assembled",
    },
    "graphs for people": {"formula", "op_page"},
    "graph to loops": {
        "buffers", "compile", "compiler", "cost", "defer", "donate", "driver_tables", "driver_text",
        "early", "emit", "emit_calls", "emit_parts", "far", "finish", "fuse", "kernel_rows",
        "kernel_text", "layout", "long_sums", "loops", "lower", "memory", "nest", "order",
        "pipeline", "placement", "prepack", "prepare", "recompute", "row_blocks", "row_chains",
        "row_halves", "schedule", "scheduler", "shard_rules", "sharing", "size_guards", "takeover",
        "verify", "widen",
    },
    "graphs and optimizers as data": {
        "learning_rates", "optimizer", "optim", "vocabulary", "serialise",
    },
    "programs": {
        "program", "program_units", "printed", "module_main", "module_source", "program_table",
        "blocking", "reentrant", "fast_call", "runner",
        "index_checks", "feeds", "parameters", "jit_function",
    },
    "training": {
        "step_programs", "training", "training_main", "shard_memory", "step_time",
        "numerics", "history", "progress", "owned", "partials", "slots", "trained", "row_means",
    },
    "session": {
        "session_graph", "session_state", "session_steps", "session", "fetching", "batches",
        "evaluate", "fitting", "report", "profile", "embed", "stateless", "checkpoint", "decode",
        "restore", "replicas", "live", "nan_guard", "nan_labels",
    },
    "public": {""},
    "models": {"models"},
    "command line": {"data", "cli", "__main__"},
}  # fmt: skip


def module_name(path: Path) -> str:
    """`staticflow.ops.views` for ops/views.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "staticflow":
        parts = ("staticflow", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """Every module by name, `ops` and `models` by their real place."""
    own = [p for p in (ROOT / "staticflow").rglob("*.py") if p.resolve() == p]
    rest = [p for folder in ("ops", "models") for p in (ROOT / folder).rglob("*.py")]
    return {module_name(path): path for path in (*own, *rest)}


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules of staticflow that a file imports, also inside functions and for annotations."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in modules() else str(node.module) for name in whole)
    return frozenset(name for name in found if name.split(".")[0] == "staticflow")


def part(module: str) -> str:
    """The name under which a module stands in LAYERS."""
    return module.removeprefix("staticflow").removeprefix(".").split(".")[0]


def layer(module: str) -> int:
    for rank, names in enumerate(LAYERS.values()):
        if part(module) in names:
            return rank
    raise AssertionError(f"{module} belongs to no layer: enter it in LAYERS")


def test_every_entry_names_a_module() -> None:
    known = {part(module) for module in modules()}
    listed = [name for names in LAYERS.values() for name in names]
    assert len(listed) == len(set(listed)), "a module stands in two layers"
    assert set(listed) <= known, f"no such module: {sorted(set(listed) - known)}"


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_look_down(name: str) -> None:
    """The face also names `models`, which are written with it."""
    allowed = {"staticflow.models"} if name == "staticflow" else set()
    found = imports(modules()[name]) - allowed
    up = [other for other in found if layer(other) > layer(name)]
    assert not up, f"{name} imports {', '.join(up)}, which stands above it"


def test_no_module_imports_itself_in_a_circle() -> None:
    """However far around. The face is left out: it only names what others define."""
    graph = {
        name: imports(path) & set(modules()) - {"staticflow"} for name, path in modules().items()
    }
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for other in sorted(graph[name] - {name}):
            visit(other)
        done.add(path.pop())

    for name in graph:
        if name != "staticflow":
            visit(name)


INSIDE = sorted(n for n in modules() if part(n) not in {"", "models", "cli", "__main__"})


@pytest.mark.parametrize("name", INSIDE)
def test_nobody_inside_imports_the_face(name: str) -> None:
    """`from staticflow import ops` runs the face, which imports everything that users may need."""
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        face = isinstance(node, ast.ImportFrom) and node.module == "staticflow"
        face |= isinstance(node, ast.Import) and "staticflow" in {a.name for a in node.names}
        assert not face, f"{name} imports the face in line {node.lineno}"


@pytest.mark.parametrize(
    "name",
    sorted(n for n in modules() if part(n) in LAYERS["graph to graph"] | LAYERS["graph to loops"]),
)
def test_the_compiler_knows_no_op(name: str) -> None:
    found = [other for other in imports(modules()[name]) if part(other) == "ops"]
    assert not found, f"{name} must do with the kinds of ops, but imports {', '.join(found)}"


@pytest.mark.parametrize("name", sorted(n for n in modules() if part(n) in {"ops", "native"}))
def test_ops_and_native_stand_alone(name: str) -> None:
    """The machine layer knows no graph, and an op is declared without the compiler."""
    allowed = {"native", "errors"}
    if part(name) == "ops":
        allowed |= {"ops", "access", "node", "kinds", "leaves", "traversal", "op_table", "dims"}
        allowed |= {"types", "require", "operators", "rewriting"}
    found = {part(other) for other in imports(modules()[name])}
    assert found <= allowed, f"{name} imports {sorted(found - allowed)}"


@pytest.mark.parametrize("name", sorted(n for n in modules() if part(n) == "models"))
def test_models_use_the_public_api(name: str) -> None:
    """`staticflow` and its modules for users, the errors' layout, and what pickles say of who
    wrote them.
    """
    allowed = {"", "models", "ops", "init", "optim", "declare", "errors", "file_version"}
    found = {part(other) for other in imports(modules()[name])}
    assert found <= allowed, f"{name} imports {sorted(found - allowed)}"
