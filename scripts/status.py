"""Show what has been reached: the funnel of every finished cycle, and where the report is."""

from pathlib import Path

import click

from archloop.cli import command
from archloop.errors import InputError
from archloop.status import status_table


@command
@click.option("--results", default="results", type=click.Path(path_type=Path), help="Folder of results.")
@click.option("--chain", multiple=True, help="NAME:CYCLES; without it every chain that is found.")
def main(results: Path, chain: tuple[str, ...]) -> None:
    """Print a table of the funnel per cycle."""
    chains = {}
    for given in chain:
        name, _, cycles = given.partition(":")
        if not cycles.isdigit():
            raise InputError(f"--chain {given}: wants NAME:CYCLES, as in main:22")
        chains[name] = int(cycles)
    for folder in sorted(results.glob("*/cycle-*")) if not chains else ():
        cycle = folder.name.removeprefix("cycle-")
        chains[folder.parent.name] = max(chains.get(folder.parent.name, 0), int(cycle) if cycle.isdigit() else 0)
    click.echo(status_table(results, chains) if chains else f"nothing finished in {results}/ yet")


if __name__ == "__main__":
    main()
