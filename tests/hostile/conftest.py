"""The bench that the hostile programs are judged on: one for each level of isolation and each user."""

import os

import pytest
from plain_bench import PlainBench, Unavailable
from whole_machine import looking_at_it

from archloop.errors import InputError

# Module of tests -> the levels and users that it takes, and those of `--all-levels` besides. Root may do more in the
# sandbox as it is once a GPU's driver has started in it.
LEVELS_AND_USERS = {
    "test_hostile": ([("namespaces", "root"), ("landlock", "plain")], [("namespaces", "plain"), ("landlock", "root")]),
    "test_gpu_form": (
        [("namespaces+gpu", "root"), ("landlock+gpu", "root")],
        [("namespaces+gpu", "plain"), ("landlock+gpu", "plain")],
    ),
    "test_bubblewrap_form": ([("bubblewrap", "root")], [("bubblewrap", "plain")]),
}


def pytest_generate_tests(metafunc):
    if "bench" in metafunc.fixturenames:
        module = metafunc.module.__name__
        pairs, others = LEVELS_AND_USERS[module]
        pairs = pairs + (others if metafunc.config.getoption("--all-levels") else [])
        # With `-n 2 --dist loadgroup` each pair has a process of its own, so that two benches work side by side.
        marked = []
        for level, user in pairs:
            group = pytest.mark.xdist_group(f"{module} {level} {user}")
            marked.append(pytest.param((level, user), id=f"{level}-{user}", marks=group))
        metafunc.parametrize("bench", marked, indirect=True, scope="module")


@pytest.fixture(scope="module")
def bench(request, tmp_path_factory):
    """One judge for all tests of a level and a user; what is left when it ends fails the last of them.

    It ends with its module: what tests of other modules write is not counted against it.
    """
    level, user = request.param
    root = os.geteuid() == 0
    if user == "root" and not root:
        pytest.skip("the tests do not run as root")
    with looking_at_it():
        try:
            if root and user == "plain":
                opened = PlainBench(level, tmp_path_factory.mktemp("plain")).__enter__()
            else:
                from bench import Bench

                opened = Bench(level).__enter__()
        except (InputError, Unavailable) as error:
            pytest.skip(f"{level} as {user}: {error}")
        try:
            yield opened
            problems = opened.finish()["problems"]
        finally:
            opened.__exit__(None, None, None)
    assert not problems, problems
