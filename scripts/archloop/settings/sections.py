"""The settings as types: a function's signature then says which of them it reads.

What each key means, its bounds and its default stand in config/schema.yaml alone; a test holds the
fields against it. Standard library only.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict


@dataclass(frozen=True)
class Model:
    """The language model and where it comes from."""

    name: str
    reference: str
    revision: str | None
    sha256: str | None


@dataclass(frozen=True)
class Loading:
    """How its weights are held in memory."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    quantization: Literal["none", "nf4"]


@dataclass(frozen=True)
class Data:
    """Data sets and how they are divided."""

    root: str
    validation_share: float
    test_share: float
    train_images: int | None
    digits_pixels: Literal[8, 16, 32]
    folder: str | None
    folder_name: str | None
    folder_pixels: int


@dataclass(frozen=True)
class SeedCorpus:
    """The programs of cycle 0."""

    source: Literal["families", "lemur"]
    lemur_folder: str | None
    families: list[str] | None
    per_family: int | None
    max_program_tokens: int | None
    shards: int


@dataclass(frozen=True)
class Cycle:
    """How large a cycle is, and how many jobs share its work."""

    candidates: int
    shards: int


@dataclass(frozen=True)
class Prompts:
    """What the model is asked."""

    template: str
    hints: str
    references: int


@dataclass(frozen=True)
class Generation:
    """How its answers are sampled."""

    batch_size: int
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    response_prefix: Literal["none", "fence", "imports", "class"]
    line_retries: int
    repairs: int


@dataclass(frozen=True)
class Evaluation:
    """The protocol that a candidate is trained and scored by: part of the key of a score."""

    protocol: Literal["native", "resize256_flip"]
    training: Literal["evaluator", "candidate"]
    repeats: int
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    dropout: float
    gradient_clip: float
    parameter_budget: int
    threads: int
    precision: Literal["auto", "float32", "bfloat16"]
    timeout_s: float
    memory_mb: int


@dataclass(frozen=True)
class Admission:
    """What a program must score to be admitted."""

    threshold: float
    relative_to_chance: bool
    measure: Literal["accuracy", "balanced_accuracy"]
    minimum_admitted: int
    fill_accuracy: float | None


@dataclass(frozen=True)
class Novelty:
    """What counts as a copy."""

    gate: Literal["text", "graph", "either", "none"]
    threshold: float
    shingle_tokens: int


@dataclass(frozen=True)
class Finetuning:
    """How the adapter is trained."""

    method: Literal["sft", "dpo", "kto"]
    beta: float
    sft_weight: float
    rejected: list[str]
    order: Literal["random", "accuracy"]
    accuracy_weight: float
    epochs: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    batch_size: int
    accumulation: int
    max_pair_tokens: int
    max_grad_norm: float
    lora_rank: int
    lora_alpha: float
    lora_dropout: float
    targets: list[str]
    layers: list[int] | None
    train_on: Literal["corpus", "seed_corpus", "none"]
    initialise: Literal["previous", "new"]
    replay: int | None
    gradient_checkpointing: bool
    checkpoint_steps: int


@dataclass(frozen=True)
class Report:
    """What the report compares and shows."""

    title: str
    loop: str
    measure: Literal["new_good", "admitted", "valid"]
    controls: list[str]
    window: float
    resamples: int
    gallery_rows: int


@dataclass(frozen=True)
class Execution:
    """How jobs run; no result depends on it."""

    device: str
    isolation: Literal["auto", "namespaces", "bubblewrap", "landlock", "none"]
    driver_calls: Literal["refuse", "log"]
    workers: int | str
    cache_mb: int
    gpus: int
    preflight_wait_min: float


@dataclass(frozen=True)
class ScratchModel:
    """A language model that is trained from scratch: a file of its own."""

    vocabulary: int
    layers: int
    width: int
    heads: int
    context: int
    programs: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    max_grad_norm: float
    checkpoint_steps: int


def width_error(width: int, heads: int) -> str | None:
    """Return why a decoder's heads cannot share its width, None where they can."""
    # Rotary embeddings turn the numbers of a head in pairs.
    if width % (2 * heads):
        return f"width: {width} is no multiple of twice the {heads} heads"
    return None


# Class -> the section's name in config/schema.yaml.
SECTION_NAMES: dict[type, str] = {
    Model: "model",
    Loading: "loading",
    Data: "data",
    SeedCorpus: "seed_corpus",
    Cycle: "cycle",
    Prompts: "prompts",
    Generation: "generation",
    Evaluation: "evaluation",
    Admission: "admission",
    Novelty: "novelty",
    Finetuning: "finetuning",
    Report: "report",
    Execution: "execution",
    ScratchModel: "scratch_model",
}


# A section as data, key -> value, as YAML and JSON have it. A chain, or a cycle, may set some of
# its keys alone, and a rule spells all of them as options, so no fixed set of keys would be its
# type; `Evaluation(**section)` is a whole one with types.
Section: TypeAlias = dict[str, Any]


class ChainSettings(TypedDict, total=False):
    """One entry of the section chains; that of the seed has a data set and sections alone.

    repeats: not in complete settings, which have each repeat as a chain of its own. repeat_of: the
    chain that this one repeats. at: number of a cycle, as text -> its own sections.
    """

    dataset: str
    start: str
    source: str
    random_seed: int | None
    repeats: int
    repeat_of: str | None
    cycles: int
    at: dict[str, dict[str, Section]]
    cycle: Section
    prompts: Section
    generation: Section
    evaluation: Section
    admission: Section
    novelty: Section
    finetuning: Section


class Settings(TypedDict, total=False):
    """All settings of a run, as `complete` gives them and settings.json keeps them.

    Not total, for a folder of results may hold none: {}.
    """

    random_seed: int
    model: Section
    loading: Section
    data: Section
    seed_corpus: Section
    cycle: Section
    prompts: Section
    generation: Section
    evaluation: Section
    admission: Section
    novelty: Section
    finetuning: Section
    chains: dict[str, ChainSettings]
    report: Section
    execution: Section
