"""Real digits in small number, so that an epoch takes a fraction of a second."""

from pathlib import Path

from safetensors.torch import load_file, safe_open, save_file

from archloop.data.prepare_dataset import prepare_dataset
from archloop.settings.schema import section


def data_settings(**changed: object) -> dict:
    """Return section data with its defaults and what is changed of them."""
    return {key: rule["default"] for key, rule in section("data").items()} | changed


def write_few_digits(path: Path, images: int = 160) -> Path:
    """Write the data set digits with its first training images only, all of validation and test; return the path."""
    prepare_dataset("digits", path, data_settings(), 1)
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    tensors |= {name: tensors[name][:images].clone() for name in ("train_images", "train_labels")}
    save_file(tensors, path, metadata=metadata)
    return path
