"""What a complete run costs: jobs, candidates, files, disk and GPU hours, from its settings alone.

    python benchmarks/cost.py config/config.yaml                            # prints the line
    python benchmarks/cost.py config/config.yaml config/ablations.yaml    # what the last file adds
    python benchmarks/cost.py --write           # rewrites line 1 of the three files

Jobs and files are those of the preflight's own plan, which a test holds against Snakemake's.
Seconds are those of benchmarks/recorded/paper.json, which are estimates: no run of this size has
been recorded. Not in it: failures, programs whose score is known, the data sets, three files of
each exported design, and the designs that a chain with `source: main` evaluates again: nobody knows
their number before.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import yaml
from snakemake.utils import update_config

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from archloop.preflight.storage_checks import CANDIDATE_BYTES, FILES  # noqa: E402
from archloop.settings.chains import SEED, Settings, effective, source_of, trains  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402
from archloop.settings.planned_files import plan  # noqa: E402

CONFIG = ROOT / "config"
SHIPPED = {"config.yaml": ["config.yaml"], "ablations.yaml": ["config.yaml", "ablations.yaml"]}
SHIPPED |= {"images.yaml": ["images.yaml"]}
RECORDED = ROOT / "benchmarks" / "recorded" / "paper.json"
# Candidates of the cycle that paper.json is about, and of its cycle 0.
CYCLE, SEEDS = 192, 360
# What needs a GPU, as paper.json names it.
ON_GPU = ("generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed")
# Folders of a cycle: its own, generated, evaluated, adapter, and the one of its logs.
FOLDERS = 5
# The judge keeps its scores in so many files at most.
SCORES = 256
# Weights of the 7B model as downloaded, and of one adapter (rank 32, 24 layers) in 32 bits:
# docs/language-model.md.
MODEL_GB, ADAPTER_GB = 14.0, 0.24


@dataclass
class Cost:
    """What a complete run costs. gigabytes: of disk. hours: of GPUs."""

    jobs: int = 0
    candidates: int = 0
    files: int = SCORES
    gigabytes: float = MODEL_GB
    hours: float = 0.0

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            jobs=self.jobs - other.jobs,
            candidates=self.candidates - other.candidates,
            files=self.files - other.files,
            gigabytes=self.gigabytes - other.gigabytes,
            hours=self.hours - other.hours,
        )


def laid_over(names: Iterable[str]) -> Settings:
    """Return the settings of files in config/, each laid over those before it as Snakemake does."""
    whole: Settings = {}
    for name in names:
        update_config(whole, yaml.safe_load((CONFIG / name).read_text(encoding="utf-8")))
    return whole


def cost(settings: Settings) -> Cost:
    """Return what a complete run with these settings costs."""
    whole = Cost()
    seconds = json.loads(RECORDED.read_text())["rules"]
    # How long one's own images take, nobody knows.
    own_images = any(chain["dataset"] == "folder" for chain in settings["chains"].values())

    for job in plan(Path("results"), settings):
        stage = job.stage
        if job.chain == SEED and stage in ("evaluate", "finetune"):
            stage = f"{stage}_seed"
        whole.jobs += 1
        whole.files += FILES[job.stage]
        if stage in ON_GPU:
            whole.hours += seconds[stage]["start_s"] / 3600

    for name, chain in settings["chains"].items():
        for cycle in range(1, chain.get("cycles", 0) + 1):
            whole.files += FOLDERS
            if trains(settings, name, cycle):
                whole.gigabytes += ADAPTER_GB
                whole.hours += seconds["finetune"]["work_s"] / 3600
            if source_of(settings, name):
                continue

            candidates = effective(settings, "cycle", name, cycle)["candidates"]
            whole.candidates += candidates
            if chain["source"] == "model":
                whole.hours += candidates / CYCLE * seconds["generate"]["work_s"] / 3600
                rate = seconds["evaluate"]["work_s"] / CYCLE
            else:  # nearly all programs of the families train, as those of the seed corpus do
                rate = seconds["evaluate_seed"]["work_s"] / SEEDS
            if not own_images:
                whole.hours += candidates * rate / 3600

    of_seed = seconds["finetune_seed"]["work_s"]
    if not own_images:
        of_seed += seconds["evaluate_seed"]["work_s"]
    whole.hours += of_seed / 3600
    whole.gigabytes += ADAPTER_GB + whole.candidates * CANDIDATE_BYTES / 1e9

    # What stands beside the plan: the model, the data sets and the preflight.
    datasets = {chain["dataset"] for chain in settings["chains"].values()}
    whole.jobs += 2 + len(datasets)
    return whole


def added(names: list[str]) -> Cost:
    """Return what a complete run of files in config/ costs beyond that of all but the last."""
    whole = cost(complete(laid_over(names)))
    if len(names) == 1:
        return whole
    return whole - cost(complete(laid_over(names[:-1])))


def stated_hours(cost: Cost) -> int:
    """Return the GPU hours as they are stated: two digits at most are known."""
    return int(round(cost.hours, -1 if cost.hours > 20 else 0))


def line(name: str) -> str:
    """Return the first line of a file in config/."""
    files = SHIPPED[name]
    costs = added(files)
    start = "Beyond config.yaml" if len(files) > 1 else "A complete run"
    room = f"{costs.gigabytes:,.0f} GB of disk, {round(costs.files, -2):,} files"
    return (
        f"# {start}: {costs.jobs:,} jobs, {costs.candidates:,} candidates,"
        f" about {stated_hours(costs):,.0f} GPU hours (estimate), {room}."
    )


def files_of_stages(settings: Settings) -> list[tuple[str, int, int]]:
    """Return (rule, files of one job, jobs) of a complete run; settings: complete ones."""
    jobs = Counter(job.stage for job in plan(Path("results"), settings))
    return [(stage, FILES[stage], count) for stage, count in jobs.items()]


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--write",
    is_flag=True,
    help="Rewrite the first lines of the files in config/ that state what they cost.",
)
def main(files: tuple[Path, ...], write: bool) -> None:
    """Print what a run of FILES costs; of several, what the last adds.

    Without FILES: the three in config/.
    """
    if files:
        names = [path.resolve().relative_to(CONFIG).name for path in files]
        SHIPPED[names[-1]] = names
        click.echo(line(names[-1]))
        return
    for name in list(SHIPPED):
        click.echo(f"{name}\n{line(name)}")
        if write:
            path = CONFIG / name
            _, rest = path.read_text(encoding="utf-8").split("\n", 1)
            path.write_text(f"{line(name)}\n{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
