"""How far a run is: the funnel of every cycle so far, jobs and time left, in the terminal. Starts in a blink.

It looks at which of the planned files are there, so it works beside a run, after one, and on a copy of its folder.
Standard library only.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import SETTINGS_FILE
from archloop.outcomes import NOT_VALID
from archloop.progress import duration
from archloop.settings.chains import effective, parent_of, trains, uses_seed_adapter

FEW_CHAINS = 4  # of more, only the last two cycles each are shown


@dataclass(frozen=True)
class Job:
    """One planned job: its stage, the file that it leaves last, and where its duration is on record."""

    chain: str
    cycle: int
    stage: str
    path: Path


def status(results: Path, logs: Path, jobs: list[Job] | None = None) -> str:
    """Return what there is to say of a results folder; logs: the folder with the benchmarks of its jobs.

    jobs: of `plan`, where somebody has planned already.
    """
    settings = settings_of(results)
    chains = {name: chain for name, chain in settings.get("chains", {}).items() if name != "seed"}
    if not chains:
        return f"no run has been started in {results}/ yet"
    lines = []
    for name, chain in chains.items():
        lines += _chain_lines(
            results / name, name, chain["cycles"], 999 if len(chains) <= FEW_CHAINS else 2
        )
    jobs = plan(results, settings) if jobs is None else jobs
    if jobs:
        left = [job for job in jobs if not job.path.is_file()]
        lines.append(f"jobs: {len(jobs) - len(left)} of {len(jobs)} done, {len(left)} left")
        lines += [f"time left: {time_left(left, settings, durations(logs))}"] if left else []
    report = results / "report" / "index.html"
    if report.is_file():
        lines.append(f"report: {report}")
    return "\n".join(lines)


def plan(results: Path, settings: dict) -> list[Job]:
    """Return all jobs of a run from the seed corpus on; none where the folder holds no settings."""
    if "seed_corpus" not in settings:
        return []
    seed, shards = results / "seed", settings["seed_corpus"]["shards"]
    jobs = [Job("seed", 0, "write_seed_programs", seed / "left_out.json")]
    jobs += [
        Job("seed", 0, "evaluate", seed / "evaluated" / f"{shard}.json") for shard in range(shards)
    ]
    jobs.append(Job("seed", 0, "build_seed_corpus", seed / "corpus.parquet"))
    if uses_seed_adapter(settings):
        jobs.append(Job("seed", 0, "finetune", seed / "adapter" / "adapter_model.safetensors"))
    for name, chain in settings["chains"].items():
        for cycle in range(1, chain.get("cycles", 0) + 1):
            folder = results / name / f"cycle-{cycle}"
            shards = effective(settings, "cycle", name, cycle)["shards"]
            writer = {"model": "generate", "families": "draw_families"}.get(
                chain["source"], "transfer"
            )
            if writer == "generate":
                jobs.append(Job(name, cycle, "write_prompts", folder / "prompts.jsonl"))
            jobs += [
                Job(name, cycle, writer, folder / "generated" / f"{shard}.jsonl")
                for shard in range(shards)
            ]
            jobs += [
                Job(name, cycle, "evaluate", folder / "evaluated" / f"{shard}.json")
                for shard in range(shards)
            ]
            jobs.append(Job(name, cycle, "admit", folder / "candidates.parquet"))
            if trains(settings, name, cycle):
                jobs.append(
                    Job(name, cycle, "finetune", folder / "adapter" / "adapter_model.safetensors")
                )
            jobs.append(Job(name, cycle, "summarize", folder / "summary.json"))
        if name != "seed":
            jobs.append(Job(name, 0, "export", results / name / "architectures" / "index.json"))
    return [*jobs, Job("", 0, "report", results / "report" / "index.html")]


def recorded(logs: Path) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of the jobs on record by (chain, stage); the chain is "" for jobs that belong to none."""
    found: dict[tuple[str, str], list[float]] = {}
    for path in logs.glob("**/*.tsv"):
        seconds = _seconds(path)
        if seconds is not None:
            chain = path.relative_to(logs).parts[0] if path.parent != logs else ""
            found.setdefault((chain, path.stem.split("-")[0]), []).append(seconds)
    return found


def durations(logs: Path) -> dict[tuple[str, str], float]:
    """Return the mean seconds of the jobs on record by (chain, stage), and by ("", stage) over all chains' cycles."""
    found = recorded(logs)
    for (chain, stage), values in list(found.items()):
        if chain not in ("", "seed"):
            found["", stage] = found.get(("", stage), []) + values
    return {key: sum(values) / len(values) for key, values in found.items()}


def time_left(left: list[Job], settings: dict, seconds: dict[tuple[str, str], float]) -> str:
    """Return the time left in words: with all jobs side by side that can be, and one job after another.

    What no job on record tells is counted as nothing and named.
    """
    span = seconds_left(left, settings, seconds)
    if span is None:
        return "unknown, for no job like those left has ended yet"
    least, most = map(duration, span)
    unknown = sorted({job.stage for job in left if expected(job, seconds) is None})
    text = f"{least} to {most}" if least != most else least
    text += " (shards and chains side by side, to one job after another)" if least != most else ""
    return text + (
        f"; more for {', '.join(unknown)}, of which no job has ended yet" if unknown else ""
    )


