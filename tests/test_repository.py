"""The rules that the repository keeps about itself."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "tallystick"
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+]+)")
CONFORMANCE = ROOT / "tests" / "conformance"
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()


def test_constraints_are_names_and_versions_only() -> None:
    """A line of constraints.txt names a package and its version, never a host, a path or a hash."""
    assert [] == [line for line in CONSTRAINTS if not PIN.fullmatch(line)]


def test_no_lock_file_names_a_download_host() -> None:
    """Whatever lock file is added one day, it names no address."""
    locks = [
        path
        for pattern in ("*.lock", "*lock.json", "*lock.toml", "*requirements*.txt", "constraints*.txt")
        for folder in (ROOT, CONFORMANCE)
        for path in folder.glob(pattern)
    ]
    assert {ROOT / "constraints.txt", CONFORMANCE / "package-lock.json"} <= set(locks)
    assert [] == [path.name for path in locks if "://" in path.read_text()]


def test_every_dependency_is_pinned_within_its_range() -> None:
    """Every package that pyproject.toml names has a version in constraints.txt that its range admits."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    pins = {canonicalize_name(pin["name"]): pin["version"] for pin in map(PIN.fullmatch, CONSTRAINTS) if pin}

    loose = []
    for requirement in map(Requirement, named):
        pin = pins.get(canonicalize_name(requirement.name))
        if requirement.url or pin is None or pin not in requirement.specifier:
            loose.append(str(requirement))
    assert [] == loose


def test_every_package_of_npm_is_pinned() -> None:
    """Those that are named have exact versions, and the lock file has a digest of each, and of what they bring along."""
    named = json.loads((CONFORMANCE / "package.json").read_text())
    versions = named["dependencies"] | named["optionalDependencies"]
    lock = json.loads((CONFORMANCE / "package-lock.json").read_text())["packages"]
    assert versions == {name: lock[f"node_modules/{name}"]["version"] for name in versions}
    assert [""] == [path for path, package in lock.items() if "integrity" not in package]


def test_imports_go_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import contracts of pyproject.toml are kept."""
    monkeypatch.chdir(ROOT)
    assert EXIT_STATUS_SUCCESS == lint_imports(no_cache=True)


def test_the_core_needs_the_standard_library_only() -> None:
    """The core imports itself and what Python brings, nothing else."""
    imported = {module for path in (PACKAGE / "core").rglob("*.py") for module in _imports(path)}
    own = {module for module in imported if f"{module}.".startswith("tallystick.core.")}
    assert own, "no imports were found at all"
    assert set() == {
        module for module in imported - own if module.split(".")[0] not in sys.stdlib_module_names
    }


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """Economy files, migrations and the typing marker are installed with the code."""
    build: list[str | Path] = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        tmp_path,
    ]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("tallystick/")}

    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {path.relative_to(PACKAGE.parent).as_posix() for path in files} == packed
    assert "tallystick/py.typed" in packed


def _imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports, at its top or anywhere else."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level or None]
            prefix = ".".join(parents) if node.level else ""
            modules.add(".".join(filter(None, [prefix, node.module])))
    return modules
