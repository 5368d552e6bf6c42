"""Write the prompts of one cycle, one for each candidate, from the template, the hints and the
corpus as it stands."""

import sys
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.files import write_jsonl
from archloop.generation.write_prompts import PromptJob, write_prompts
from archloop.settings.sections import Prompts
from archloop.workflow.cli import cell_options, path_option, setting_option, settings_options, stage


@stage("output", packages=("jinja2", "polars"))
@settings_options(Prompts)
@cell_options
@click.option("--seed", required=True, type=int, help="The seed of the run.")
@setting_option("cycle", "candidates", "Candidates; each answers one prompt.", required=True)
@setting_option(
    "evaluation",
    "parameter_budget",
    "Parameters that the judge allows; the prompt names them.",
    required=True,
)
@click.option(
    "--epochs", required=True, type=int, help="Epochs of the evaluation; the prompts state them."
)
@path_option("--dataset", "Prepared data set, which the prompts describe.")
@path_option("--corpus", "Corpus files to draw references from.", required=False, multiple=True)
@path_option(
    "--model",
    "manifest.json of the prepared model; with it, references that fit are shown.",
    required=False,
)
@setting_option("generation", "max_new_tokens", "Longest answer.")
@setting_option("generation", "response_prefix", "What an answer begins with.")
@path_option("--output", "prompts.jsonl")
def main(model: Path | None, output: Path, **options: Any) -> None:
    """Write the prompts of a cycle, one per line."""
    folder = None if model is None else model.parent
    rows = write_prompts(PromptJob(model=folder, **options))
    write_jsonl(output, rows)


if __name__ == "__main__":
    main()
