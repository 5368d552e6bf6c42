"""Make candidates again from their records, and say whether each step comes out as it did.

python scripts/replay.py main-02-0007
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.tools.replay import replay
from archloop.workflow.cli import command, device_option, path_option, setting_option


@command
@click.argument("identities", nargs=-1, required=True, metavar="ID...")
@path_option("--results", "Folder of results.", required=False, default="results")
@device_option
@setting_option("execution", "isolation", "See execution.isolation.")
def main(identities: tuple[str, ...], results: Path, device: str, isolation: str) -> None:
    """Recompute each candidate ID (prompt, program, evaluation, outcome) and compare it with its
    record.

    Exit status 1 if anything differs.
    """
    same = True
    shown = None
    for identity, step in replay(results, identities, device, isolation):
        if len(identities) > 1 and identity != shown:
            click.echo(f"{identity}:")
            shown = identity
        verdict = "same" if step.same else "DIFFERS"
        click.echo(f"{step.name:>10}  {verdict}: {step.remark}")
        same &= step.same
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
