"""The architecture, kept by the imports: each folder uses what is below it, never what is above.

Imports inside functions and for annotations count as well.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.support.layers import COMPILER, MAY_IMPORT, NATIVE, SESSION
from tests.support.places import ROOT


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


def part(module: str, depth: int = 0) -> str:
    """The folder or module that a module belongs to, at a depth below `staticflow`."""
    names = [*module.split(".")[1:], "", ""]
    return names[depth]


def test_the_table_names_what_there_is() -> None:
    assert set(MAY_IMPORT) == {part(module) for module in modules()}
    order = list(MAY_IMPORT)
    for folder, others in MAY_IMPORT.items():
        up = {o for o in others if order.index(o) >= order.index(folder)} - {"models"}
        assert not up, f"{folder} may import {up}, which stand above it"


def test_the_house_is_small_at_the_top() -> None:
    top = [p for p in (ROOT / "staticflow").iterdir() if p.name != "__pycache__"]
    assert len([p for p in top if p.is_dir()]) <= 12
    assert len([p for p in top if p.suffix == ".py"]) <= 4


@pytest.mark.parametrize("folder", sorted({p.parent for p in modules().values()}))
def test_each_folder_says_what_it_is(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert text and len(text) > 40


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_look_down(name: str) -> None:
    own = part(name)
    found = {other for other in imports(modules()[name]) if part(other) != own}
    bad = sorted(other for other in found if part(other) not in MAY_IMPORT[own])
    assert not bad, f"{name} imports {', '.join(bad)}"


@pytest.mark.parametrize(
    ("top", "table"),
    [("native", NATIVE), ("compiler", COMPILER), ("session", SESSION)],
    ids=["native", "compiler", "session"],
)
def test_imports_look_down_within(top: str, table: dict[str, set[str]]) -> None:
    order = list(table)
    inside = [name for name in modules() if part(name) == top and part(name, 1)]
    assert {part(name, 1) for name in inside} == set(table)
    for name in inside:
        own = part(name, 1)
        found = {part(o, 1) for o in imports(modules()[name]) if part(o) == top and part(o, 1)}
        bad = found - table[own] - {own}
        assert not bad, f"{name} imports {top}'s {', '.join(sorted(bad))}"
        assert all(order.index(other) < order.index(own) for other in table[own])


def test_no_module_imports_itself_in_a_circle() -> None:
    """However far around. Faces are left out: they only name what others define."""
    faces = {"staticflow", "staticflow.compiler"}
    graph = {name: imports(path) & set(modules()) - faces for name, path in modules().items()}
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
        if name not in faces:
            visit(name)


INSIDE = sorted(n for n in modules() if part(n) not in {"", "models", "cli", "__main__"})


@pytest.mark.parametrize("name", INSIDE)
def test_nobody_inside_imports_the_face(name: str) -> None:
    """`from staticflow import ops` runs the face, which imports everything that users may need."""
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        face = isinstance(node, ast.ImportFrom) and node.module == "staticflow"
        face |= isinstance(node, ast.Import) and "staticflow" in {a.name for a in node.names}
        assert not face, f"{name} imports the face in line {node.lineno}"


COMPILERS = sorted(
    n for n in modules() if part(n) == "compiler" and part(n, 1) not in {"", "formula"}
)


@pytest.mark.parametrize("name", COMPILERS)
def test_the_compiler_knows_no_op(name: str) -> None:
    found = [other for other in imports(modules()[name]) if part(other) == "ops"]
    assert not found, f"{name} must do with the kinds of ops, but imports {', '.join(found)}"


@pytest.mark.parametrize("name", sorted(n for n in modules() if part(n) == "models"))
def test_models_use_the_public_api(name: str) -> None:
    """The public names, and of what lies inside: how parameters are declared, what files say of
    who wrote them and how tensors are read, and what names of other libraries are told.
    """
    inside = {
        "staticflow.graph.declare",
        "staticflow.graph.foreign_names",
        "staticflow.session.files.file_version",
        "staticflow.session.files.tensor_file",
    }
    found = {o for o in imports(modules()[name]) if part(o) in {"graph", "session"}}
    assert found <= inside, f"{name} imports {sorted(found - inside)}"
