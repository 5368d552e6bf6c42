"""The language model: what a prepared folder holds, known without torch, and loading it for each job."""

import functools
import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from archloop.allocation import keep_freed_memory
from archloop.errors import InputError, kind_and_line
from archloop.files import read_foreign_json, read_json, sha256_file
from archloop.model.memory import read_header, weight_files
from archloop.progress import get_logger

MANIFEST, ADAPTER = "manifest.json", "adapter_model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
logger = get_logger("models")


def quiet_transformers(offline: bool = True) -> None:
    """Silence the libraries' own progress bars and, by default, keep them from any look-up on the network.

    Call it before transformers is first imported. Jobs never reach out: only prepare_model goes to a hub.
    """
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    # peft imports it, wanted or not, and it misses an optional kernel for CPUs.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def spare_bitsandbytes(quantization: str) -> None:
    """Keep a process that needs no bitsandbytes from loading it: peft would, wherever it is installed.

    It takes a fifth of the time that a job starts in. Call it before peft is first imported.
    """
    if quantization == "none":
        sys.modules["bitsandbytes"] = None  # as Python marks what cannot be imported


def check_model(folder: Path, remedy: str | None = None) -> dict:
    """Return the manifest of a prepared model, with what its weights are under `weights`; torch is not needed.

    weights: bytes on disk; parameters (numbers, those of tied embeddings once); dtypes, parameters by format. What they
    take once loaded: archloop.model.memory. Raises InputError when a file is missing, unreadable or cut off, a shard of
    the weights is not there, it has no tokenizer, or a file that is linked to has changed since. remedy: what to do, by
    default to prepare it anew.
    """
    again = remedy or f"delete {folder / MANIFEST} and run again to prepare the model anew"
    manifest = read_json(folder / MANIFEST, "files", "reference", "revision")
    made = (folder / MANIFEST).stat().st_mtime
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; {again}")
        if not os.access(path, os.R_OK):
            raise InputError(f"{path}: not to be read by this user; change its mode")
        now = path.stat()
        if now.st_size != facts["bytes"]:
            raise InputError(
                f"{path}: {now.st_size} bytes where the manifest says {facts['bytes']}; {again}"
            )
        if (
            path.is_symlink()
            and now.st_mtime > made
            and _digest(path, now.st_mtime_ns, now.st_size) != facts["sha256"]
        ):
            raise InputError(f"{path}: changed since the model was prepared; {again}")
    read_foreign_json(folder / "config.json", "model_type")
    if (folder / "adapter_config.json").exists():  # transformers would load the adapter, too
        raise InputError(f"{folder}: an adapter was put beside the model; move it elsewhere")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise InputError(f"{folder}: no tokenizer ({', '.join(TOKENIZERS)}); {again}")
    return manifest | {"weights": _weights(folder, again)}


@functools.cache
def _digest(path: Path, mtime_ns: int, size: int) -> str:
    """Return the sha256 of a file, read again only when its time or size is another."""
    return sha256_file(path)


def _weights(folder: Path, again: str) -> dict:
    paths = weight_files(folder)
    if not paths:
        raise InputError(f"{folder}: no model.safetensors and no index of its parts; {again}")
    found = {"bytes": 0, "parameters": 0, "dtypes": {}}
    for path in paths:
        for name, tensor in read_header(path).items():
            if name != "__metadata__":
                count = math.prod(tensor["shape"])
                found["parameters"] += count
                found["dtypes"][tensor["dtype"]] = found["dtypes"].get(tensor["dtype"], 0) + count
        found["bytes"] += path.stat().st_size
    return found


