"""The floors of the library: docs/architecture.md shows what the imports say, without a circle, no arrow up."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from workflow import ROOT

LIBRARY = ROOT / "scripts" / "archloop"
BESIDE = "beside the packages"
MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts)


def imported(path: Path) -> set[str]:
    """Return the modules of the library that one imports, in functions too."""
    known, found = {name_of(each) for each in MODULES}, set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & known


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else BESIDE


def floors() -> dict[str, int]:
    """Return package -> floor: one above the highest that it imports."""
    below: dict[str, set[str]] = {}
    for path in MODULES:
        package = package_of(name_of(path))
        below.setdefault(package, set()).update({package_of(each) for each in imported(path)} - {package})
    found: dict[str, int] = {}
    for package in TopologicalSorter(below).static_order():  # raises CycleError where there is a circle
        found[package] = 1 + max((found[each] for each in below[package]), default=-1)
    return found


def test_no_module_imports_itself_through_others():
    TopologicalSorter({name_of(path): imported(path) for path in MODULES}).prepare()


def test_the_picture_is_what_the_imports_say():
    rows: dict[int, list[str]] = {}
    for package, floor in floors().items():
        rows.setdefault(floor, []).append(package)
    expected = [f"    {floor}  {'  '.join(sorted(rows[floor]))}" for floor in sorted(rows, reverse=True)]
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert re.findall(r"^    \d  .*$", text, re.MULTILINE) == expected


def test_the_page_names_every_module_of_every_package():
    text = (ROOT / "docs" / "architecture.md").read_text()
    told: dict[str, set[str]] = {}
    for package, modules in re.findall(r"^\| `([\w/]+)/` \|[^|]*\| ([^|]*) \|$", text, re.MULTILINE):
        told[package] = set(modules.split(", "))
    there: dict[str, set[str]] = {}
    for path in MODULES:
        there.setdefault(str(path.parent.relative_to(LIBRARY.parent)).removeprefix("archloop/"), set()).add(path.stem)
    assert told == there


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_a_package_begins_with_a_docstring_and_nothing_else(path):
    if path.parent == LIBRARY:
        pytest.skip("holds what has to be set before torch is imported")
    (only,) = ast.parse(path.read_text()).body
    assert isinstance(only, ast.Expr) and isinstance(only.value.value, str)
    assert len(path.read_text().splitlines()) <= 3
