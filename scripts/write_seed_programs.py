"""Write the programs of the seed corpus as candidates, to be measured as any candidate is."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.seed_corpus.write_seed_programs import write_seed_programs
from archloop.settings.sections import SeedCorpus
from archloop.workflow.cli import path_option, settings_options, stage


@stage("output", "left_out", packages=("jinja2", "transformers", "tokenizers"))
@settings_options(SeedCorpus)
@path_option("--model", "manifest.json of the prepared model; its tokenizer counts.")
@path_option("--output", "One file for each shard.", multiple=True)
@path_option("--left-out", "What was left out of a LEMUR checkout, and why.")
def main(model: Path, output: tuple[Path, ...], left_out: Path, settings: SeedCorpus) -> None:
    """Distribute the seed programs over the shards, one per line."""
    write_seed_programs(settings, model.parent, output, left_out)


if __name__ == "__main__":
    main()