def load_tokenizer(folder: Path):
    """Return the tokenizer of a prepared model; it pads on the left, as generation needs."""
    check_model(folder)
    quiet_transformers()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, padding_side="left"
        )
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(
            f"{folder}: its tokenizer cannot be read ({kind_and_line(error)})"
        ) from None
    if tokenizer.eos_token_id is None:
        raise InputError(f"{folder}: its tokenizer names no eos_token, so no answer could end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def token_counter(folder: Path) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text, those that begin or end any text among them.

    Where the model has a tokenizer.json, neither transformers nor torch is imported, which would take seconds.
    """
    check_model(folder)
    path = folder / "tokenizer.json"
    if not path.is_file():
        tokenizer = load_tokenizer(folder)
        return lambda text: len(tokenizer(text)["input_ids"])
    from tokenizers import Tokenizer

    try:
        fast = Tokenizer.from_file(str(path))
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(
            f"{folder}: its tokenizer cannot be read ({kind_and_line(error)})"
        ) from None
    # Some models' files cut or fill up texts, which transformers does on demand alone.
    fast.no_truncation()
    fast.no_padding()
    return lambda text: len(fast.encode(text).ids)


def load_model(folder: Path, loading: dict, device: str):
    """Return the bare causal language model in evaluation mode on `device`.

    loading: the settings `dtype` and `quantization`. Raises InputError when 4 bits are asked for without bitsandbytes,
    or the weights are not all those that the model's configuration describes.
    """
    quiet_transformers()
    import torch
    from transformers import AutoModelForCausalLM

    check_model(folder)
    if device == "cpu":
        keep_freed_memory()
    dtype = _dtype(loading["dtype"], device)
    arguments = {"dtype": dtype, "local_files_only": True}
    if loading["quantization"] == "nf4":
        arguments["quantization_config"] = _nf4(dtype)
    if device != "cpu" or loading["quantization"] == "nf4":
        # The weights go straight to where they belong, not through the memory of the host as a whole.
        arguments["device_map"] = {"": device}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, **arguments
        )
    except torch.OutOfMemoryError:
        raise InputError(
            "loading: the GPU's memory is full; set loading.quantization: nf4, or take another GPU"
        ) from None
    except Exception as error:  # the reader meets a broken model with any kind of error
        raise InputError(f"{folder}: the model cannot be loaded ({kind_and_line(error)})") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} weights of the model are missing, {missing[0]} the first"
        )
    return model.eval().requires_grad_(False)


def save_model(model, tokenizer, folder: Path) -> None:
    """Write model and tokenizer; whoever may read one file may read all (transformers keeps weights to their owner)."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", path)


def load_adapter(model, adapter: Path, dropout: float | None = None):
    """Return the model with an adapter (adapter_model.safetensors, its adapter_config.json beside it).

    dropout: the rate to go on training it with; None loads it for answers alone. Raises InputError when it is missing,
    broken, without some of its weights, or of another model.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    if adapter.name != ADAPTER:  # peft reads that name, whatever it is given
        raise InputError(f"{adapter}: the file of an adapter is named {ADAPTER}; rename it")
    if not adapter.is_file():
        raise InputError(f"{adapter}: no such file")
    stored = set(read_header(adapter)) - {"__metadata__"}
    try:
        config = PeftConfig.from_pretrained(adapter.parent)
        config.lora_dropout = dropout or 0.0
        with warnings.catch_warnings(action="ignore"):
            wrapped = PeftModel.from_pretrained(
                model, adapter.parent, config=config, is_trainable=dropout is not None
            )
    except Exception as error:  # the readers meet a broken file with any kind of error
        raise InputError(
            f"{adapter}: no whole adapter of this model ({kind_and_line(error)})"
        ) from None
    weights = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    odd = {name for name in stored ^ set(weights) if name not in stored or "lora_" in name}
    if odd:
        name = min(odd)
        raise InputError(
            f"{adapter}: {'has' if name in stored else 'lacks'} {name}; no whole adapter of this model"
        )
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise InputError(f"{adapter}: not all of its weights are finite numbers")
    return wrapped


def _dtype(name: str, device: str):
    import torch

    if name != "auto":
        return getattr(torch, name)
    return (
        torch.bfloat16
        if device.startswith("cuda") and torch.cuda.is_bf16_supported()
        else torch.float32
    )


def _nf4(dtype):
    import importlib.util

    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            "loading.quantization: nf4 needs the package bitsandbytes; install it or set it to none"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
