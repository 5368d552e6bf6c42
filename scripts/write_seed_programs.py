"""Write the programs of the seed corpus, in the form of candidates, so that they are measured as any candidate is."""

from pathlib import Path

import click

from archloop.cli import command, settings_options
from archloop.files import write_jsonl
from archloop.models import load_tokenizer
from archloop.seed_programs import seed_programs

PATH = click.Path(path_type=Path)


@command
@settings_options("seed_corpus")
@click.option("--model", required=True, type=PATH, help="manifest.json of the prepared model; its tokenizer counts.")
@click.option("--output", required=True, multiple=True, type=PATH, help="One file for each shard.")
def main(model, output, settings) -> None:
    """Deal the programs out to the shards, one a line."""
    tokenizer, longest = load_tokenizer(model.parent), settings["max_tokens"]

    def short_enough(program: str) -> bool:
        return longest is None or len(tokenizer(program)["input_ids"]) <= longest

    programs = seed_programs(settings["per_family"], settings["families"], short_enough)
    rows = [
        {"id": each.id, "chain": "seed", "cycle": 0, "index": index, "shard": index % len(output)}
        | {"family": each.family, "program": each.program}
        for index, each in enumerate(programs)
    ]
    for shard, path in enumerate(output):
        write_jsonl(path, [row for row in rows if row["shard"] == shard])


if __name__ == "__main__":
    main()
