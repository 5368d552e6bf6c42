"""How large a prepared language model is, read from the heads of its files: weights, adapter and
activations in bytes.

What fine-tuning holds beside the weights is an estimate, and called so where it is shown. Nothing
heavy is imported.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from archloop.errors import InputError
from archloop.files import parse_json, read_foreign_json
from archloop.settings.sections import Finetuning, Loading

# Bytes a weight takes once loaded; `auto` is bfloat16 on a GPU that has it, float32 on a CPU.
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# nf4 with double quantisation: 4 bits and 0.127 more for its constants (QLoRA, Dettmers et al.
# 2023).
NF4_BYTES = 4.127 / 8
# Activations of one layer that wait for the backward pass, for a token and a unit of width, in 16
# bits and without the attention's square, which is never stored (Korthikanti et al. 2022); with
# checkpoints only the layer's input waits.
LAYER_BYTES, CHECKPOINT_BYTES = 34, 2
# A weight of the adapter in 32 bits, its gradient, and the two moments of AdamW.
ADAPTER_BYTES = 16
# Logits, their softmax and its gradient, in 32 bits.
LOGIT_BYTES = 12
# What the size of the cache hangs on; the first three have no default.
SHAPE = (
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_size",
    "num_key_value_heads",
    "head_dim",
)
# The names that transformers looks for: the weights in one file, or the index of their parts.
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST_HEAD = 100 * 2**20
# Layer and name of a projection, in the name of its weight.
PROJECTION = re.compile(r"\.(\d+)\.(?:.*\.)?(\w+)\.weight$")
# Tokens by which the room for keys and values grows.
GROWTH = 128


# Name of a weight -> its shape.
WeightShapes: TypeAlias = Mapping[str, list[int]]
# config.json of a model, or its part for the text: names and values are transformers' own.
TextConfig: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Tensor:
    """What the head of a file says of one tensor.

    dtype: as safetensors calls it (F32, BF16, ...).
    """

    dtype: str
    shape: list[int]


@dataclass(frozen=True)
class Header:
    """The head of a safetensors file: its tensors by name, and what its writer noted of it."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Return the head of a safetensors file.

    Raises InputError when the file is missing, no such file, or shorter than its head says.
    """
    try:
        with open(path, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            # In a file of another kind these eight bytes may be any number.
            text = opened.read(min(length, LARGEST_HEAD))
        head: Any = parse_json(text)
        metadata = head.pop("__metadata__", {})

        tensors, end = {}, 0
        for name, entry in head.items():
            dtype, shape = entry["dtype"], entry["shape"]
            tensors[name] = Tensor(dtype, shape)
            end = max(end, entry["data_offsets"][1])
        whole = 8 + length + end
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; delete its folder's manifest, or run prepare again"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: no whole safetensors file ({error}); delete it and run again"
        ) from None

    size = path.stat().st_size
    if size != whole:
        raise InputError(f"{path}: {size} bytes, not {whole}; delete it and run again")
    return Header(tensors, metadata)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers loads, model.safetensors or else those of its index.

    Others may lie there.
    """
    whole, index = folder / WHOLE, folder / INDEX
    if whole.is_file():
        return [whole]
    if not index.is_file():
        return []
    return [folder / name for name in named_weights(index)]


def named_weights(index: Path) -> list[str]:
    """Return the names of the files that an index of weights names.

    Raises InputError for one that is no index.
    """
    weight_map = read_foreign_json(index, "weight_map")["weight_map"]
    names = list(weight_map.values()) if isinstance(weight_map, dict) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise InputError(f"{index}: its weight_map is no index of files")
    return sorted(set(names))


def weight_shapes(folder: Path) -> WeightShapes:
    """Return name -> shape of all weights of a prepared model.

    Raises InputError when a file is not whole.
    """
    shapes = {}
    for path in weight_files(folder):
        for name, tensor in read_header(path).tensors.items():
            shapes[name] = tensor.shape
    return shapes


