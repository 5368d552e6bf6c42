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
from pathlib import Path

import click
import yaml
from snakemake.utils import update_config

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.monitoring.status import plan  # noqa: E402
from archloop.preflight.storage_checks import CANDIDATE_BYTES, FILES  # noqa: E402
from archloop.settings.chains import SEED, effective, source_of, trains  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402

CONFIG = ROOT / "config"
SHIPPED = {"config.yaml": ["config.yaml"], "ablations.yaml": ["config.yaml", "ablations.yaml"]}
SHIPPED |= {"images.yaml": ["images.yaml"]}
RECORDED = ROOT / "benchmarks" / "recorded" / "paper.json"
# Candidates of the cycle that paper.json is about, and of its cycle 0.
CYCLE, SEEDS = 192, 360
# Folders of a cycle: its own, generated, evaluated, adapter, and the one of its logs.
FOLDERS = 5
# The judge keeps its scores in so many files at most.
SCORES = 256
# Weights of the 7B model as downloaded, and of one adapter (rank 32, 24 layers) in 32 bits:
# docs/language-model.md.
MODEL_GB, ADAPTER_GB = 14.0, 0.24


def laid_over(names: Iterable[str]) -> dict:
    """Return the settings of files in config/, each laid over those before it as Snakemake does."""
    whole: dict = {}
    for name in names:
        update_config(whole, yaml.safe_load((CONFIG / name).read_text(encoding="utf-8")))
    return whole


def cost(settings: dict) -> Counter:
    """Return jobs, candidates, files, GB and GPU hours of a complete run with these settings."""
    found = Counter(files=SCORES, GB=MODEL_GB, candidates=0, hours=0.0)
    seconds = json.loads(RECORDED.read_text())["rules"]
    own_images = any(chain["dataset"] == "folder" for chain in settings["chains"].values())
    jobs = plan(Path("results"), settings)
    for job in jobs:
        stage = job.stage + "_seed" * (job.chain == SEED and job.stage in ("evaluate", "finetune"))
        found["jobs"] += 1
        found["files"] += FILES[job.stage]
        if stage in ("generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed"):
            found["hours"] += seconds[stage]["start_s"] / 3600
    for name, chain in settings["chains"].items():
        for cycle in range(1, chain.get("cycles", 0) + 1):
            found["files"] += FOLDERS
            if trains(settings, name, cycle):
                found["GB"] += ADAPTER_GB
                found["hours"] += seconds["finetune"]["work_s"] / 3600
            if source_of(settings, name):
                continue
            candidates = effective(settings, "cycle", name, cycle)["candidates"]
            found["candidates"] += candidates
            if chain["source"] == "model":
                found["hours"] += candidates / CYCLE * seconds["generate"]["work_s"] / 3600
                rate = seconds["evaluate"]["work_s"] / CYCLE
            else:  # nearly all programs of the families train, as those of the seed corpus do
                rate = seconds["evaluate_seed"]["work_s"] / SEEDS
            found["hours"] += 0 if own_images else candidates * rate / 3600
    found["hours"] += (
        seconds["finetune_seed"]["work_s"] + (not own_images) * seconds["evaluate_seed"]["work_s"]
    ) / 3600
    found["GB"] += ADAPTER_GB + found["candidates"] * CANDIDATE_BYTES / 1e9
    # What stands beside the plan: the model, the data sets and the preflight.
    datasets = {chain["dataset"] for chain in settings["chains"].values()}
    found["jobs"] += 2 + len(datasets)
    return found


def added(names: list[str]) -> Counter:
    """Return what a complete run of files in config/ costs beyond that of all but the last."""
    found = cost(complete(laid_over(names)))
    if len(names) > 1:
        found.subtract(cost(complete(laid_over(names[:-1]))))
    return found


def hours(found: Counter) -> int:
    """Return the GPU hours as they are stated: two digits at most are known."""
    return int(round(found["hours"], -1 if found["hours"] > 20 else 0))


def line(name: str) -> str:
    """Return the first line of a file in config/."""
    files = SHIPPED[name]
    found = added(files)
    start = "Beyond config.yaml" if len(files) > 1 else "A complete run"
    room = f"{found['GB']:,.0f} GB of disk, {round(found['files'], -2):,} files"
    return (
        f"# {start}: {found['jobs']:,} jobs, {found['candidates']:,} candidates,"
        f" about {hours(found):,.0f} GPU hours (estimate), {room}."
    )


def files_of_stages(settings: dict) -> list[tuple[str, int, int]]:
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
