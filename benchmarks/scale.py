"""Jobs, elapsed time and use of 1, 4, 16 and 64 GPUs in the 22-cycle run: the plan, simulated.

    python benchmarks/scale.py            # prints the table
    python benchmarks/scale.py --write    # and writes it and its figure into docs/scaling.md

The jobs and what they wait for are Snakemake's own (`--d3dag` on the Snakefile with these
settings); nothing is run. How long a job takes comes from a file: benchmarks/recorded/demo.json is
measured, paper.json says what is measured and what estimated. From 16 GPUs on, cycle.shards and
seed_corpus.shards are as many as the GPUs. The overhead of a job is that of
benchmarks/slurm_overhead.py. Results: docs/scaling.md.
"""

import heapq
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

import altair as alt
import click
import polars as pl
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.report.figures.theme import svg  # noqa: E402
from archloop.settings.chains import Settings  # noqa: E402

PAGE, FIGURE = ROOT / "docs" / "scaling.md", ROOT / "docs" / "images" / "scaling.svg"
MARKS = ("<!-- simulated -->", "<!-- end: simulated -->")
QUEUED = ("generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed")
SHARDED = ("generate", "evaluate", "evaluate_seed")
# One a number of chains: what can be told apart with every kind of colour vision.
SERIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#777c85", "#a59a00"]


class RuleTimes(TypedDict):
    """Seconds of a rule: to start a job, and all its work. kind: measured or estimated, from what."""

    start_s: float
    work_s: float
    kind: str
    basis: str


class Recording(TypedDict):
    """A file of benchmarks/recorded/: the times of a run on some hardware."""

    name: str
    hardware: str
    rules: dict[str, RuleTimes]


class Plan(NamedTuple):
    """The jobs of a run: rules by job, and (job, one that waits for it)."""

    rules: dict[int, str]
    edges: list[tuple[int, int]]


@dataclass(frozen=True)
class Overhead:
    """What SLURM and Snakemake add to a queued job, in seconds.

    before_s: from ready to started; inside_s: Snakemake's own start in the job, which holds the
    GPU; after_s: from the end of the job until Snakemake sees it.
    """

    before_s: float
    inside_s: float
    after_s: float


@dataclass(frozen=True)
class Result:
    """One simulated run. busy_s: of work on GPUs; alone_s: of elapsed time with one GPU or none."""

    jobs: int
    queued: int
    elapsed_s: float
    busy_s: float
    alone_s: float


@dataclass(frozen=True)
class Row:
    """One simulated run with its size. overhead_h: of elapsed time, what SLURM and Snakemake add."""

    chains: int
    gpus: int
    shards: int
    result: Result
    overhead_h: float

    @property
    def used(self) -> float:
        """The share of the GPUs' time that is work."""
        return self.result.busy_s / self.gpus / self.result.elapsed_s


def side_by_side(config: Settings, chains: int, shards: int) -> Settings:
    """Return the settings of a run of so many copies of `main`, each from cycle 0's adapter."""
    main = dict(config["chains"]["main"])
    for key in ("at", "repeats"):
        main.pop(key, None)
    copies = {"main": main}
    for number in range(1, chains):
        copies[f"repeat{number}"] = main

    config = config | {"chains": {"seed": config["chains"]["seed"], **copies}}
    for section in ("cycle", "seed_corpus"):
        config[section] = config.get(section, {}) | {"shards": shards}
    return config


