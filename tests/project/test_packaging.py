"""What is installed is what the checkout holds, under one name for each module."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.places import ROOT

TREE = ("staticflow", "ops", "models", "pyproject.toml", "LICENSE", "README.md")


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """What a fresh interpreter prints; `path` is searched first."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built from, for a build writes beside it."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, copy / name)
    return copy


def build(folder: Path, what: str, out: Path) -> Path:
    pytest.importorskip("setuptools", minversion="77")
    code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(out)!r}))"
    return out / python("-c", code, cwd=folder).splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def sources() -> set[str]:
    """The files of the package as they should be installed."""
    found = set()
    for folder, prefix in (("staticflow", ""), ("ops", "staticflow/"), ("models", "staticflow/")):
        for path in (ROOT / folder).rglob("*"):
            own = path.resolve() == path and path.is_file()
            if own and path.suffix in {".py", ".npz", ".txt", ".typed"}:
                found.add(prefix + path.relative_to(ROOT).as_posix())
    return found | {"staticflow/py.typed"}


def test_the_links_lead_to_the_folders() -> None:
    for name in ("ops", "models"):
        link = ROOT / "staticflow" / name
        assert link.is_symlink(), f"{link} must be a symbolic link (git config core.symlinks)"
        assert link.readlink() == Path("..") / name


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert contents(wheel) == sources()


def test_an_sdist_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(checkout, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert not (folder / "staticflow" / "ops").is_symlink()
    assert contents(build(folder, "wheel", tmp_path)) == contents(wheel)


def test_an_editable_install_leads_to_the_checkout(checkout: Path, tmp_path: Path) -> None:
    with ZipFile(build(checkout, "editable", tmp_path)) as archive:
        (link,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert archive.read(link).decode().strip() == str(checkout)


def test_an_installed_wheel_works(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    code = """
import staticflow, staticflow.models, staticflow.ops
from staticflow.data import load_digits
assert len(load_digits().labels) == 1797
print(*(m.__file__ for m in (staticflow, staticflow.ops, staticflow.models)), sep="\\n")
"""
    found = python("-c", code, cwd=tmp_path, path=site).splitlines()
    assert all(Path(name).is_relative_to(site) for name in found), found
    assert python("-m", "staticflow", "--version", cwd=tmp_path, path=site)


ONE_NAME = """
import sys
{imports}
import staticflow.graph.op_table
twice = {{}}
for name, module in sorted(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and name.split(".")[0] in ("staticflow", "ops", "models"):
        twice.setdefault(__import__("os").path.realpath(file), set()).add(id(module))
double = [file for file, modules in twice.items() if len(modules) > 1]
assert not double, double
import staticflow.ops, staticflow.models
assert staticflow.ops.relu is staticflow.graph.op_table.table()["relu"].function
print(len(staticflow.graph.op_table.table()))
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import models",
        "import ops",
        "import staticflow, models, ops",
        "from models import FNN; from staticflow.models import FNN as same; assert FNN is same",
        "import models.fnn, staticflow.models.fnn as m; assert models.fnn.FNN is m.FNN",
        "import ops.views, staticflow.ops.views as o; assert ops.views.Reshape is o.Reshape",
    ],
)
def test_a_checkout_has_one_module_for_each_file(imports: str) -> None:
    assert int(python("-c", ONE_NAME.format(imports=imports), cwd=ROOT)) > 50


def test_python_m_works_from_the_checkout() -> None:
    assert "train" in python("-m", "staticflow", "--help", cwd=ROOT)


def test_no_module_hides_a_public_name() -> None:
    """Importing the module `staticflow.x` sets the attribute `x`; no function may be called so."""
    code = """
import importlib, pkgutil, types
import staticflow
for found in pkgutil.iter_modules(staticflow.__path__):
    if found.name != "__main__":
        importlib.import_module(f"staticflow.{found.name}")
modules = {n for n in staticflow.__all__ if isinstance(getattr(staticflow, n), types.ModuleType)}
print(*sorted(modules))
"""
    assert python("-c", code, cwd=ROOT).split() == ["compiler", "init", "models", "ops", "optim"]


def test_the_import_is_light() -> None:
    """Nothing that only some users need is imported with the package."""
    code = "import sys, staticflow; print(*sys.modules)"
    loaded = set(python("-c", code, cwd=ROOT).split())
    heavy = {"matplotlib", "sklearn", "pandas", "pyarrow", "torch", "jax", "safetensors", "tqdm"}
    assert not loaded & heavy, loaded & heavy


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_import_is_declared() -> None:
    """Packages that the library imports at all are dependencies or extras."""
    entries = project()
    declared = [*entries["dependencies"]]
    for extra in ("plot", "parquet", "sklearn"):
        declared += entries["optional-dependencies"][extra]
    names = {re.split(r"[^A-Za-z0-9-]", entry)[0].replace("-", "_") for entry in declared}
    names = {{"scikit_learn": "sklearn"}.get(name, name) for name in names}
    code = "\n".join((ROOT / f).read_text(encoding="utf-8") for f in _python_files())
    used = set(re.findall(r"^\s*(?:from|import) ([a-z_A-Z0-9]+)", code, re.MULTILINE))
    own = {"staticflow", "ops", "models", "benchmarks"}
    outside = used - own - set(sys.stdlib_module_names)
    assert outside <= names, f"not declared: {sorted(outside - names)}"


def _python_files() -> list[str]:
    return [name.removeprefix("staticflow/") if name.split("/")[1] in ("ops", "models") else name
            for name in sources() if name.endswith(".py")]  # fmt: skip
