"""What the tests share: the repository, the smallest settings, and language models, each made once."""

import copy
import logging
import os
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as archloop has it; here for tests that import torch first
if "PYTEST_XDIST_WORKER" in os.environ:  # each of several at once takes one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption(
        "--all-levels", action="store_true", help="Hostile programs at every level of isolation, as each user."
    )
    parser.addoption(
        "--examples", type=int, default=0, help="How many programs a fuzzer tries; else a few, always the same."
    )
    parser.addoption(
        "--write-docs", action="store_true", help="Rewrite the tables that tests hold, in README and docs."
    )


def pytest_configure(config):
    pytest.examples = config.getoption("--examples")


# The longest files. The first of them makes the finished run, which the fourth is the first to wait for.
LONGEST = ("test_workflow.py", "test_train_model_workflow.py", "test_smollm2_workflow.py", "test_chains_workflow.py")


def pytest_collection_modifyitems(items):
    """Long files come first, so that of several processes none is left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("workflow")}

    def rank(item) -> int:
        if item.path.name in LONGEST:
            return LONGEST.index(item.path.name)
        return len(LONGEST) + (item.path not in slow)

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def _heard():
    """Let pytest hear the project's messages, whatever a command that a test before this one ran in here set up."""
    logger = logging.getLogger("archloop")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def smallest() -> dict:
    """The settings of tests/test.yaml as a user writes them, for all tests to read."""
    return yaml.safe_load((ROOT / "tests" / "test.yaml").read_text())


@pytest.fixture
def config(smallest) -> dict:
    """A copy of them, for a test to change."""
    return copy.deepcopy(smallest)


@pytest.fixture(scope="session")
def settings(smallest):
    """Section evaluation of tests/test.yaml, whole, with time enough on a busy machine: what a judge is given."""
    from archloop.settings.complete import complete
    from archloop.settings.sections import Evaluation

    return Evaluation(**complete(smallest)["evaluation"] | {"timeout_s": 60})


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """A data set for a judge, so small that an epoch takes a fraction of a second."""
    from small_data import write_few_digits

    return write_few_digits(tmp_path_factory.mktemp("data") / "digits.safetensors")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A folder that all processes of this test run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def one_at_a_time(shared_folder):
    """A function of a name that gives a lock between the processes of this test run."""
    return lambda name: FileLock(shared_folder / f"{name}.lock")


@pytest.fixture(scope="session")
def smollm2(one_at_a_time) -> Path:
    from language_models import smollm2

    with one_at_a_time("smollm2"):
        return smollm2()


@pytest.fixture(scope="session")
def scratch_model(one_at_a_time, smallest, tmp_path_factory) -> Path:
    from language_models import trained

    with one_at_a_time("scratch"):
        return trained(smallest, tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    from language_models import untrained

    return untrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def finished(one_at_a_time, shared_folder, scratch_model) -> Path:
    """A clone with a finished run of tests/test.yaml in it, made once for all tests, which leave it as it is."""
    from small_run import finish, make_clone

    clone = shared_folder / "finished" / "clone"
    with one_at_a_time("finished"):
        if not (shared_folder / "finished.whole").exists():
            make_clone(clone, scratch_model)
            done = finish(clone)
            assert done.returncode == 0, done.stderr[-3000:]
            (shared_folder / "finished.whole").touch()
    return clone


@pytest.fixture(scope="session")
def papers_plan(one_at_a_time, shared_folder) -> str:
    """What a dry run of config/config.yaml says, without a GPU, a model or data; made once for all tests."""
    from workflow import snakemake

    said = shared_folder / "papers_plan.txt"
    with one_at_a_time("papers_plan"):
        if not said.exists():
            folder = shared_folder / "papers_plan"
            folder.mkdir()
            done = snakemake(folder, "--dry-run", "--quiet", "host")
            assert done.returncode == 0, done.stderr[-3000:]
            said.write_text(done.stdout)
    return said.read_text()