def check_projections(shapes: WeightShapes, finetuning: Finetuning) -> None:
    """Raise InputError when a target or a layer of the settings is none that the model has, as far
    as names tell."""
    names, layers = set(), set()
    for name, shape in shapes.items():
        match = PROJECTION.search(name)
        if match and len(shape) == 2:
            layers.add(match[1])
            names.add(match[2])
    if not names:  # packed in a format of their own
        return

    missing = sorted(set(finetuning.targets) - names)
    if missing:
        unknown, known = ", ".join(missing), ", ".join(sorted(names))
        raise InputError(f"finetuning.targets: the model has no {unknown}, but {known}")

    count = len(layers)
    first, last = finetuning.layers or (0, count)
    if not 0 <= first < last <= count:
        raise InputError(
            f"finetuning.layers: [{first}, {last}], but the model's layers are [0, {count}]"
        )


def text_config(folder: Path) -> TextConfig:
    """Return config.json of a prepared model, of its text part where it has several."""
    config = read_foreign_json(folder / "config.json", "model_type")
    return config.get("text_config") or config


def sees_part(config: TextConfig) -> bool:
    """Tell from its text_config whether a layer of a model attends to a window or a chunk of the
    text alone."""
    kinds = config.get("layer_types")
    if kinds:
        return any(kind.startswith(("sliding", "chunked")) for kind in kinds)
    # A model may name a window and say that it does not use it, as Qwen2 does.
    uses_window = config.get("use_sliding_window", True)
    window = config.get("sliding_window") if uses_window else None
    return bool(window or config.get("attention_chunk_size"))


def context_length(folder: Path) -> float:
    """Return how many tokens a prepared model can read at once, infinity where it does not say."""
    return text_config(folder).get("max_position_embeddings") or math.inf


def cache_bytes(config: TextConfig, number_bytes: int) -> int:
    """Return the bytes of one token's keys and values: 2 x layers x key-value heads x head size x
    those of a number.

    config: the values by the names in SHAPE.
    """
    layers = config["num_hidden_layers"]
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    head_size = config.get("head_dim")
    if not head_size:
        head_size = config["hidden_size"] // config["num_attention_heads"]
    return int(2 * layers * heads * head_size * number_bytes)


def loaded_bytes(shapes: WeightShapes, loading: Loading, gpu: bool) -> int:
    """Return the bytes that the weights take in memory under the settings `loading`.

    nf4 packs the matrices between the embeddings, which stay in 16 bits.
    """
    plain = BYTES.get(loading.dtype, 2 if gpu else 4)
    total = 0.0
    for name, shape in shapes.items():
        is_embedding = re.search("embed|lm_head", name) is not None
        is_packed = loading.quantization == "nf4" and len(shape) == 2 and not is_embedding
        each = NF4_BYTES if is_packed else plain
        total += math.prod(shape) * each
    return round(total)


def adapter_parameters(shapes: WeightShapes, finetuning: Finetuning) -> int:
    """Return how many weights the adapter has: rank x (in + out) for each projection that carries
    one."""
    first, last = finetuning.layers or (0, math.inf)
    total = 0
    for name, shape in shapes.items():
        match = PROJECTION.search(name)
        if match is None or match[2] not in finetuning.targets:
            continue
        layer = int(match[1])
        if first <= layer < last:
            total += finetuning.lora_rank * sum(shape)
    return total


def training_bytes(shapes: WeightShapes, model: TextConfig, finetuning: Finetuning) -> int:
    """Return an estimate of what fine-tuning holds beside the weights: adapter, optimiser and
    activations.

    model: its text_config. The adapter takes 16 bytes a weight (itself, its gradient, AdamW's two
    moments); activations are those of one batch of the longest pairs that the settings let through;
    dpo has two answers to each prompt in it.
    """
    tokens = finetuning.batch_size * finetuning.max_pair_tokens
    if finetuning.method == "dpo":
        tokens *= 2

    width = model.get("hidden_size", 0)
    layers = model.get("num_hidden_layers", 0)
    layer_bytes = LAYER_BYTES * layers
    if finetuning.gradient_checkpointing:
        # One layer at a time has all of its activations.
        layer_bytes = CHECKPOINT_BYTES * layers + LAYER_BYTES

    adapter = ADAPTER_BYTES * adapter_parameters(shapes, finetuning)
    activations = tokens * width * layer_bytes
    logits = tokens * model.get("vocab_size", 0) * LOGIT_BYTES
    return int(adapter + activations + logits)
