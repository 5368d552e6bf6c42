"""The cluster, and two runs of the same settings that the tests compare with: the local profile's and SLURM's."""

import copy
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clone import Clone
from cluster import Cluster, Unavailable
from whole_machine import changing_it


@pytest.fixture(scope="session")
def cluster():
    temporary = tempfile.TemporaryDirectory(prefix="archloop-slurm-", ignore_cleanup_errors=True)
    with changing_it(), temporary as folder:
        try:
            started = Cluster(Path(folder)).__enter__()
        except Unavailable as error:
            pytest.fail(str(error))
        try:
            yield started
        finally:
            started.__exit__()


@pytest.fixture(scope="session")
def settings(smallest) -> dict:
    """tests/test.yaml with the tiny model, and a second chain that starts from the same seed adapter."""
    settings = copy.deepcopy(smallest)
    settings["model"] = {"name": "tiny", "reference": "folder:resources/models/tiny"}
    settings["generation"]["max_new_tokens"] = 60
    settings["cycle"]["shards"] = 1
    # Long enough to be met while they run.
    settings["data"] = {"digits_pixels": 32}
    settings["execution"] = {"workers": 1}
    settings["chains"]["seed"]["finetuning"] = {"epochs": 100}
    settings["chains"]["other"] = {"dataset": "digits", "cycles": 1, "cycle": {"shards": 2}}
    return settings


@pytest.fixture(scope="session")
def cloned(cluster, settings, tiny_model):
    """A function that makes a clone by name, with settings of its own if it is given any."""

    def clone(name: str, given: dict = settings) -> Clone:
        return Clone(cluster, cluster.folder / name, given, tiny_model)

    return clone


@pytest.fixture(scope="session")
def runs(cloned) -> tuple[Clone, Clone]:
    """Two finished runs that nothing disturbed: with the local profile, and with SLURM's. Both at the same time."""
    local, finished = cloned("local"), cloned("finished")
    with ThreadPoolExecutor() as pool:
        alone = pool.submit(local.finish, profile="profiles/local")
        (finished.folder / "terminal.txt").write_text(finished.finish())
        alone.result()
    return local, finished


@pytest.fixture(scope="session")
def local(runs) -> Clone:
    return runs[0]


@pytest.fixture(scope="session")
def finished(runs) -> Clone:
    return runs[1]
