"""Check a results folder: every file's digest, lineage back to the seeds, every count.

python scripts/verify.py results/
python scripts/verify.py results/ --note      # leaves what it found there, for the next report
python scripts/verify.py results/ --record    # writes Snakemake's records again where they are lost
"""

import sys
from functools import partial
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.errors import InputError
from archloop.report.parts import VERIFIED
from archloop.tools.results_folder import ResultsFolder
from archloop.tools.verify import leave_note, not_as_recorded, summary, verify
from archloop.workflow.cli import command
from archloop.workflow.snakemake_records import record


@command
@click.argument("results", default="results", type=click.Path(path_type=Path))
@click.option(
    "--record",
    "again",
    is_flag=True,
    help="Restore Snakemake's metadata (.snakemake/) from the provenance files.",
)
@click.option(
    "--note",
    "noted",
    is_flag=True,
    help=f"Leave what was found in RESULTS/{VERIFIED}, for the next report.",
)
def main(results: Path, again: bool, noted: bool) -> None:
    """Check the folder RESULTS by the provenance of its files; exit status 1 if one is wrong."""
    if again:
        staleness = partial(not_as_recorded, ResultsFolder(results))
        count, stale = record(results, staleness)
        for line in stale:
            click.echo(f"will be made again: {line}")
        click.echo(f"{count} records written, {len(stale)} jobs to do again")
        return

    findings, counts = verify(results)
    for line in findings:
        click.echo(line)
    click.echo(summary(counts))
    if noted:
        leave_note(results, findings, counts)
    if findings:
        raise InputError(f"{results}: {len(findings)} problems, listed above")


if __name__ == "__main__":
    main()
