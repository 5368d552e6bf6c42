"""The hostile programs in a sandbox that a GPU's driver has started in: with the stand-in, without a GPU.

By default those that were written for the holes of such a sandbox; `--all-levels` takes all, and a plain user, too.
"""

import pytest
from catalogue import honest_programs, hostile_programs

pytestmark = pytest.mark.hostile


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-levels")
        cases = [case for case in hostile_programs() if every or case.group in ("gpu", "names")]
        metafunc.parametrize("case", cases, ids=lambda case: case.name)


def test_sandbox_holds_after_the_start_of_a_driver(bench, case):
    result = bench.run(case.name)
    assert not result["problems"], result["problems"]
    assert result["record"]["outcome"] in case.ends(bench.level), result["record"]


@pytest.mark.parametrize("name", list(honest_programs())[:2])
def test_honest_program_comes_through(bench, name):
    result = bench.run_honest(name)
    assert result["record"]["outcome"] == "trained" and not result["problems"], result
