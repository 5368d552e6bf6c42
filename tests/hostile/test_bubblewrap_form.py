"""Hostile programs in bubblewrap, where every candidate starts a server of its own, which takes seconds.

By default one program for each promise; `--all-levels` takes the first of every group, and a plain user, too.
"""

import pytest
from catalogue import GROUPS, hostile_programs

pytestmark = pytest.mark.hostile
# Writing, reading secrets, calling others, changing the machine, staying alive.
PROMISES = ("write_by_syscalls", "read_proc_environ", "tcp", "capabilities", "leave_session")


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        programs = {case.name: case for case in hostile_programs()}
        first = [next(name for name, case in programs.items() if case.group == group) for group in GROUPS]
        names = dict.fromkeys((*PROMISES, *(first if metafunc.config.getoption("--all-levels") else ())))
        metafunc.parametrize("case", [programs[name] for name in names], ids=lambda case: case.name)


def test_sandbox_holds_in_bubblewrap(bench, case):
    result = bench.run(case.name)
    assert not result["problems"], result["problems"]
    assert result["record"]["outcome"] in case.ends(bench.level), result["record"]
