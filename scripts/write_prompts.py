"""Write the prompts of one cycle, one for each candidate, from the template, the hints and the
corpus as it stands."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.tables import read_corpus
from archloop.data.dataset_file import read_metadata
from archloop.files import write_jsonl
from archloop.generation.write_prompts import (
    Contents,
    PromptTexts,
    References,
    any_prompt_fits,
    cycle_prompts,
    read_hints,
    read_template,
    room_for_answer,
    task_of,
)
from archloop.logs import get_logger
from archloop.settings.sections import Prompts
from archloop.workflow.cli import path_option, setting_option, settings_options, stage, value_of


@stage("output", packages=("jinja2", "polars"))
@settings_options(Prompts)
@click.option("--chain", required=True, help="Name of the chain.")
@click.option("--cycle", required=True, type=click.IntRange(min=1), help="Number of the cycle.")
@click.option("--seed", required=True, type=int, help="The seed of the run.")
@click.option(
    "--candidates",
    required=True,
    type=value_of("cycle", "candidates"),
    help="Candidates of the cycle; each answers one prompt.",
)
@click.option(
    "--parameter-budget",
    required=True,
    type=value_of("evaluation", "parameter_budget"),
    help="Parameters that the judge allows; the prompt names them.",
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
@setting_option("generation", "opening", "What an answer begins with.")
@path_option("--output", "prompts.jsonl")
def main(
    chain,
    cycle,
    seed,
    candidates,
    parameter_budget,
    epochs,
    dataset,
    corpus,
    model,
    max_new_tokens,
    opening,
    output,
    settings,
) -> None:
    """Write the prompts of a cycle, one per line."""
    texts = PromptTexts(read_template(Path(settings.template)), read_hints(Path(settings.hints)))
    task = task_of(read_metadata(dataset), epochs, parameter_budget)
    references = References(
        corpus=read_corpus(corpus).to_dicts() if settings.references else [],
        count=settings.references,
        fits=room_for_answer(model.parent, max_new_tokens, opening) if model else any_prompt_fits,
    )

    contents = Contents(texts, task, references)
    rows = cycle_prompts(chain, cycle, seed, candidates, contents)
    fewer = sum(len(row["references"]) < settings.references for row in rows)
    if fewer:
        get_logger("prompts").info(
            "%d of %d prompts show fewer references than asked for", fewer, len(rows)
        )
    write_jsonl(output, rows)


if __name__ == "__main__":
    main()
