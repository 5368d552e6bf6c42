"""Real digits in small number, so that an epoch takes a fraction of a second."""

from pathlib import Path

from safetensors.torch import load_file, safe_open, save_file

from archloop.data.dataset_file import SPLITS, DatasetMetadata
from archloop.data.prepare_dataset import prepare_dataset
from archloop.settings.schema import section
from archloop.settings.sections import Data


def data_settings(**changed: object) -> Data:
    """Return section data with its defaults and what is changed of them."""
    return Data(**({key: rule["default"] for key, rule in section("data").items()} | changed))


def dataset_metadata(**changed: object) -> DatasetMetadata:
    """Return the metadata of a data set of ten classes with what is changed of them."""
    plain = {"name": "digits", "classes": 10, "class_names": [*"0123456789"], "channels": 1, "size": 8, "chance": 0.1}
    plain |= {"mean": [0.5], "std": [0.3], "images": dict.fromkeys(SPLITS, 10), "notes": [], "seed": 1}
    return DatasetMetadata(**(plain | changed))


def write_few_digits(path: Path, images: int = 160) -> Path:
    """Write the data set digits with its first training images only, all of validation and test; return the path."""
    prepare_dataset("digits", path, data_settings(), 1)
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    tensors |= {name: tensors[name][:images].clone() for name in ("train_images", "train_labels")}
    save_file(tensors, path, metadata=metadata)
    return path
