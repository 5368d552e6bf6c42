"""Fold an adapter into its model: a folder that transformers, vLLM and others load as any model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.workflow.cli import command, path_option, setting_option


@command
@path_option("--model", "manifest.json of the prepared model.")
@path_option("--adapter", "adapter_model.safetensors of a cycle.")
@path_option("--output", "Folder to write, new or empty.")
@setting_option("loading", "dtype", "auto is that of the model's files.")
def main(model: Path, adapter: Path, output: Path, dtype: str) -> None:
    """Write a model with the adapter inside its weights, and its tokenizer."""
    from archloop.model.adapters import export_merged

    export_merged(model.parent, adapter, output, dtype)


if __name__ == "__main__":
    main()
