"""The script that changes lines: what it changes, what it says of them, and that it knows every module."""

import fnmatch
import shutil
import subprocess
import sys

import pytest
from mutants import table
from mutations import mutants
from workflow import ROOT


def changes(tmp_path, text: str) -> set[str]:
    """The lines that stand in the place of a line of a module, each with one change."""
    path = tmp_path / "module.py"
    path.write_text(text + "\n")
    return {each.after for each in mutants(path, 0, 0, line=1)}


def test_every_module_has_fast_tests_or_a_reason_for_none():
    library = ROOT / "scripts" / "archloop"
    modules = {str(path.relative_to(library).with_suffix("")) for path in library.rglob("*.py")}
    tests, reasons = table()["tests"], table()["not_mutated"]
    left_out = {name for name in modules for pattern in reasons if fnmatch.fnmatch(name, pattern)}
    assert modules == set(tests) | left_out and not left_out & set(tests)
    for words in map(str.split, tests.values()):
        assert words and all((ROOT / "tests" / word).is_file() for word in words if word.endswith(".py"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("if a < b: pass", {"if a <= b: pass"}),
        ("if a is not b: pass", {"if a is b: pass"}),
        ("if ready: pass", {"if not (ready): pass"}),
        ("x = a and b", {"x = a or b"}),
        ("x = not a", {"x = a"}),
        ("x = a / b", {"x = a * b"}),
        ("x = a | b", {"x = a"}),
        ("x = 2", {"x = 3"}),
        ("x = True", {"x = False"}),
        ("x = 0.5", {"x = 0.6"}),
        ("x = a[b:]", {"x = a[:]"}),
        ("x = a.get('k')", {"x = a.get('k_x')"}),
        ("f(a, b)", {"f(b, a)", "pass"}),
        ("f(key=a)", {"f()", "pass"}),
        ("a.b = c", {"pass"}),
        ("def f(): return a", {"def f(): return None"}),
        ("raise ValueError(f'{a + 1}')", {"pass"}),
        ("logger.info('%d', 1 + 1)", set()),
        ("x: dict['k', 1] = a", set()),
    ],
)
def test_a_line_is_changed_in_these_ways(tmp_path, line, expected):
    assert changes(tmp_path, line) == expected


def test_a_sample_is_that_of_its_seed(tmp_path):
    path = ROOT / "scripts" / "archloop" / "novelty" / "graph_fingerprint.py"
    one, same, other = (mutants(path, 10, seed) for seed in (1, 1, 2))
    assert one == same != other and len(one) == len(other) == 10


TOY = """
def is_large(x):
    return x > 10


def count_down(x):
    while x:
        x -= 1
    return x
"""
TEST = """
import multiprocessing
from archloop.toy import count_down, is_large


def test_both():
    other = multiprocessing.get_context("fork").Process(target=print)  # as tests of this project start some
    other.start()
    other.join(timeout=60)
    assert is_large(20) and not is_large(2) and count_down(3) == 0
"""
FAILS_ALONE = """
from archloop.toy import *


def test_one():
    test_one.is_ready = count_down(0) == 0


def test_two():
    assert test_one.is_ready and is_large(20)
"""


def try_toy(tmp_path, tests: str, *options: str) -> subprocess.CompletedProcess:
    """Try the changes of the toy in a repository of its own."""
    for place, text in (
        ("scripts/archloop/toy.py", TOY),
        ("tests/test_toy.py", tests),
        ("tests/mutants.toml", '[tests]\ntoy = "test_toy.py"'),
        ("pyproject.toml", "[tool.pytest.ini_options]\npythonpath = ['scripts']"),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    for name in ("mutants.py", "mutations.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    here = f"import sys; sys.path.insert(0, {str(tmp_path / 'tests')!r}); import mutants"
    code = f"{here}; mutants.HEAVY = (); mutants.LEAST_S = 3; mutants.PATIENCE = 2; mutants.main()"
    return subprocess.run([sys.executable, "-B", "-c", code, "toy", *options], capture_output=True, text=True)


def test_what_no_test_notices_is_printed_and_the_repository_stays_as_it_is(tmp_path):
    done = try_toy(tmp_path, TEST, "--jobs", "2")
    survivors = [line.strip() for line in done.stdout.splitlines() if line.startswith("    +")]
    assert survivors == ["+ return x >= 10", "+ return x > 11"], done.stderr
    assert "toy: 4 of 6 noticed" in done.stdout  # an endless loop among them
    assert (tmp_path / "scripts/archloop/toy.py").read_text() == TOY
    assert not list(tmp_path.rglob("__pycache__"))


def test_tests_that_hang_on_their_order_are_named_and_notice_nothing(tmp_path):
    done = try_toy(tmp_path, FAILS_ALONE, "--line", "3")
    assert done.returncode and "noticed" not in done.stdout
    assert "toy: its tests fail without any change where those of one line go first" in done.stderr
