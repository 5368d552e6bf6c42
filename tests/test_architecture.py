"""The floors of the library: docs/architecture.md shows what the imports say, without a circle, no arrow up."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from doc_blocks import REWRITE, check, table
from workflow import ROOT

LIBRARY = ROOT / "scripts" / "archloop"
BESIDE = "beside the packages"
RULE = re.compile(r"^ *(?:rule|use rule \w+ as) (\w+)", re.MULTILINE)
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


def as_imported(text: str) -> str:
    """Return the page with its floors and its lists of modules as they are."""
    rows: dict[int, list[str]] = {}
    for package, floor in floors().items():
        rows.setdefault(floor, []).append(package)
    picture = [f"    {floor}  {'  '.join(sorted(rows[floor]))}" for floor in sorted(rows, reverse=True)]
    text = re.sub(r"(?:^    \d  .*\n)+", "\n".join(picture) + "\n", text, count=1, flags=re.MULTILINE)

    modules: dict[str, list[str]] = {}
    for path in MODULES:
        folder = str(path.parent.relative_to(LIBRARY.parent)).removeprefix("archloop/")
        modules.setdefault(folder, []).append(path.stem)
    for folder, names in modules.items():
        row = re.compile(rf"^(\| `{folder}/` \|[^|]*\|).*$", re.MULTILINE)
        assert row.search(text), f"docs/architecture.md has no row for {folder}/"
        text = row.sub(rf"\1 {', '.join(sorted(names))} |", text)
    return text


def test_the_page_says_where_everything_is(pytestconfig):
    page = ROOT / "docs" / "architecture.md"
    expected = as_imported(page.read_text())
    if pytestconfig.getoption("--write-docs"):
        page.write_text(expected)
    assert page.read_text() == expected, "pytest tests/test_architecture.py --write-docs rewrites it"


def test_a_module_is_short_enough_to_be_read_at_once():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_a_package_begins_with_a_docstring_and_nothing_else(path):
    if path.parent == LIBRARY:
        pytest.skip("holds what has to be set before torch is imported")
    (only,) = ast.parse(path.read_text()).body
    assert isinstance(only, ast.Expr) and isinstance(only.value.value, str)
    assert len(path.read_text().splitlines()) <= 3


def test_the_page_says_which_file_a_rule_is_in(pytestconfig):
    rules = {path: RULE.findall(path.read_text()) for path in sorted((ROOT / "rules").glob("*.smk"))}
    rows = [(f"`rules/{path.name}`", ", ".join(names)) for path, names in rules.items() if names]
    check("docs/architecture.md", "rules", table(("file", "rules"), rows), pytestconfig.getoption(REWRITE))
