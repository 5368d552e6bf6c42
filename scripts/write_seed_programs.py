"""Write the programs of the seed corpus, in the form of candidates, so that they are measured as any candidate is."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.seed_corpus.write_seed_programs import write_seed_programs
from archloop.settings.sections import SeedCorpus
from archloop.workflow.cli import settings_options, stage

PATH = click.Path(path_type=Path)


@stage("output", "left_out", packages=("jinja2", "transformers", "tokenizers"))
@settings_options(SeedCorpus)
@click.option(
    "--model",
    required=True,
    type=PATH,
    help="manifest.json of the prepared model; its tokenizer counts.",
)
@click.option("--output", required=True, multiple=True, type=PATH, help="One file for each shard.")
@click.option(
    "--left-out", required=True, type=PATH, help="What was left out of a LEMUR checkout, and why."
)
def main(model, output, left_out, settings) -> None:
    """Distribute the seed programs over the shards, one per line."""
    write_seed_programs(settings, model.parent, output, left_out)


if __name__ == "__main__":
    main()
