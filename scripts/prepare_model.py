"""Make a language model ready: from a hub, a folder, a GGUF file or a wheel to safetensors, with a
manifest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.model.prepare_model import prepare_model
from archloop.settings.sections import Model
from archloop.workflow.cli import path_option, settings_options, stage


@stage("output", packages=("torch", "transformers", "gguf", "safetensors"))
@settings_options(Model)
@path_option("--output", "The manifest.json in its folder.")
def main(output: Path, settings: Model) -> None:
    """Put a model and its tokenizer into the folder of OUTPUT, checked and converted."""
    prepare_model(settings, output.parent)


if __name__ == "__main__":
    main()
