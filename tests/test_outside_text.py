"""What comes from outside as text or numbers, in whatever way it was saved, and what leaves as numbers."""

import shutil
import subprocess
import sys

import pytest

from archloop.families import programs
from archloop.generation.prompts import Task, read_hints, read_template, write_prompt
from archloop.workflow.code_digest import code_digest

TASK = Task("digits", channels=1, size=32, classes=10, epochs=1, parameter_budget=1000)


def resaved(data: bytes, coding: str) -> bytes:
    return data.decode().replace("\n", "\r\n").encode(coding)


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_a_template_saved_by_another_editor_gives_the_same_prompts(root, tmp_path, coding):
    plain = root / "config" / "prompts" / "design.md.j2"
    (tmp_path / "design.md.j2").write_bytes(resaved(plain.read_bytes(), coding))
    prompts = [write_prompt(read_template(path), TASK, "Hint.", []) for path in (plain, tmp_path / "design.md.j2")]
    assert prompts[0] == prompts[1] and prompts[0].startswith("Design a ")


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_hints_saved_by_another_editor_are_the_same_hints(root, tmp_path, coding):
    plain = root / "config" / "prompts" / "hints.yaml"
    (tmp_path / "hints.yaml").write_bytes(resaved(plain.read_bytes(), coding))
    assert read_hints(tmp_path / "hints.yaml") == read_hints(plain)


def test_a_script_saved_with_a_byte_order_mark_has_the_same_digest(root, tmp_path):
    shutil.copytree(root / "scripts" / "archloop", tmp_path / "archloop", ignore=shutil.ignore_patterns("__pycache__"))
    plain = (root / "scripts" / "admit.py").read_bytes()
    digests = []
    for data in (plain, resaved(plain, "utf-8-sig")):
        (tmp_path / "admit.py").write_bytes(data)
        digests.append(code_digest(tmp_path / "admit.py"))
    assert digests[0] == digests[1]


def test_a_family_saved_with_a_byte_order_mark_gives_the_same_programs(tmp_path, monkeypatch):
    variant = {axis: values[0] for axis, values in programs.AXES.items()}
    plain = programs.render("plain", variant)
    shutil.copytree(programs.FOLDER, tmp_path / "families")
    for path in (tmp_path / "families").iterdir():
        path.write_bytes(resaved(path.read_bytes(), "utf-8-sig"))
    monkeypatch.setattr(programs, "FOLDER", tmp_path / "families")
    assert programs.render("plain", variant) == plain


SAYS = """
import sys
sys.path.insert(0, sys.argv[1])
from archloop.logs import get_logger, start_logging
start_logging(sys.argv[2])
get_logger("test").error("%s: broken", sys.argv[3])
"""


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_line_about_a_name_that_is_no_utf8_reaches_terminal_and_log(root, tmp_path, locale):
    command = [sys.executable, "-c", SAYS, str(root / "scripts"), str(tmp_path / "log"), b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, text=True, env={"LC_ALL": locale})
    assert done.stderr == "    caf\\udce9: broken\n"
    assert "caf\\udce9: broken" in (tmp_path / "log").read_text()
