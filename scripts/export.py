"""Export the admitted architectures of a chain as LEMUR-ready files, best first."""

from pathlib import Path

import click

from archloop.cli import command
from archloop.corpus import read_corpus
from archloop.export import export
from archloop.files import write_json

PATH = click.Path(path_type=Path)


@command
@click.option("--corpus", multiple=True, required=True, type=PATH, help="Corpus shards of the chain.")
@click.option("--output", required=True, type=PATH, help="index.json; the programs go beside it.")
def main(corpus, output) -> None:
    """Write one file a program, and last the index that names them with their digests."""
    write_json(output, export(read_corpus(corpus), output.parent))


if __name__ == "__main__":
    main()
