"""What a preflight looks at, and what it finds: the run as its jobs will be, and one line a finding."""

import json
from dataclasses import dataclass
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import REQUESTS_FILE, SETTINGS_FILE

OK, WARNING, ERROR = "ok", "warning", "error"
GB = 10**9
AUTO_WORKERS = 8  # at most, where nobody says how many processors a job gets


@dataclass(frozen=True)
class Finding:
    """One line of the preflight."""

    status: str
    name: str
    what: str


@dataclass(frozen=True)
class Run:
    """What is checked: the results folder, the run's settings, and how its jobs go out.

    executor: snakemake's. rules: name of each queued rule -> its resources, as the profile leaves them, `threads` among
    them. retried: the same at the last attempt. pending: data sets that the run prepares itself. jobs: how many may be
    in the queue at once.
    """

    results: Path
    settings: dict
    executor: str
    rules: dict[str, dict]
    retried: dict[str, dict]
    pending: list[str]
    jobs: int

    @property
    def model(self) -> Path:
        return self.results.parent / "resources" / "models" / self.settings["model"]["name"]

    @property
    def slurm(self) -> bool:
        return self.executor == "slurm"

    def requests(self) -> dict[str, dict]:
        """Return the distinct requests, each under the names of its rules."""
        found: dict[str, tuple[list[str], dict]] = {}
        for name, asked in sorted(self.rules.items()):
            found.setdefault(json.dumps(asked, sort_keys=True), ([], asked))[0].append(name)
        return {", ".join(names): asked for names, asked in found.values()}

    def on_gpu(self) -> dict | None:
        """Return the request of the fine-tuning where it wants a GPU: it needs the most memory."""
        asked = self.rules.get("finetune_seed", {})
        wants = asked.get("gpu") or "gpu" in str(asked.get("gres", ""))
        return asked if wants and self.settings["execution"]["device"] != "cpu" else None

    def dataset(self, name: str) -> Path:
        return self.results.parent / "resources" / "datasets" / f"{name}.safetensors"

    def datasets(self) -> list[str]:
        return sorted({chain["dataset"] for chain in self.settings["chains"].values()})


def read_run(results: Path) -> Run:
    """Return the run that a results folder belongs to, as Snakemake last started it; raise InputError without one."""
    if not (results / REQUESTS_FILE).is_file():
        raise InputError(
            f"{results}: no run has been started there, so its settings are unknown; to check before the first run:"
            " snakemake preflight --profile slurm --configfile YOUR.yaml"
        )
    settings = read_json(results / SETTINGS_FILE, "chains", "model", "loading", "execution")
    keys = ("executor", "rules", "retried", "pending", "jobs")
    requests = read_json(results / REQUESTS_FILE, *keys)
    return Run(results, settings, **{key: requests[key] for key in keys})


def temporary_bytes(run: Run) -> int:
    """Return an estimate of what a job of the judge keeps in the temporary folder: its own copy of the images."""
    sizes = [path.stat().st_size for path in map(run.dataset, run.datasets()) if path.is_file()]
    largest = max(sizes, default=0)
    workers = run.settings["execution"]["workers"]
    return largest + (AUTO_WORKERS if workers == "auto" else workers) * 64 * 2**20
