"""LoRA adapters: put on a model, written with their lineage, folded into the model's weights."""

import enum
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import save_file

from archloop.errors import InputError
from archloop.files import has_keys, read_json, replacing, write_json
from archloop.model.chat_template import ensure_template
from archloop.model.loading import load_adapter, load_model, load_tokenizer, save_model
from archloop.model.prepared import (
    ADAPTER,
    ADAPTER_CONFIG,
    LINEAGE,
    ModelFile,
    PreparedModel,
    check_model,
)
from archloop.model.types import LanguageModel, ModelConfig
from archloop.settings.sections import Finetuning, Loading, Section

# Formats of weights by their names in safetensors, as torch calls them.
TORCH_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class BaseModel(TypedDict):
    """The model that an adapter belongs to, by the sha256 of its files."""

    reference: str
    revision: str | None
    files: dict[str, str]


class AdapterLineage(TypedDict):
    """What an adapter is made from; parent, training_set: digests."""

    base: BaseModel
    parent: str | None
    training_set: str
    settings: Section
    loading: Section
    seed: int


class AdapterRecord(AdapterLineage):
    """training.json beside an adapter: its lineage, and how its training went.

    losses: the mean of each epoch. carried_on: it is its parent's, with nothing new to learn.
    """

    method: str
    failed_left_out: int
    pairs: int
    left_out_too_long: int
    carried_on: bool
    losses: list[float]


def attach_adapter(
    model: LanguageModel, parent: Path | None, settings: Finetuning
) -> LanguageModel:
    """Return the model with a trainable adapter: the parent's, or a new one that starts as a
    no-op."""
    from peft import LoraConfig, get_peft_model

    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if parent is not None:
        model = load_adapter(model, parent, settings.lora_dropout)
        _check_shape(parent, model.peft_config["default"], settings)
        return model

    alpha: Any = settings.lora_alpha  # peft divides by it, and calls it an int
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=sorted(settings.targets),
        layers_to_transform=_layer_numbers(settings),
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        keys = "finetuning.targets, finetuning.layers and finetuning.lora_dropout"
        raise InputError(f"{keys} do not fit the model ({error})") from None


def check_base(adapter: Path, files: Mapping[str, ModelFile]) -> None:
    """Raise InputError when an adapter was trained on another model, by the lineage beside it.

    Without one, nothing.

    files: those of the model.
    """
    path = adapter.with_name(LINEAGE)
    if not path.is_file():
        return
    base = has_keys(read_json(path, "base")["base"], ("files",), path)
    for name, digest in base["files"].items():
        same = name in files and files[name].sha256 == digest
        if name.endswith(".safetensors") and not same:
            reference = base.get("reference", "another model")
            raise InputError(
                f"{adapter}: trained on {reference}, whose {name} is another than that of this"
                " model"
            )


def save_adapter(
    model: LanguageModel, output: Path, model_folder: Path, record: AdapterRecord
) -> None:
    """Write adapter_model.safetensors, adapter_config.json and training.json, each whole, the
    weights last."""
    from peft import get_peft_model_state_dict

    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": model_folder.name, "inference_mode": True}
    plain = {key: _plain(value) for key, value in config.items()}
    write_json(output / ADAPTER_CONFIG, plain)
    write_json(output / LINEAGE, record)

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {}
    for name in sorted(state):
        tensors[name] = state[name].detach().cpu().contiguous()
    with replacing(output / ADAPTER) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def export_merged(model_folder: Path, adapter: Path, output: Path, dtype: str) -> None:
    """Write the model with the adapter folded into its weights, and its tokenizer, as transformers
    alone loads them.

    The sum is taken in float32 and then rounded to `dtype`; `auto` is the format of the model's own
    files. An adapter that was trained on weights in 4 bits is added to the whole ones, as is usual;
    its answers may differ a little.
    """
    output = output.resolve()
    is_filled = output.exists() and any(output.iterdir())
    if output == Path.cwd() or is_filled:
        raise InputError(f"{output}: not empty, or the current folder; name a new one")
    prepared = check_model(model_folder)
    check_base(adapter, prepared.files)

    tokenizer = load_tokenizer(model_folder)
    ensure_template(tokenizer)
    if dtype == "auto":
        dtype = stored_dtype(prepared)
    model = load_model(model_folder, Loading(dtype="float32", quantization="none"), "cpu")
    merged = load_adapter(model, adapter).merge_and_unload()
    merged = merged.to(getattr(torch, dtype))

    # A folder that is cut off never has the name of a whole one.
    output.parent.mkdir(parents=True, exist_ok=True)
    half = output.with_name(f".{output.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    save_model(merged, tokenizer, half)
    if output.exists():
        output.rmdir()
    half.rename(output)


def stored_dtype(prepared: PreparedModel) -> str:
    """Return torch's name of the format that most of a model's weights have on disk.

    Float32 for an unknown one.
    """
    counts = prepared.weights.dtypes
    commonest = max(counts, key=lambda name: counts[name])
    return TORCH_NAMES.get(commonest, "float32")


def _plain(value: object) -> object:
    """Return what JSON can say of a setting of peft."""
    if isinstance(value, set):
        return sorted(value)
    return value.value if isinstance(value, enum.Enum) else value


def _layer_numbers(settings: Finetuning) -> list[int] | None:
    return list(range(*settings.layers)) if settings.layers else None


def _check_shape(parent: Path, config: ModelConfig, settings: Finetuning) -> None:
    """Refuse settings that the parent's adapter does not have: they would be left unheeded."""
    wanted = {
        "lora_rank": settings.lora_rank,
        "lora_alpha": settings.lora_alpha,
        "targets": sorted(settings.targets),
        "layers": _layer_numbers(settings),
    }
    existing = {
        "lora_rank": config.r,
        "lora_alpha": config.lora_alpha,
        "targets": sorted(config.target_modules),
        "layers": config.layers_to_transform,
    }

    for key, value in wanted.items():
        before = existing[key]
        if value != before:
            raise InputError(
                f"finetuning.{key}: {parent} has {before}, not {value}; leave it as it was,"
                " or finetuning.initialise: new"
            )
