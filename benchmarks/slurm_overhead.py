"""What SLURM and Snakemake add to a job, from a chain of jobs that do nothing.

    python benchmarks/slurm_overhead.py -- \\
        --default-resources slurm_account=lab slurm_partition=cpu mem_mb=500

It wants a cluster; what comes after `--` goes to Snakemake. Times are those of sacct, whole seconds
each. Prints the options of benchmarks/scale.py. Results: docs/scaling.md.
"""

import re
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
SNAKEFILE = f"""
import sys
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
sys.path.insert(0, {str(ROOT / "scripts")!r})
from archloop.errors import InputError
include: {str(ROOT / "rules" / "slurm.smk")!r}
rule all:
    input: "JOBS.txt"
localrules: all
def before(wildcards):
    number = int(wildcards.number)
    return [f"{{number - 1}}.txt"] if number > 1 else []
rule step:
    output: "{{number}}.txt"
    input: before
    shell: "touch {{output}}"
"""


@click.command(context_settings={"show_default": True, "ignore_unknown_options": True})
@click.option("--jobs", default=8, type=click.IntRange(min=3), help="Jobs of the chain.")
@click.option(
    "--folder",
    type=click.Path(exists=True),
    help="A folder that all nodes see; without it the current one.",
)
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
def main(jobs: int, folder: str | None, more: tuple[str, ...]) -> None:
    """Print the medians of the chain."""
    with tempfile.TemporaryDirectory(dir=folder or ".", prefix=".overhead-") as temporary:
        (Path(temporary) / "Snakefile").write_text(SNAKEFILE.replace("JOBS", str(jobs)))
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--directory",
            temporary,
            "--snakefile",
            f"{temporary}/Snakefile",
        ]
        command += ["--profile", str(ROOT / "profiles" / "slurm"), *more]
        done = subprocess.run(command, capture_output=True, text=True)
    name = re.search(r"SLURM run ID: (\S+)", done.stderr)
    if done.returncode or not name:
        raise click.ClickException("\n".join(done.stderr.splitlines()[-10:]))
    asked = ["sacct", "-X", "-n", "-P", "--name", name[1], "-o", "Submit,Start,End"]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    times = sorted(tuple(map(datetime.fromisoformat, line.split("|"))) for line in lines)
    submitted = [(start - submit).total_seconds() for submit, start, _ in times]
    inside = [(end - start).total_seconds() for _, start, end in times]
    seen = [(after[0] - before[2]).total_seconds() for before, after in pairwise(times)]
    for option, what, values in (
        ("--before-s", "submitted to started", submitted),
        ("--inside-s", "started to ended, doing nothing", inside),
        ("--after-s", "ended to the next one submitted", seen),
    ):
        print(
            f"{option} {statistics.median(values):g}"
            f"   ({what}; {min(values):g} to {max(values):g}, of {len(values)})"
        )


if __name__ == "__main__":
    main()
