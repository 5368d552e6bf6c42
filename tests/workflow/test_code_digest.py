"""The code digest: blind to comments, layout and docstrings, awake to code that a script can reach."""

import json
import re
import subprocess
import sys

import pytest

from archloop.workflow.code_digest import FRAME, KNOWN, code_digest, reached

SCRIPT = '"""Doc."""\nfrom archloop.a import work\n\nwork(1)\n'
MODULE_A = 'def work(x):\n    """Work."""\n    from archloop import b\n    return b.twice(x)\n'
MODULE_B = "def twice(x):\n    return x * 2\n"


@pytest.fixture
def tree(tmp_path):
    package = tmp_path / "archloop"
    package.mkdir()
    (tmp_path / "s.py").write_text(SCRIPT)
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text(MODULE_A)
    (package / "b.py").write_text(MODULE_B)
    (package / "unused.py").write_text("x = 1\n")
    return tmp_path


def rewrite(path, text):
    path.write_text(text)
    return code_digest(path.parents[0] / "s.py" if path.name == "s.py" else path.parents[1] / "s.py")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("archloop/a.py", "# a comment\n" + MODULE_A),
        ("archloop/a.py", MODULE_A.replace("Work.", "Other words.")),
        ("archloop/a.py", MODULE_A.replace('    """Work."""\n', "")),
        ("archloop/b.py", "def twice(\n    x,\n):\n\n    return (x * 2)\n"),
        ("archloop/unused.py", "x = 2\n"),
        ("s.py", SCRIPT.replace("Doc.", "More.")),
    ],
)
def test_what_changes_no_code_changes_no_digest(tree, name, text):
    before = code_digest(tree / "s.py")
    assert rewrite(tree / name, text) == before


@pytest.mark.parametrize("module", ["logs", "progress"])
def test_modules_of_the_frame_do_not_count_nor_what_they_import(tree, module):
    path = tree / "archloop" / f"{module}.py"
    path.write_text("from archloop import unused\n\nWORDS = 'no'\n")
    (tree / "s.py").write_text(f"import archloop.{module}\n{SCRIPT}")
    before = code_digest(tree / "s.py")
    assert rewrite(path, "WORDS = 'another message'\n") == before


@pytest.mark.parametrize(
    "line",
    [
        "from archloop.rooms.inner import work",
        "from archloop.rooms import inner",
        "import archloop.rooms.inner",
        "import archloop.rooms.inner as other",
        "def late():\n    from archloop.rooms import inner",
        "from .archloop.rooms import inner",
        "code = 'from archloop.rooms import inner; inner.work'",
        "command = ['-m', 'archloop.rooms.inner']",
        "from archloop.door import work",  # which imports it by `from .rooms`
        "from archloop.side.door import work",  # which imports it by `from ..rooms`
    ],
)
@pytest.mark.parametrize("changed", ["__init__.py", "rooms/__init__.py", "rooms/inner.py", "rooms/progress.py"])
def test_a_change_behind_every_form_of_import_changes_the_digest(tree, line, changed):
    package = tree / "archloop"
    for name, text in {
        "rooms/__init__.py": '"""A package."""\n',
        "rooms/inner.py": "from archloop.rooms.progress import rate\n\nwork = rate\n",
        "rooms/progress.py": "rate = 1\n",
        "door.py": "from .rooms.inner import work\n",
        "side/__init__.py": "",
        "side/door.py": "from ..rooms import inner\n\nwork = inner.work\n",
    }.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(text)
    (tree / "s.py").write_text(line + "\n")
    before = code_digest(tree / "s.py")
    (package / changed).write_text((package / changed).read_text() + "MORE = 2\n")
    assert code_digest(tree / "s.py") != before


def test_what_trains_a_candidate_is_code_of_its_evaluation(root):
    names = {path.stem for path in reached(root / "scripts" / "evaluate.py")}
    assert {"fork_server", "train_candidate", "warm_up", "graph_fingerprint", "hyperparameters"} <= names


def test_every_module_of_the_frame_is_there(root):
    assert all((root / "scripts" / name).is_file() for name in FRAME)


def test_a_digest_is_the_one_that_results_hold_whatever_the_version_of_python(tree):
    assert code_digest(tree / "s.py") == "ef30f33ec3cf434c"


def test_no_stage_but_the_report_reaches_the_checks_of_the_settings(root):
    scripts = (root / "scripts").glob("*.py")
    names = {
        path.stem for path in scripts if root / "scripts" / "archloop" / "settings" / "complete.py" in reached(path)
    }
    assert names == {"verify"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("archloop/b.py", MODULE_B.replace("2", "3")),
        ("archloop/a.py", MODULE_A.replace("twice(x)", "twice(x) + 0")),
        ("archloop/__init__.py", "y = 1\n"),
        ("s.py", SCRIPT.replace("work(1)", "work(2)")),
        ("archloop/a.py", MODULE_A.replace("return", "'not a docstring'; return")),
    ],
)
def test_a_change_of_reached_code_changes_the_digest(tree, name, text):
    before = code_digest(tree / "s.py")
    assert rewrite(tree / name, text) != before


def test_the_digest_does_not_depend_on_the_place_or_the_hash_seed(root, tmp_path):
    program = "import sys; from archloop.workflow.code_digest import code_digest; print(code_digest(sys.argv[1]))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program, str(root / "scripts" / "generate.py")],
            env={"PYTHONPATH": str(root / "scripts"), "PYTHONHASHSEED": seed, "PATH": ""},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, folder in (("0", root), ("1", tmp_path))
    }
    assert len(found) == 1 and re.fullmatch("[0-9a-f]{16}\n", found.pop())


def in_a_process(tree, before=""):
    """Return the digest as a process of its own gives it, or what that process failed with."""
    code = f"from archloop.workflow import code_digest\n{before}\nprint(code_digest.code_digest(sys.argv[1]))"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}", str(tree / "s.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


NO_PARSER = "code_digest.ast.parse = None"


def test_a_module_is_parsed_once_for_all_processes(tree):
    assert "TypeError" in in_a_process(tree, NO_PARSER)
    first = in_a_process(tree)
    assert in_a_process(tree, NO_PARSER) == first

    # What another process knows is no word on other bytes, whatever the time of the file.
    (tree / "archloop" / "b.py").write_text("def twice(x):\n    return x * 3\n")
    assert in_a_process(tree) not in ("", first)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}', '{"a": {"digest": "b"}}'])
def test_a_broken_file_of_known_modules_is_made_again(tree, text):
    first = in_a_process(tree)
    (tree / KNOWN).write_text(text)
    assert in_a_process(tree) == first
    assert in_a_process(tree, NO_PARSER) == first


def test_where_nothing_can_be_written_the_digest_is_the_same(tree):
    first = in_a_process(tree)
    (tree / KNOWN).unlink()
    (tree / KNOWN.parent).rmdir()
    (tree / KNOWN.parent).write_text("no folder")
    assert in_a_process(tree) == first


def test_of_known_modules_the_latest_are_kept(tree):
    first = in_a_process(tree)
    whole = json.loads((tree / KNOWN).read_text())
    (tree / KNOWN).unlink()
    assert in_a_process(tree, "code_digest.MOST_KNOWN = 2") == first
    kept = json.loads((tree / KNOWN).read_text())
    assert len(kept) == 2 < len(whole) and kept.items() <= whole.items()
