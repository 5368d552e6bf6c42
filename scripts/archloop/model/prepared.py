"""A prepared model: the files of its folder and its manifest, checked without torch in
milliseconds."""

import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path

from archloop import layout
from archloop.errors import InputError
from archloop.files import has_keys, read_foreign_json, read_json, sha256_file
from archloop.model.memory import read_header, weight_files

MANIFEST = "manifest.json"
# The files of an adapter, as peft names them, and what it was trained on.
ADAPTER = Path(layout.ADAPTER).name
ADAPTER_CONFIG = Path(layout.ADAPTER_CONFIG).name
LINEAGE = Path(layout.TRAINING).name
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class ModelFile:
    """A file of a prepared model, as its manifest has it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Weights:
    """bytes: on disk. parameters: numbers, those of tied embeddings once.

    dtypes: parameters by format (F32, BF16).
    """

    bytes: int
    parameters: int
    dtypes: dict[str, int]


@dataclass(frozen=True)
class PreparedModel:
    """What the manifest says, and what the weights are.

    reference, revision: where the model comes from, for a hub the commit. chat_tokens: how many
    tokens the chat format adds to a prompt, None while the manifest is being written.
    """

    reference: str
    revision: str | None
    files: dict[str, ModelFile]
    chat_tokens: int | None
    weights: Weights


def check_model(folder: Path, remedy: str | None = None) -> PreparedModel:
    """Return what a prepared folder holds.

    What its weights take once loaded: archloop.model.memory.

    Raises InputError when a file is missing, unreadable or cut off, a shard of the weights is not
    there, it has no tokenizer, or a file that is linked to has changed since. remedy: what to do,
    by default to prepare it again.
    """
    again = remedy or f"delete {folder / MANIFEST} and run again to have the model prepared"
    manifest = read_json(folder / MANIFEST, "files", "reference", "revision")
    files = {}
    for name, entry in manifest["files"].items():
        entry = has_keys(entry, ("bytes", "sha256"), folder / MANIFEST)
        files[name] = ModelFile(entry["bytes"], entry["sha256"])

    for name, file in files.items():
        _check_file(folder / name, file, folder / MANIFEST, again)

    read_foreign_json(folder / "config.json", "model_type")
    if (folder / ADAPTER_CONFIG).exists():  # transformers would load the adapter, too
        raise InputError(f"{folder}: an adapter was put beside the model; move it elsewhere")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        names = ", ".join(TOKENIZERS)
        raise InputError(f"{folder}: no tokenizer ({names}); {again}")

    return PreparedModel(
        reference=manifest["reference"],
        revision=manifest["revision"],
        files=files,
        chat_tokens=manifest.get("chat_tokens"),
        weights=_weights(folder, again),
    )


def _check_file(path: Path, file: ModelFile, manifest: Path, again: str) -> None:
    if not path.is_file():
        raise InputError(f"{path}: missing; {again}")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: not to be read by this user; change its mode")

    status = path.stat()
    size = status.st_size
    if size != file.bytes:
        raise InputError(f"{path}: {size} bytes where the manifest says {file.bytes}; {again}")

    # What is linked to belongs to someone else, who may have changed it. To read gigabytes takes
    # minutes.
    is_suspect = path.is_symlink() and status.st_mtime > manifest.stat().st_mtime
    if is_suspect and _digest(path, status.st_mtime_ns, status.st_size) != file.sha256:
        raise InputError(f"{path}: changed since the model was prepared; {again}")


@functools.cache
def _digest(path: Path, mtime_ns: int, size: int) -> str:
    """Return the sha256 of a file, read again only when its time or size is another."""
    return sha256_file(path)


def _weights(folder: Path, again: str) -> Weights:
    paths = weight_files(folder)
    if not paths:
        raise InputError(f"{folder}: no model.safetensors and no index of its parts; {again}")

    dtypes: dict[str, int] = {}
    for path in paths:
        for tensor in read_header(path).tensors.values():
            count = math.prod(tensor.shape)
            dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + count
    size = sum(path.stat().st_size for path in paths)
    return Weights(size, sum(dtypes.values()), dtypes)
