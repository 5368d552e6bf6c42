"""Make a data set ready: one file with uint8 images, labels and the seeded split."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.settings.schema import schema
from archloop.settings.sections import Data
from archloop.workflow.cli import path_option, settings_options, stage

DATASETS = schema()["$defs"]["dataset"]["enum"]


@stage("output", packages=("torch", "torchvision", "numpy", "scikit-learn", "pillow"))
@settings_options(Data)
@click.option(
    "--dataset",
    required=True,
    type=click.Choice(DATASETS),
    help="Name of the data set.",
)
@click.option("--seed", required=True, type=int, help="Seed of the splits.")
@path_option("--output", "The safetensors file.")
def main(dataset: str, seed: int, output: Path, settings: Data) -> None:
    """Write the data set with its splits and metadata as one file."""
    from archloop.data.prepare_dataset import prepare_dataset

    prepare_dataset(dataset, output, settings, seed)


if __name__ == "__main__":
    main()
