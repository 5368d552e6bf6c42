"""The bench that the hostile programs are judged on: one for each level of walls and each user."""

import os
import zlib
from pathlib import Path

import pytest
from plain_bench import PlainBench, Unavailable
from whole_machine import looking_at_it

from archloop.errors import InputError

# Module of tests -> the walls and users that it takes, and those of `--all-walls` besides. Root may do more behind the
# walls as they are once a GPU's driver has started behind them.
WALLS = {
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
        walls, others = WALLS[module]
        walls = walls + (others if metafunc.config.getoption("--all-walls") else [])
        pairs = [pytest.param((level, user), id=f"{level}-{user}") for level, user in walls]
        metafunc.parametrize("bench", pairs, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """With `--dist loadgroup` each level and user has two benches, in processes of their own, side by side.

    A test takes mostly the time that its program may take, and hardly a processor.
    """
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if Path(__file__).parent == item.path.parent and "bench" in parameters:
            level, user = parameters["bench"]
            half = zlib.crc32(item.name.encode()) % 2
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {level} {user} {half}"))


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
