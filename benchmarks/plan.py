"""How long Snakemake thinks: the plan of a new run, the start of one with nothing left to do.

nice python benchmarks/plan.py --repeats 4 --repeats 8 --repeats 15

Each size is a folder with every file of a run, made up and touched by Snakemake, of one chain of 22
cycles with 4 shards, repeated. Elapsed and processor seconds of each command.
"""

import base64
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import polars as pl
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.corpus.tables import CANDIDATES  # noqa: E402
from archloop.report.summarize import summarize  # noqa: E402

# The terminal shows one of these a cycle at the end of a run.
SUMMARY = summarize(pl.DataFrame(schema=CANDIDATES), None, 0.4, "main", 1, "digits")


def snakemake(folder: Path, *arguments: str) -> tuple[str, float, float]:
    """Return (output, elapsed seconds, processor seconds); a failure ends the benchmark."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--directory",
        str(folder),
    ]
    command += [
        "--profile",
        str(ROOT / "profiles" / "local"),
        "--configfile",
        str(folder / "plan.yaml"),
        *arguments,
    ]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    elapsed = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout + done.stderr, elapsed, processor


def write_settings(folder: Path, repeats: int) -> None:
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    config["cycle"]["shards"] = 4
    config["chains"]["main"] |= {"cycles": 22, "repeats": repeats}
    (folder / "plan.yaml").write_text(yaml.safe_dump(config))


def finish(folder: Path) -> None:
    """Make every file of the run, and let Snakemake take them for what its jobs wrote."""
    summary, *_ = snakemake(folder, "--summary")
    model = yaml.safe_load((folder / "plan.yaml").read_text())["model"]
    contents = {"summary.json": SUMMARY, "manifest.json": {"revision": None} | model}
    lines = [
        line.split("\t")
        for line in summary.splitlines()
        if line.startswith(("results/", "resources/"))
    ]
    for name, *_ in lines:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(contents.get(path.name, name)))
        # Under way, for Snakemake: without this mark or a record, a run would stop at a file that
        # nobody has made.
        mark = (
            folder / ".snakemake" / "incomplete" / base64.urlsafe_b64encode(name.encode()).decode()
        )
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    snakemake(folder, "--forceall", "--touch")


def measure(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_settings(folder, repeats)
        plan, *new = snakemake(folder, "--dry-run", "--quiet", "rules")
        jobs = next(line.split()[1] for line in plan.splitlines() if line.startswith("total"))
        finish(folder)
        dry, *finished = snakemake(folder, "--dry-run")
        real, *start = snakemake(folder)
        if "Nothing to be done" not in dry or "Nothing to be done" not in real:
            sys.exit(f"the folder is not finished:\n{dry[-2000:]}")
    for what, (elapsed, processor) in (
        ("plan of a new run", new),
        ("finished, -n", finished),
        ("finished, start", start),
    ):
        print(f"{jobs} jobs, {what}: {elapsed:.1f} s, {processor:.1f} CPU s", flush=True)


@click.command()
@click.option(
    "--repeats", multiple=True, default=(4, 8, 15), help="Repeats of the chain; each is 265 jobs."
)
def main(repeats: tuple[int, ...]) -> None:
    """Print the times of all sizes."""
    for count in repeats:
        measure(count)


if __name__ == "__main__":
    main()
