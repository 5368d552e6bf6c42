"""Fold an adapter into its model: a folder that transformers, vLLM and others load as any model."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.workflow.cli import command, setting_option

PATH = click.Path(path_type=Path)


@command
@click.option("--model", required=True, type=PATH, help="manifest.json of the prepared model.")
@click.option("--adapter", required=True, type=PATH, help="adapter_model.safetensors of a cycle.")
@click.option("--output", required=True, type=PATH, help="Folder to write, new or empty.")
@setting_option("loading", "dtype", "auto is that of the model's files.")
def main(model: Path, adapter: Path, output: Path, dtype: str) -> None:
    """Write a model with the adapter inside its weights, and its tokenizer."""
    from archloop.model.adapters import export_merged

    export_merged(model.parent, adapter, output, dtype)


if __name__ == "__main__":
    main()
