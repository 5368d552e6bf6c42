"""Train a small language model from scratch on programs of the seed families: one for experiments
and tests."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.generation.prompts import PromptTexts, read_hints, read_template
from archloop.settings.sections import ScratchModel
from archloop.workflow.cli import device_option, path_option, settings_options, stage
from archloop.workflow.code_digest import code_digest
from archloop.workflow.provenance import Extras


@stage("output", packages=("torch", "transformers", "tokenizers", "safetensors", "jinja2"))
@settings_options(ScratchModel)
@click.option("--reference", required=True, help="What the manifest names as the model's source.")
@path_option("--template", "Jinja2 template of the run's prompts.")
@path_option("--hints", "YAML file of the run's design hints.")
@click.option("--seed", required=True, type=click.IntRange(0), help="The seed of the run.")
@device_option
@path_option("--state", "Folder of the checkpoint; an interrupted job resumes from it.")
@path_option("--output", "The manifest.json in the model's folder.")
def main(
    reference: str,
    template: Path,
    hints: Path,
    seed: int,
    device: str,
    state: Path,
    output: Path,
    settings: ScratchModel,
) -> Extras:
    """Train a model and a tokenizer and put them into the folder of OUTPUT, as a prepared model."""
    from archloop.scratch_model.train_model import ScratchJob, train_model

    job = ScratchJob(
        reference=reference,
        settings=settings,
        texts=PromptTexts(read_template(template), read_hints(hints)),
        folder=output.parent,
        state=state,
        seed=seed,
        code=code_digest(__file__),
    )
    return {"spent": train_model(job, device)}


if __name__ == "__main__":
    main()