def seconds_left(
    left: list[Job], settings: dict, seconds: dict[tuple[str, str], float]
) -> tuple[float, float] | None:
    """Return (least, most) seconds of the jobs left: side by side, one after another; None where nothing tells."""

    def of(job: Job) -> float:
        return expected(job, seconds) or 0.0

    if not any(map(of, left)):
        return None
    slowest: dict[tuple[str, int], dict[str, float]] = {}
    for job in left:
        stages = slowest.setdefault((job.chain, job.cycle), {})
        stages[job.stage] = max(stages.get(job.stage, 0.0), of(job))
    ends = [_path(name, settings, slowest) for name in settings["chains"]]
    after = sum(slowest.get(("", 0), {}).values())  # the report waits for every chain
    return max(ends, default=0.0) + after, sum(map(of, left))


def expected(job: Job, seconds: dict[tuple[str, str], float]) -> float | None:
    """Return the mean seconds of jobs like this one, of its own chain where there are any; None where none ended."""
    return seconds.get((job.chain, job.stage), seconds.get(("", job.stage)))


def _path(chain: str, settings: dict, slowest: dict, last: int | None = None) -> float:
    """Return the seconds until a chain has ended (or its cycle `last`), what it starts from included."""
    facts = settings["chains"][chain]
    cycles = range(facts.get("cycles", 0) + 1) if last is None else range(last + 1)
    own = sum(sum(slowest.get((chain, cycle), {}).values()) for cycle in cycles)
    if chain == "seed":
        return own
    parent, cycle = parent_of(settings, chain)
    return own + _path("seed" if parent == "base" else parent, settings, slowest, cycle)


def settings_of(results: Path) -> dict:
    """Return the run's settings; without them, the chains and cycles that are found."""
    if (results / SETTINGS_FILE).is_file():
        return read_json(results / SETTINGS_FILE, "chains")
    chains: dict[str, dict] = {}
    for folder in sorted(results.glob("*/cycle-*")):
        cycle = folder.name.removeprefix("cycle-")
        known = chains.setdefault(folder.parent.name, {"cycles": 0})
        known["cycles"] = max(known["cycles"], int(cycle) if cycle.isdecimal() else 0)
    return {"chains": chains}


def _chain_lines(folder: Path, name: str, planned: int, most: int) -> list[str]:
    """Return the lines of a chain with the last `most` of its cycles that have begun."""
    rows, finished = [], 0
    for cycle in range(1, planned + 1):
        place = folder / f"cycle-{cycle}"
        if (place / "summary.json").is_file():
            finished += 1
            rows.append(
                _finished_row(read_json(place / "summary.json", "funnel", "accuracy", "valid"))
            )
        elif place.is_dir():
            rows.append(_row_under_way(cycle, place))
    head = f"chain {name}: {finished} of {planned} cycles finished"
    return [head, "", *_table(rows[-most:]), ""] if rows else [head]


def _finished_row(summary: dict) -> dict:
    funnel, accuracy = summary["funnel"], summary["accuracy"]
    return funnel | {
        "cycle": str(summary["cycle"]),
        "candidates": summary["candidates"],
        "valid": f"{summary['valid']['count']} ({percent(summary['valid']['share'])})",
        "mean": percent(accuracy["mean"]),
        "best": percent(accuracy["best"]),
    }


def _row_under_way(cycle: int, place: Path) -> dict:
    """Return the row of a cycle that runs: what was generated and judged so far; no verdict yet."""
    records = []
    for path in sorted((place / "evaluated").glob("[0-9]*.json")):
        if not path.name.endswith(".run.json"):
            try:
                records += read_json(path, "records")["records"]
            except InputError:
                continue  # a file that is just being replaced; the next look finds it
    generated = 0
    for path in (place / "generated").glob("*.jsonl"):
        with open(path, "rb") as opened:
            generated += sum(1 for _ in opened)
    counts = Counter(record["outcome"] for record in records)
    scores = [record["accuracy"] for record in records if record.get("accuracy") is not None]
    return {name: counts[name] for name in NOT_VALID} | {
        "cycle": f"{cycle} under way",
        "candidates": generated,
        "valid": f"{counts['trained']} of {len(records)}" if records else "",
        "mean": percent(sum(scores) / len(scores) if scores else None),
        "best": percent(max(scores, default=None)),
    }


def _table(rows: list[dict]) -> list[str]:
    failures = [name for name in NOT_VALID if any(row.get(name) for row in rows)]
    header = [
        "cycle",
        "candidates",
        *failures,
        "valid",
        "below_threshold",
        "near_copy",
        "admitted",
        "mean",
        "best",
    ]
    table = [header, *([str(row.get(name, "")) for name in header] for row in rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(header))]
    return [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in table
    ]


def _seconds(path: Path) -> float | None:
    """Return the seconds of a benchmark that Snakemake wrote; None for one that is not whole."""
    try:
        return float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
    except (OSError, ValueError, IndexError):
        return None


def percent(share: float | None) -> str:
    """Return a share (0 to 1) in per cent with one decimal, `-` for None."""
    return "-" if share is None else f"{100 * share:.1f} %"
