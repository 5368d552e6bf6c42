"""Write the programs of the seed corpus, in the form of candidates, so that they are measured as any candidate is."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.families.programs import seed_programs
from archloop.files import write_json, write_jsonl
from archloop.model.loading import token_counter
from archloop.seed_corpus.lemur_programs import read_programs
from archloop.workflow.cli import settings_options, stage

PATH = click.Path(path_type=Path)


@stage("output", "left_out", packages=("jinja2", "transformers", "tokenizers"))
@settings_options("seed_corpus")
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
    count, longest = token_counter(model.parent), settings["max_program_tokens"]

    def short_enough(program: str) -> bool:
        return longest is None or count(program) <= longest

    dropped, choice = [], (settings["per_family"], settings["families"], short_enough)
    if settings["source"] == "lemur":
        programs, dropped = read_programs(settings["lemur_folder"], *choice)
    else:
        programs = [
            {"id": each.id, "family": each.family, "program": each.program}
            for each in seed_programs(*choice)
        ]
    rows = [
        {"chain": "seed", "cycle": 0, "index": index, "shard": index % len(output)} | program
        for index, program in enumerate(programs)
    ]
    write_json(left_out, dropped)
    for shard, path in enumerate(output):
        write_jsonl(path, [row for row in rows if row["shard"] == shard])


if __name__ == "__main__":
    main()
