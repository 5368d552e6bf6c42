"""The language model of a prepared folder, loaded for each job: its tokenizer, its weights and an
adapter on them."""

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archloop.allocation import keep_freed_memory
from archloop.errors import InputError, kind_and_line
from archloop.model.memory import read_header
from archloop.model.prepared import ADAPTER, check_model
from archloop.model.types import LanguageModel, Tokenizer
from archloop.settings.sections import Loading

if TYPE_CHECKING:
    import torch


def quiet_transformers(offline: bool = True) -> None:
    """Silence the libraries' own progress bars and, by default, keep them from any look-up on the
    network.

    Call it before transformers is first imported. Jobs never reach out: only prepare_model goes to
    a hub.
    """
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers.utils import logging as module

    transformers_logging: Any = module
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    # peft imports it, wanted or not, and it misses an optional kernel for CPUs.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def spare_bitsandbytes(quantization: str) -> None:
    """Keep a process that needs no bitsandbytes from loading it: peft would, wherever it is
    installed.

    It takes a fifth of the time that a job starts in. Call it before peft is first imported.
    """
    if quantization == "none":
        modules: dict[str, Any] = vars(sys)["modules"]
        modules["bitsandbytes"] = None  # as Python marks what cannot be imported


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a prepared model; it pads on the left, as generation needs."""
    check_model(folder)
    quiet_transformers()
    from transformers import AutoTokenizer

    load: Any = AutoTokenizer.from_pretrained
    try:
        tokenizer = load(folder, local_files_only=True, padding_side="left")
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
    """Return a function that counts the tokens of a text, those that begin or end any text among
    them.

    Where the model has a tokenizer.json, neither transformers nor torch is imported, which would
    take seconds.
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


def load_model(folder: Path, loading: Loading, device: str) -> LanguageModel:
    """Return the bare causal language model in evaluation mode on `device`.

    Raises InputError when 4 bits are asked for without bitsandbytes, or the weights are not all
    those that the model's configuration describes.
    """
    quiet_transformers()
    import torch
    from transformers import AutoModelForCausalLM

    check_model(folder)
    if device == "cpu":
        keep_freed_memory()

    dtype = _dtype(loading.dtype, device)
    # By the names of transformers, each of another type.
    arguments: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if loading.quantization == "nf4":
        arguments["quantization_config"] = _nf4(dtype)
    if device != "cpu" or loading.quantization == "nf4":
        # The weights go straight to where they belong, not through the memory of the host as a
        # whole.
        arguments["device_map"] = {"": device}

    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        model, report = load(folder, output_loading_info=True, **arguments)
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


def save_model(model: LanguageModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write model and tokenizer.

    Whoever may read one file may read all (transformers keeps weights to their owner).
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", path)


def load_adapter(
    model: LanguageModel, adapter: Path, dropout: float | None = None
) -> LanguageModel:
    """Return the model with an adapter (adapter_model.safetensors, its adapter_config.json beside
    it).

    dropout: the rate to go on training it with; None loads it for answers alone. Raises InputError
    when it is missing, broken, without some of its weights, or of another model.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    if adapter.name != ADAPTER:  # peft reads that name, whatever it is given
        raise InputError(f"{adapter}: the file of an adapter is named {ADAPTER}; rename it")
    if not adapter.is_file():
        raise InputError(f"{adapter}: no such file")
    stored = set(read_header(adapter).tensors)

    folder = str(adapter.parent)
    try:
        config = PeftConfig.from_pretrained(folder)
        config.lora_dropout = dropout or 0.0
        with warnings.catch_warnings(action="ignore"):
            wrapped = PeftModel.from_pretrained(
                model, folder, config=config, is_trainable=dropout is not None
            )
    except Exception as error:  # the readers meet a broken file with any kind of error
        raise InputError(
            f"{adapter}: no whole adapter of this model ({kind_and_line(error)})"
        ) from None

    weights = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    _check_names(adapter, stored, set(weights))
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise InputError(f"{adapter}: not all of its weights are finite numbers")
    return wrapped


def with_adapter(model: LanguageModel, adapter: Path) -> LanguageModel:
    """Return the model with the adapter, folded into weights in float32.

    Fewer bits would round its part away.
    """
    import torch

    wrapped = load_adapter(model, adapter)
    if model.dtype == torch.float32 and not getattr(model, "is_quantized", False):
        wrapped = wrapped.merge_and_unload()
    return wrapped.eval()


def _check_names(adapter: Path, stored: set[str], wanted: set[str]) -> None:
    """Refuse an adapter without some of the weights that the model wants of it, or with others of
    LoRA's."""
    lacking = wanted - stored
    unknown = {name for name in stored - wanted if "lora_" in name}
    odd = sorted(lacking | unknown)
    if odd:
        verb = "lacks" if odd[0] in lacking else "has"
        raise InputError(f"{adapter}: {verb} {odd[0]}; no whole adapter of this model")


def _dtype(name: str, device: str) -> "torch.dtype":
    import torch

    if name != "auto":
        named: torch.dtype = getattr(torch, name)
        return named
    has_bfloat16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if has_bfloat16 else torch.float32


def _nf4(dtype: "torch.dtype") -> Any:
    import importlib.util

    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            "loading.quantization: nf4 needs the package bitsandbytes; install it or set it to none"
        )
    make: Any = BitsAndBytesConfig
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
