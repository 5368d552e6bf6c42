"""Judgements a minute by the number of candidates at once and the threads of each: 1 of 2, 2 of 2, 2 of 1.

python benchmarks/workers.py --dataset resources/datasets/digits.safetensors

One program of every seed family is judged in each arrangement in turn (A B C A B C ...) by one server that is already
at work; the median of the rounds is printed with the extremes, and each round's ratio to the first arrangement.
"""

import concurrent.futures
import statistics
import sys
import time
from pathlib import Path

import click
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.allocation import processors  # noqa: E402
from archloop.evaluation.judge import Judge  # noqa: E402
from archloop.families.programs import family_names, family_programs  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402

# (workers, threads of each)
ARRANGEMENTS = ((1, 2), (2, 2), (2, 1))


def judged(judge: Judge, programs: list[str], settings: dict, workers: int) -> tuple[float, float]:
    """Return (judgements a minute, processor seconds of one) of all programs, judged `workers` at once."""
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        records = list(pool.map(lambda program: judge.judge(program, settings, 1), programs))
    minutes = (time.monotonic() - started) / 60
    for record in records:
        assert record["outcome"] == "trained", record
    return len(records) / minutes, sum(record["cpu_s"] for record in records) / len(records)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} (of {len(values)}: {min(values):.3g} to {max(values):.3g})"


@click.command()
@click.option(
    "--dataset",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Prepared data set.",
)
@click.option("--rounds", default=3, type=click.IntRange(min=2), help="Rounds that are counted.")
@click.option(
    "--programs", default=15, type=click.IntRange(min=2), help="Programs at most, one of a family."
)
def main(dataset: Path, rounds: int, programs: int) -> None:
    """Print the judgements a minute of each arrangement."""
    settings = complete(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()))["evaluation"]
    chosen = [family_programs(family)[0].program for family in family_names()[:programs]]
    found = {arrangement: [] for arrangement in ARRANGEMENTS}

    with Judge(dataset, "cpu", "auto") as judge:
        judge.judge(chosen[0], settings, 1)  # starts the server
        for _ in range(rounds):
            for workers, threads in ARRANGEMENTS:
                values = judged(judge, chosen, settings | {"threads": threads}, workers)
                found[workers, threads].append(values)
        print(
            f"{len(chosen)} programs, {dataset.stem}, {processors()} processors, walls: {judge.level}"
        )

    first = [rate for rate, _ in found[ARRANGEMENTS[0]]]
    for (workers, threads), values in found.items():
        rates, spent = zip(*values)
        ratios = [rate / other for rate, other in zip(rates, first)]
        print(
            f"workers {workers}, threads {threads}: judgements a minute {spread(rates)}; processor s {spread(spent)}"
        )
        print(f"    to the first arrangement, round by round: {spread(ratios)}")


if __name__ == "__main__":
    main()
