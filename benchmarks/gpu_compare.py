"""Compare two runs of one configuration: seconds by stage, admissions, accuracies.

    python benchmarks/gpu_compare.py FOLDER REFERENCE

ends with status 1 where the device disagrees with the reference.

The seed programs are the same in both runs, and trained by the same protocol. On a GPU rounding
differs, and bfloat16 has eight bits; so single accuracies may part, and their mean over all seed
programs must not by more than TOLERANCE.
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

TOLERANCE = 0.05


def seconds_by_stage(folder: Path) -> dict[str, float]:
    """Return the seconds of all jobs of each stage, as Snakemake measured them."""
    seconds: dict[str, float] = defaultdict(float)
    for path in sorted((folder / "logs").rglob("*.tsv")):
        stage = path.stem.partition("-")[0]
        seconds[stage] += float(path.read_text().splitlines()[1].split("\t")[0])
    return dict(seconds)


def seed_accuracies(folder: Path) -> dict[str, float]:
    """Return the accuracy of each seed program that was trained, by its id."""
    accuracies = {}
    for path in (folder / "results" / "seed" / "evaluated").glob("?.json"):
        for record in json.loads(path.read_text())["records"]:
            if record["outcome"] == "trained":
                accuracies[record["id"]] = record["accuracy"]
    return accuracies


def admitted(folder: Path) -> list[int]:
    """Return the number of admitted designs of each cycle."""
    paths = sorted((folder / "results" / "main").glob("cycle-*/summary.json"))
    return [json.loads(path.read_text())["yield"]["count"] for path in paths]


def main(folder: Path, reference: Path) -> int:
    """Print both tables; return 1 where the runs disagree or the device admitted nothing."""
    here_s, there_s = seconds_by_stage(folder), seconds_by_stage(reference)
    print(f"{'stage':24} {folder.name:>12} {reference.name:>12}   seconds, all jobs")
    for stage in sorted({*here_s, *there_s}):
        print(f"{stage:24} {here_s.get(stage, 0):12.1f} {there_s.get(stage, 0):12.1f}")

    here, there = seed_accuracies(folder), seed_accuracies(reference)
    shared = sorted(here.keys() & there.keys())
    if not shared or len(here) != len(there):
        print(f"seed programs trained: {len(here)} and {len(there)}")
        return 1

    # Signed, for the mean over all programs; single ones may part by more.
    differences = [here[name] - there[name] for name in shared]
    off = abs(statistics.fmean(differences))
    most = max(map(abs, differences))
    print(
        f"seed programs: {len(shared)}, mean accuracy off by {off:.4f} ({TOLERANCE} allowed),"
        f" one by {most:.4f} at most"
    )

    counts, reference_counts = admitted(folder), admitted(reference)
    print(f"admitted by cycle: {counts} and {reference_counts}")
    return int(off > TOLERANCE or len(counts) < 2 or not sum(counts))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
