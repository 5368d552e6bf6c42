"""Train a LoRA adapter on programs of the corpus, or on what the judge made of programs: prompts
in, programs out."""

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from archloop.errors import InputError
from archloop.files import read_json, replacing, sha256_file, sha256_text, write_json
from archloop.finetuning.distributed import run_distributed
from archloop.finetuning.lower_layers import computed_once
from archloop.finetuning.objectives import Example, make_objective
from archloop.finetuning.train_loop import (
    Batching,
    TrainingPlan,
    TrainingResult,
    plan_steps,
    rank,
    train,
    trainable_weights,
)
from archloop.finetuning.training_set import (
    TrainingPair,
    TrainingPrograms,
    TrainingSet,
    accuracy_weights,
    make_training_set,
    read_programs_to_train_on,
    training_rows,
    with_scores,
)
from archloop.logs import get_logger
from archloop.machine import choose_device, processes_for, versions
from archloop.model.adapters import (
    AdapterLineage,
    AdapterRecord,
    attach_adapter,
    check_base,
    save_adapter,
)
from archloop.model.chat_template import encode_pair
from archloop.model.loading import load_model, load_tokenizer
from archloop.model.memory import check_projections, context_length, weight_shapes
from archloop.model.prepared import ADAPTER, ADAPTER_CONFIG, LINEAGE, PreparedModel, check_model
from archloop.model.run_record import write_run_record
from archloop.model.types import LanguageModel, Tokenizer
from archloop.settings.sections import Finetuning, Loading
from archloop.workflow.provenance import Extras

logger = get_logger("finetune")
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class CycleFiles:
    """The files of a cycle's fine-tuning; the last two are written.

    admitted: what the cycle admitted, in cycle 0 the seed corpus. corpus: what was there before.
    candidates: all of the cycle, None for sft. model: the manifest of the prepared one. parent: the
    adapter to go on from, None for the bare model. state: folder for checkpoints. output: the
    adapter, with two more files beside it.
    """

    admitted: Path
    corpus: tuple[Path, ...]
    candidates: Path | None
    model: Path
    parent: Path | None
    state: Path
    output: Path
    run_record: Path


@dataclass(frozen=True)
class CycleJob:
    """How the adapter of a cycle is made.

    seed: of this fine-tuning alone. gpus: how many share the work. code: a digest. started: when
    the job began, by time.monotonic().
    """

    seed: int
    device: str
    gpus: int
    code: str
    started: float


@dataclass(frozen=True)
class AdapterJob:
    """The adapter of one cycle: what it is made from, where it goes and by which settings.

    parent: the adapter to go on from (adapter_model.safetensors), None for the bare model. output:
    folder of the adapter. state: folder for checkpoints; one that was made for these same inputs,
    with the same versions and by the same `code` (a digest), is resumed. seed: of this fine-tuning
    alone.
    """

    model_folder: Path
    parent: Path | None
    output: Path
    state: Path
    settings: Finetuning
    loading: Loading
    seed: int
    code: str = ""


@dataclass(frozen=True)
class FinetuningRecord:
    """Where an adapter was trained and on how much; device: None where nothing was trained."""

    device: str | None
    tokens: int
    pairs: int


def finetune_cycle(
    files: CycleFiles, settings: Finetuning, loading: Loading, job: CycleJob
) -> Extras:
    """Write the adapter of a cycle and its run record.

    Return what its provenance says besides: the files beside the adapter, and the one of work under
    way.
    """
    programs = read_programs_to_train_on(files.corpus, files.admitted, files.candidates)
    adapter = AdapterJob(
        model_folder=files.model.parent,
        parent=files.parent,
        output=files.output.parent,
        state=files.state,
        settings=settings,
        loading=loading,
        seed=job.seed,
        code=job.code,
    )
    record = finetune(programs, adapter, job.device, job.gpus)

    write_run_record(files.run_record, dataclasses.asdict(record), time.monotonic() - job.started)
    beside = [files.output.with_name(name) for name in (ADAPTER_CONFIG, LINEAGE)]
    return {"outputs": beside, "spent": files.state / CHECKPOINT}


def finetune(
    programs: TrainingPrograms, job: AdapterJob, device: str, gpus: int = 1
) -> FinetuningRecord:
    """Write the adapter of a cycle to the folder `job.output`.

    gpus: how many share the work. Where nothing is new (nothing was admitted; with train_on
    seed_corpus, there are no rows at all) or nothing can be compared, the parent is kept unchanged.
    """
    settings, parent = job.settings, job.parent
    repeated = with_scores(training_rows(programs.corpus, programs.admitted, settings, job.seed))
    new = repeated if settings.train_on == "seed_corpus" else programs.admitted
    if parent is not None and not new:
        return _keep_unchanged(parent, job.output, "nothing was admitted")

    device = choose_device(device)
    training_set = make_training_set(repeated, programs.candidates, settings, job.seed)
    if parent is not None and not training_set.pairs:
        why = f"no failed program answers a prompt of an admitted one ({training_set.method})"
        return _keep_unchanged(parent, job.output, why)

    # Only now: where nothing is learned, it is the parent's adapter that stays.
    if settings.initialise == "new":
        job = dataclasses.replace(job, parent=None)
    processes = processes_for(gpus, device)
    if processes == 1:
        return train_adapter(training_set, job, device)
    # What they share out is the batches of a step.
    if processes > settings.accumulation:
        logger.warning(
            "finetuning.accumulation is %d: more GPUs have nothing to do", settings.accumulation
        )
    arguments = {"training_set": training_set, "job": job}
    return run_distributed(processes, train_adapter, arguments, device)


