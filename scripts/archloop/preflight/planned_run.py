"""What a preflight looks at, the run as its jobs will be, and what it finds, in one line each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypedDict, cast

from archloop.cluster.slurm import JobRequest
from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import (
    REQUESTS_FILE,
    SETTINGS_FILE,
    Cell,
    dataset_path,
    manifest_path,
    resources_beside,
)
from archloop.settings import chains
from archloop.settings.sections import Evaluation, Execution, Loading, Settings

Status = Literal["ok", "warning", "error"]
OK: Status = "ok"
WARNING: Status = "warning"
ERROR: Status = "error"
# At most, where nobody says how many processors a job gets.
AUTO_WORKERS = 8
# What a candidate and its process keep in the temporary folder.
WORKER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Finding:
    """One line of the preflight.

    values: what the line states, for programs, by name; sizes are in bytes where the name says
    nothing else.
    """

    status: Status
    name: str
    what: str
    values: dict[str, object]


def ok(name: str, what: str, **values: object) -> Finding:
    """Return a finding that all is well."""
    return Finding(OK, name, what, values)


def warning(name: str, what: str, **values: object) -> Finding:
    """Return a finding with which the run may go on."""
    return Finding(WARNING, name, what, values)


def error(name: str, what: str, **values: object) -> Finding:
    """Return a finding with which the run cannot end well."""
    return Finding(ERROR, name, what, values)


class RunRequests(TypedDict):
    """How the jobs of a run go out: requests.json, as Snakemake leaves it at every start.

    executor: snakemake's. rules: queued rule -> its resources, as the profile leaves them. retried:
    the same at the last attempt. pending: data sets that the run prepares itself. jobs: how many
    may be in the queue at once.
    """

    executor: str
    rules: dict[str, JobRequest]
    retried: dict[str, JobRequest]
    pending: list[str]
    jobs: int


@dataclass(frozen=True)
class PlannedRun:
    """What is checked: the results folder, the run's settings, and how its jobs go out.

    settings: complete. The others are those of RunRequests.
    """

    results: Path
    settings: Settings
    executor: str
    rules: dict[str, JobRequest]
    retried: dict[str, JobRequest]
    pending: list[str]
    jobs: int

    @property
    def resources(self) -> Path:
        return resources_beside(self.results)

    @property
    def model(self) -> Path:
        return manifest_path(self.settings["model"]["name"], self.resources).parent

    @property
    def slurm(self) -> bool:
        return self.executor == "slurm"

    @cached_property
    def execution(self) -> Execution:
        return Execution(**self.settings["execution"])

    @cached_property
    def loading(self) -> Loading:
        return Loading(**self.settings["loading"])

    def cells(self) -> Iterator[Cell]:
        """Yield every cycle of every chain."""
        for chain in self.settings["chains"]:
            for cycle in chains.cycles_of(self.settings, chain):
                yield Cell(chain, cycle)

    def evaluation(self, chain: str, cycle: int) -> Evaluation:
        return chains.typed_section(self.settings, Evaluation, chain, cycle)

    def finetuning_request(self) -> JobRequest | None:
        """Return the request of the fine-tuning where it wants a GPU: it needs the most memory."""
        request = self.rules.get("finetune_seed")
        if request is None:
            return None
        # Some sites want GPUs to be asked for by `gres`.
        wants_gpu = request.get("gpu") or "gpu" in str(request.get("gres", ""))
        return request if wants_gpu and self.execution.device != "cpu" else None

    def dataset(self, name: str) -> Path:
        return dataset_path(name, self.resources)

    def datasets(self) -> list[str]:
        return sorted({chain["dataset"] for chain in self.settings["chains"].values()})


def read_run(results: Path) -> PlannedRun:
    """Return the run that a results folder belongs to, as Snakemake last started it.

    Raises InputError where none was started there.
    """
    if not (results / REQUESTS_FILE).is_file():
        raise InputError(
            f"{results}: no run has been started there, so its settings are unknown; to check"
            " before the first run: snakemake preflight --profile slurm --configfile YOUR.yaml"
        )
    keys = RunRequests.__annotations__
    requests = cast(RunRequests, read_json(results / REQUESTS_FILE, *keys))
    settings = read_json(results / SETTINGS_FILE, "chains", "model", "loading", "execution")

    return PlannedRun(
        results=results,
        settings=cast(Settings, settings),
        executor=requests["executor"],
        rules=requests["rules"],
        retried=requests["retried"],
        pending=requests["pending"],
        jobs=requests["jobs"],
    )


def temporary_bytes(run: PlannedRun) -> int:
    """Return an estimate of what a job of the judge keeps in the temporary folder.

    That is its own copy of the images, and what its workers write.
    """
    largest = 0
    for name in run.datasets():
        path = run.dataset(name)
        # Of a data set that is not prepared yet the size is unknown.
        if path.is_file():
            largest = max(largest, path.stat().st_size)

    workers = run.execution.workers
    return largest + WORKER_BYTES * (workers if isinstance(workers, int) else AUTO_WORKERS)
