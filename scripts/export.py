"""Export the admitted architectures of a chain as LEMUR-ready files, best first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.tables import read_corpus
from archloop.files import write_json
from archloop.lemur.export import export
from archloop.workflow.cli import path_option, stage
from archloop.workflow.provenance import Extras


@stage("output", packages=("polars",))
@path_option("--corpus", "Corpus files of the chain.", multiple=True)
@path_option("--output", "index.json; the programs go beside it.")
def main(corpus: tuple[Path, ...], output: Path) -> Extras:
    """Write one file per program, and last the index that names them with their hashes."""
    index = export(read_corpus(corpus), output.parent)
    write_json(output, index)
    programs = []
    for row in index:
        programs += [output.parent / name for name in row["files"]]
    return {"outputs": programs}


if __name__ == "__main__":
    main()