def plan(config: Settings) -> Plan:
    """Return the plan of a run from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "settings.json").write_text(json.dumps(config))
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--d3dag",
            "--snakefile",
            str(ROOT / "Snakefile"),
        ]
        command += ["--directory", folder, "--profile", str(ROOT / "profiles" / "local")]
        done = subprocess.run(
            [*command, "--configfile", f"{folder}/settings.json"], capture_output=True, text=True
        )
    if done.returncode or not done.stdout.startswith("{"):
        raise click.ClickException((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    graph = json.loads(done.stdout)
    rules = {node["id"]: node["value"]["rule"] for node in graph["nodes"]}
    return Plan(rules, [(edge["u"], edge["v"]) for edge in graph["edges"]])


def simulate(
    rules: dict[int, str],
    edges: list[tuple[int, int]],
    seconds: dict[str, float],
    gpus: int,
    over: Overhead,
) -> Result:
    """Return the Result of a plan: first come, first served; local steps run at once.

    Each queued job has one GPU.

    seconds: rule -> of one job. A job is ready when Snakemake has seen the end of all that it waits
    for.
    """
    waits = Counter(after for _, after in edges)
    followers: dict[int, list[int]] = {}
    for before, after in edges:
        followers.setdefault(before, []).append(after)

    # What happens next, the earliest first: ready -> (queued -> ended ->) seen.
    events = [(0.0, job, "ready") for job in sorted(rules) if not waits[job]]
    heapq.heapify(events)
    queue: list[tuple[float, int]] = []
    working = 0
    last_s = busy_s = alone_s = 0.0

    while events:
        now, job, event = heapq.heappop(events)
        if working <= 1:
            alone_s += now - last_s
        last_s = now

        rule = rules[job]
        if event == "ready" and rule in QUEUED:
            heapq.heappush(events, (now + over.before_s, job, "queued"))
        elif event == "ready":
            heapq.heappush(events, (now + seconds[rule], job, "seen"))
        elif event == "queued":
            heapq.heappush(queue, (now, job))
        elif event == "ended":
            working -= 1
            heapq.heappush(events, (now + over.after_s, job, "seen"))
        else:
            for follower in followers.get(job, ()):
                waits[follower] -= 1
                if not waits[follower]:
                    heapq.heappush(events, (now, follower, "ready"))

        while queue and working < gpus:
            _, started = heapq.heappop(queue)
            work_s = seconds[rules[started]]
            working += 1
            busy_s += work_s
            heapq.heappush(events, (now + over.inside_s + work_s, started, "ended"))

    queued = sum(rule in QUEUED for rule in rules.values())
    return Result(len(rules), queued, last_s, busy_s, alone_s)


def durations(recorded: Recording, shards: int) -> dict[str, float]:
    """Return rule -> seconds of one job: its start and, of a shard, its part of the work."""
    seconds = {"all": 0.0}
    for rule, times in recorded["rules"].items():
        jobs = shards if rule in SHARDED else 1
        seconds[rule] = times["start_s"] + times["work_s"] / jobs
    return seconds


def draw_figure(rows: list[Row], path: Path) -> None:
    """Draw elapsed time and use of the GPUs over their number; dashed is one GPU's time divided."""
    frame = pl.DataFrame(
        {
            "chains": [f"{row.chains} chain{'s' * (row.chains > 1)}" for row in rows],
            "gpus": [row.gpus for row in rows],
            "hours": [row.result.elapsed_s / 3600 for row in rows],
            "used": [row.used for row in rows],
        }
    )
    first = frame.filter(pl.col("gpus") == 1).select("chains", pl.col("hours").alias("one"))
    frame = frame.join(first, on="chains").with_columns(ideal=pl.col("one") / pl.col("gpus"))
    gpus = alt.X(
        "gpus:Q",
        scale=alt.Scale(type="log", base=2),
        title="GPUs",
        axis=alt.Axis(values=[1, 4, 16, 64]),
    )
    names = sorted(set(frame["chains"].to_list()))
    colors = alt.Scale(domain=names, range=SERIES[: len(names)])
    color = alt.Color("chains:N", scale=colors, title=None, legend=alt.Legend(orient="top"))
    hours = alt.Y("hours:Q", scale=alt.Scale(type="log"), title="hours")
    base = alt.Chart(frame).encode(x=gpus, color=color)
    elapsed = base.mark_line(strokeDash=[3, 3], opacity=0.6).encode(
        y=alt.Y("ideal:Q", title="hours")
    )
    elapsed += base.mark_line(point=True).encode(y=hours)
    use = base.mark_line(point=True).encode(
        y=alt.Y("used:Q", title="share", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    )
    size = {"width": 300, "height": 220}
    both = elapsed.properties(title="Wall-clock time (dashed: divided by the GPUs)", **size)
    path.write_text(
        svg(both | use.properties(title="GPU time at work", **size)) + "\n", encoding="utf-8"
    )


def measure(
    config: Settings,
    recorded: Recording,
    sides: Sequence[int],
    counts: Sequence[int],
    over: Overhead,
) -> list[Row]:
    """Return a row for each number of chains and of GPUs."""
    plans: dict[tuple[int, int], Plan] = {}
    rows = []
    for chains in sides:
        for gpus in counts:
            shards = gpus if gpus >= 16 else config["cycle"]["shards"]
            if (chains, shards) not in plans:
                plans[chains, shards] = plan(side_by_side(config, chains, shards))
            times = durations(recorded, shards)

            result = simulate(*plans[chains, shards], times, gpus, over)
            bare = simulate(*plans[chains, shards], times, gpus, Overhead(0, 0, 0))
            overhead_h = (result.elapsed_s - bare.elapsed_s) / 3600
            rows.append(Row(chains, gpus, shards, result, overhead_h))
    return rows


def table(rows: list[Row]) -> list[str]:
    """Return the lines of the table as docs/scaling.md has it."""
    one = {row.chains: row.result.elapsed_s for row in rows if row.gpus == 1}
    lines = [
        "| chains | GPUs | shards | jobs | of them queued"
        " | wall-clock time, h | speed-up | GPUs in use |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        result = row.result
        speed = f"{one[row.chains] / result.elapsed_s:.1f}" if row.chains in one else ""
        lines.append(
            f"| {row.chains} | {row.gpus} | {row.shards} | {result.jobs:,} | {result.queued:,}"
            f" | {result.elapsed_s / 3600:.1f} | {speed} | {row.used:.0%} |"
        )
    return lines


def write_page(lines: list[str]) -> None:
    """Put the table between its marks in docs/scaling.md."""
    text = PAGE.read_text(encoding="utf-8")
    start, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    PAGE.write_text("\n".join([text[:start], *lines, text[end:]]), encoding="utf-8")


@click.command(context_settings={"show_default": True})
@click.option(
    "--recorded",
    type=click.Path(exists=True, path_type=Path),
    default=ROOT / "benchmarks/recorded/paper.json",
    help="Seconds of every rule, as JSON.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, path_type=Path),
    default=ROOT / "config/config.yaml",
    help="Settings whose chain `main` is simulated.",
)
@click.option(
    "--gpus",
    "counts",
    multiple=True,
    type=click.IntRange(min=1),
    default=(1, 4, 16, 64),
    help="Numbers of GPUs.",
)
@click.option(
    "--chains",
    "sides",
    multiple=True,
    type=click.IntRange(min=1),
    default=(1, 2),
    help="Numbers of chains side by side.",
)
@click.option("--before-s", default=1.0, help="From ready to started, of a queued job.")
@click.option("--inside-s", default=7.0, help="Snakemake's start inside a job; it holds the GPU.")
@click.option("--after-s", default=12.0, help="From the end of a job until it is seen.")
@click.option("--write", is_flag=True, help="Write table and figure into docs/scaling.md.")
def main(
    recorded: Path,
    config: Path,
    counts: tuple[int, ...],
    sides: tuple[int, ...],
    before_s: float,
    inside_s: float,
    after_s: float,
    write: bool,
) -> None:
    """Print the sources of the times, the table, and the hours that SLURM and Snakemake add."""
    recording: Recording = json.loads(recorded.read_text())
    click.echo(f"durations: {recording['name']} ({recording['hardware']})")
    for rule, times in sorted(recording["rules"].items()):
        seconds = f"{times['start_s']:7.1f} s + {times['work_s']:8.1f} s"
        click.echo(f"  {rule:20} {times['kind']:9} {seconds}; {times['basis']}")
    click.echo(f"a queued job: {before_s:g} s before, {inside_s:g} s inside, {after_s:g} s after\n")

    settings = yaml.safe_load(config.read_text())
    rows = measure(settings, recording, sides, counts, Overhead(before_s, inside_s, after_s))
    lines = table(rows)
    click.echo("\n".join(lines))
    hours = [row.overhead_h for row in rows]
    click.echo(f"hours that SLURM and Snakemake add: {min(hours):.2f} to {max(hours):.2f}")
    if write:
        write_page(lines)
        draw_figure(rows, FIGURE)


if __name__ == "__main__":
    main()
