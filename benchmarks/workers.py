"""Judgements a minute by the number of candidates at once and the threads of each: 1 of 2, 2 of 2, 2 of 1.

python benchmarks/workers.py

One program of every seed family is judged on each data set, in each arrangement in turn (A B C A B C ...), by one
server that is already at work; the median of the rounds is printed with the extremes, and each round's ratio to the
first arrangement. Data sets are prepared into a temporary folder, so many of their images to train on at most.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.allocation import processors  # noqa: E402
from archloop.data.dataset_file import read_split  # noqa: E402
from archloop.evaluation.judge import Judge  # noqa: E402
from archloop.families.programs import family_names, family_programs  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402
from archloop.settings.sections import Evaluation  # noqa: E402

DATASETS = ("digits", "fashion_mnist")


@dataclass(frozen=True)
class Arrangement:
    workers: int
    threads: int  # of each


ARRANGEMENTS = (Arrangement(1, 2), Arrangement(2, 2), Arrangement(2, 1))


@dataclass(frozen=True)
class Round:
    """All programs judged once."""

    per_minute: float
    cpu_s: float  # processor seconds of one judgement, on average


def prepare(name: str, folder: Path, train_images: int) -> Path:
    """Write a data set, so many of its images to train on at most, and return the file."""
    output = folder / f"{name}.safetensors"
    script = ROOT / "scripts" / "prepare_dataset.py"
    options = ["--dataset", name, "--train-images", str(train_images), "--seed", "1"]
    subprocess.run([sys.executable, script, *options, "--output", output], check=True)
    return output


def judged(judge: Judge, programs: list[str], settings: Evaluation, workers: int) -> Round:
    """Judge all programs, `workers` at once."""
    started = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        records = list(pool.map(lambda program: judge.judge(program, settings, 1), programs))
    minutes = (time.monotonic() - started) / 60

    for record in records:
        assert record["outcome"] == "trained", record
    cpu_s = statistics.fmean(record["cpu_s"] for record in records)
    return Round(len(records) / minutes, cpu_s)


def compare(dataset: Path, programs: list[str], settings: Evaluation, rounds: int) -> None:
    """Print the judgements a minute of each arrangement on one data set."""
    rounds_of: dict[Arrangement, list[Round]] = {arrangement: [] for arrangement in ARRANGEMENTS}
    with Judge(dataset, "cpu", "auto") as judge:
        judge.judge(programs[0], settings, 1)  # warms the server up
        for _ in range(rounds):
            for arrangement in ARRANGEMENTS:
                given = replace(settings, threads=arrangement.threads)
                rounds_of[arrangement].append(judged(judge, programs, given, arrangement.workers))

    images = len(read_split(dataset, "train")[1])
    print(
        f"{dataset.stem}, {images} images to train on, {len(programs)} programs, "
        f"{processors()} processors, isolation: {judge.level}"
    )
    first = [each.per_minute for each in rounds_of[ARRANGEMENTS[0]]]
    for arrangement, done in rounds_of.items():
        rates = [each.per_minute for each in done]
        spent = [each.cpu_s for each in done]
        ratios = [rate / other for rate, other in zip(rates, first)]
        print(
            f"  workers {arrangement.workers}, threads {arrangement.threads}: "
            f"judgements a minute {spread(rates)}; processor s {spread(spent)}"
        )
        print(f"    to the first arrangement, round by round: {spread(ratios)}", flush=True)


def spread(values: list[float]) -> str:
    """Return the median of values with their number and extremes."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.3g} (of {len(values)}: {low:.3g} to {high:.3g})"


@click.command()
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    default=DATASETS,
    show_default=True,
    help="Name of a data set; several times for several.",
)
@click.option("--train-images", default=2560, show_default=True, help="Images to train on at most.")
@click.option("--rounds", default=3, type=click.IntRange(min=1), help="Rounds that are counted.")
@click.option(
    "--programs", default=15, type=click.IntRange(min=1), help="Programs at most, one of a family."
)
def main(datasets: tuple[str, ...], train_images: int, rounds: int, programs: int) -> None:
    """Print the judgements a minute of each arrangement on each data set."""
    config = complete(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()))
    settings = Evaluation(**config["evaluation"])
    chosen = [family_programs(family)[0].program for family in family_names()[:programs]]
    with tempfile.TemporaryDirectory() as folder:
        for name in datasets:
            dataset = prepare(name, Path(folder), train_images)
            compare(dataset, chosen, settings, rounds)


if __name__ == "__main__":
    main()
