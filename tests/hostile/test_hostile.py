"""The sandbox holds: hostile programs change nothing outside, and honest ones come through unharmed.

Every program is judged with the static check switched off, so that the sandbox is tested alone; what the static check
says is tested apart. The battery runs for each level of isolation, as root and as a user without privileges.
"""

import pytest
from catalogue import FOLDER, GROUPS, honest_programs, hostile_programs
from plain_user import closed_folder

from archloop.evaluation.static_checks import check_program
from archloop.outcomes import NOT_VALID

HOSTILE = hostile_programs()
HONEST = honest_programs()
each_hostile = pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
each_honest = pytest.mark.parametrize("name", HONEST)
hostile = pytest.mark.hostile


def test_there_are_many_hostile_programs():
    assert len(HOSTILE) >= 60


def test_every_group_has_programs():
    assert {case.group for case in HOSTILE} == set(GROUPS)


def test_there_are_honest_programs_of_both_kinds():
    assert len(HONEST) - sum(name.startswith("family_") for name in HONEST) >= 6
    assert sum(name.startswith("family_") for name in HONEST) == 6


@each_hostile
def test_header_expects_outcomes_that_exist(case):
    assert set(case.static) <= {"unparseable", "unsafe", "contract", "passes"}
    assert {*case.sandbox, *case.landlock} <= {*NOT_VALID, "trained"}
    assert case.tries


@each_hostile
def test_header_says_exactly_what_becomes_of_a_program_or_why_it_cannot(case):
    assert all(len(outcomes) == 1 for outcomes in (case.static, case.sandbox, case.landlock)) != bool(case.why)


@pytest.mark.parametrize("path", sorted((FOLDER / "programs").glob("*.py")), ids=lambda path: path.stem)
def test_file_is_a_program_that_compiles(path):
    compile(path.read_text(), path.name, "exec")


@each_hostile
def test_static_check_says_what_it_should(case):
    refused = check_program(case.program)
    assert (refused[0] if refused else "passes") in case.static, refused


@each_honest
def test_static_check_passes_honest_programs(name):
    assert check_program(HONEST[name]) is None


def test_closed_folder_is_the_outermost_one(tmp_path):
    inner = tmp_path / "closed" / "also" / "python"
    inner.mkdir(parents=True)
    before = closed_folder(inner)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "closed" / "also").chmod(0o700)
    assert closed_folder(inner) == (before or tmp_path / "closed")


@hostile
@each_hostile
def test_sandbox_holds_alone(bench, case):
    result = bench.run(case.name)
    assert not result["problems"], result["problems"]
    assert result["record"]["outcome"] in case.ends(bench.level), result["record"]


@hostile
@pytest.mark.parametrize("case", [case for case in HOSTILE if "passes" not in case.static], ids=lambda case: case.name)
def test_refused_program_is_not_run(bench, case):
    record = bench.refuse(case.name)["record"]
    assert record["outcome"] in case.static
    assert not record.get("log")


@hostile
@each_honest
def test_honest_program_comes_through(bench, name):
    result = bench.run_honest(name)
    assert result["record"]["outcome"] == "trained", result["record"]
    assert result["record"]["accuracy"] > 0.2
    assert not result["problems"], result["problems"]
