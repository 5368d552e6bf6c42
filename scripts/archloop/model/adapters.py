"""LoRA adapters: put on a model, written with their lineage, folded into the model's weights."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from archloop.errors import InputError
from archloop.files import has_keys, read_json, replacing, write_json
from archloop.model.chat_template import ensure_template
from archloop.model.loading import (
    ADAPTER,
    check_model,
    load_adapter,
    load_model,
    load_tokenizer,
    save_model,
)

LINEAGE = "training.json"


def attach_adapter(model, parent: Path | None, settings: dict):
    """Return the model with a trainable adapter: the parent's, or a new one that starts as a no-op."""
    from peft import LoraConfig, get_peft_model

    if settings["gradient_checkpointing"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if parent is not None:
        model = load_adapter(model, parent, settings["lora_dropout"])
        _check_shape(parent, model.peft_config["default"], settings)
        return model
    config = LoraConfig(
        r=settings["lora_rank"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        target_modules=sorted(settings["targets"]),
        layers_to_transform=list(range(*settings["layers"])) if settings["layers"] else None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        keys = "finetuning.targets, finetuning.layers and finetuning.lora_dropout"
        raise InputError(f"{keys} do not fit the model ({error})") from None


def check_base(adapter: Path, files: dict[str, dict]) -> None:
    """Raise InputError when an adapter was trained on another model, by the lineage beside it; without one, nothing.

    files: those of the model's manifest.
    """
    path = adapter.with_name(LINEAGE)
    base = read_json(path, "base")["base"] if path.is_file() else {"files": {}}
    for name, digest in has_keys(base, ("files",), path)["files"].items():
        if name.endswith(".safetensors") and files.get(name, {}).get("sha256") != digest:
            raise InputError(
                f"{adapter}: trained on {base['reference']}, whose {name} is another than that of this model"
            )


def save_adapter(model, output: Path, model_folder: Path, training: dict) -> None:
    """Write adapter_model.safetensors, adapter_config.json and training.json, each whole, the weights last."""
    from peft import get_peft_model_state_dict

    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": model_folder.name, "inference_mode": True}
    plain = {
        key: sorted(value) if isinstance(value, set) else value for key, value in config.items()
    }
    write_json(
        output / "adapter_config.json",
        {key: getattr(value, "value", value) for key, value in plain.items()},
    )
    write_json(output / LINEAGE, training)
    tensors = {
        name: weight.detach().cpu().contiguous()
        for name, weight in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    with replacing(output / ADAPTER) as temporary:
        save_file(dict(sorted(tensors.items())), temporary, metadata={"format": "pt"})


def export_merged(model_folder: Path, adapter: Path, output: Path, dtype: str) -> None:
    """Write the model with the adapter folded into its weights, and its tokenizer, as transformers alone loads them.

    The sum is taken in float32 and then rounded to `dtype`; `auto` is the format of the model's own files. An adapter
    that was trained on weights in 4 bits is added to the whole ones, as is usual; its answers may differ a little.
    """
    output = output.resolve()
    if output == Path.cwd() or (output.exists() and any(output.iterdir())):
        raise InputError(f"{output}: not empty, or the current folder; name a new one")
    manifest = check_model(model_folder)
    check_base(adapter, manifest["files"])
    tokenizer = load_tokenizer(model_folder)
    ensure_template(tokenizer)
    formats = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    stored = manifest["weights"]["dtypes"]
    dtype = formats.get(max(stored, key=stored.get), "float32") if dtype == "auto" else dtype
    model = load_model(model_folder, {"dtype": "float32", "quantization": "none"}, "cpu")
    merged = load_adapter(model, adapter).merge_and_unload().to(getattr(torch, dtype))
    output.parent.mkdir(parents=True, exist_ok=True)
    half = output.with_name(f".{output.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    save_model(merged, tokenizer, half)
    if output.exists():
        output.rmdir()
    half.rename(output)


def _check_shape(parent: Path, config, settings: dict) -> None:
    """Refuse settings that the parent's adapter does not have: they would be left unheeded."""
    layers = list(range(*settings["layers"])) if settings["layers"] else None
    for key, wanted, has in (
        ("lora_rank", settings["lora_rank"], config.r),
        ("lora_alpha", settings["lora_alpha"], config.lora_alpha),
        ("targets", sorted(settings["targets"]), sorted(config.target_modules)),
        ("layers", layers, config.layers_to_transform),
    ):
        if wanted != has:
            raise InputError(
                f"finetuning.{key}: {parent} has {has}, not {wanted}; leave it as it was, or finetuning.initialise: new"
            )