def train_adapter(training_set: TrainingSet, job: AdapterJob, device: str) -> FinetuningRecord:
    """Train on the pairs that are not too long, write the adapter and its lineage.

    It may run in several processes at once: each trains its share, and all end with the same
    adapter.
    """
    prepared = check_model(job.model_folder)
    check_projections(weight_shapes(job.model_folder), job.settings)
    if job.parent is not None:
        check_base(job.parent, prepared.files)
    examples = encode_examples(training_set.pairs, job)

    # The weights that a new adapter begins with are drawn by it.
    torch.manual_seed(job.seed)
    model = attach_adapter(
        load_model(job.model_folder, job.loading, device),
        job.parent,
        _adapter_settings(training_set.method, job.settings),
    )
    if training_set.method != "sft":
        without_dropout(model)
    lineage = _lineage(training_set, job, prepared)
    result = _train(model, examples, training_set.method, job, lineage)

    record: AdapterRecord = {
        **lineage,
        "method": training_set.method,
        "failed_left_out": training_set.failed_left_out,
        "pairs": len(examples),
        "left_out_too_long": len(training_set.pairs) - len(examples),
        "carried_on": False,
        "losses": result.losses,
    }
    # All processes have the same weights at the end; one writes them.
    if rank() == 0:
        save_adapter(model, job.output, job.model_folder, record)
    return FinetuningRecord(device, result.tokens, len(examples))


def encode_examples(pairs: list[TrainingPair], job: AdapterJob) -> list[Example]:
    """Return the token ids of the pairs that are not too long, with their weights.

    Raises InputError where all are too long and there is no parent that could be kept instead.
    """
    settings = job.settings
    tokenizer = load_tokenizer(job.model_folder)
    longest = min(settings.max_pair_tokens, context_length(job.model_folder))

    examples = []
    for pair in pairs:
        example = encode_example(tokenizer, pair)
        lengths = []
        for prompt, answer in example.pairs:
            lengths.append(len(prompt) + len(answer))
        if max(lengths) <= longest:
            examples.append(example)
    if pairs and not examples and job.parent is None:
        raise InputError(
            f"finetuning.max_pair_tokens: all {len(pairs)} pairs are longer than {longest} tokens"
        )

    # Of those that are trained on: the mean of their weights is 1.
    scores = [example.score for example in examples]
    weights = accuracy_weights(scores, settings.accuracy_weight)
    for index, weight in enumerate(weights):
        examples[index] = dataclasses.replace(examples[index], weight=weight)
    return examples


def encode_example(tokenizer: Tokenizer, pair: TrainingPair) -> Example:
    prompt, answer = encode_pair(tokenizer, pair.prompt, pair.program)
    rejected = None
    if pair.rejected is not None:
        _, rejected = encode_pair(tokenizer, pair.prompt, pair.rejected)
    return Example(prompt, answer, rejected, pair.desirable, score=pair.score)


def without_dropout(model: LanguageModel) -> None:
    """Switch off all dropout: by it the model would differ from the reference that dpo and kto
    compare it with."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def _adapter_settings(method: str, settings: Finetuning) -> Finetuning:
    if method == "sft":
        return settings
    return dataclasses.replace(settings, lora_dropout=0.0)


def _lineage(training_set: TrainingSet, job: AdapterJob, prepared: PreparedModel) -> AdapterLineage:
    """Return what the adapter is made from: with equal lineages, equal code gives equal bytes."""
    return {
        "base": {
            "reference": prepared.reference,
            "revision": prepared.revision,
            "files": {name: file.sha256 for name, file in prepared.files.items()},
        },
        "parent": sha256_file(job.parent) if job.parent else None,
        "training_set": training_set.digest(),
        "settings": dataclasses.asdict(job.settings),
        "loading": dataclasses.asdict(job.loading),
        "seed": job.seed,
    }


def _train(
    model: LanguageModel,
    examples: list[Example],
    method: str,
    job: AdapterJob,
    lineage: AdapterLineage,
) -> TrainingResult:
    settings = job.settings
    batching = Batching(settings.epochs, settings.batch_size, settings.accumulation, settings.order)
    installed = versions(("torch", "transformers", "peft"))
    training = TrainingPlan(
        steps=plan_steps(examples, batching, job.seed),
        settings=settings,
        seed=job.seed,
        checkpoint=job.state / CHECKPOINT,
        key=sha256_text(repr((lineage, method, job.code, installed))),
    )

    objective = make_objective(method, settings, trainable_weights(model))
    # Of sft in batches of several, a pair has other company, and other padding, in every pass.
    alone_each_time = settings.batch_size == 1 and settings.epochs > 1
    repeats = method != "sft" or alone_each_time
    try:
        with computed_once(model) if repeats else contextlib.nullcontext():
            return train(model, examples, objective, training)
    except torch.OutOfMemoryError:
        raise InputError(
            "finetuning: the GPU's memory is full; set gradient_checkpointing, or a smaller"
            " batch_size or max_pair_tokens"
        ) from None


def _keep_unchanged(parent: Path, output: Path, why: str) -> FinetuningRecord:
    """Write the parent's adapter once more, with a lineage that says so."""
    logger.info("finetune: %s; the adapter is kept unchanged", why)
    for name in (ADAPTER_CONFIG, ADAPTER):
        with replacing(output / name) as temporary:
            temporary.write_bytes((parent.parent / name).read_bytes())
    lineage = read_json(parent.parent / LINEAGE)
    lineage |= {"parent": sha256_file(parent), "carried_on": True}
    write_json(output / LINEAGE, lineage)
    return FinetuningRecord(device=None, tokens=0, pairs=0)
