"""Teach a LoRA adapter the programs of the corpus, or what the judge made of programs: prompts in, programs out."""

import contextlib
import dataclasses
import math
import statistics
from pathlib import Path

import torch

from archloop.errors import InputError
from archloop.files import read_json, replacing, sha256_file, sha256_text, write_json
from archloop.finetuning.distributed import processes_for, together
from archloop.finetuning.lower_layers import computed_once
from archloop.finetuning.objectives import Example, make_objective
from archloop.finetuning.preferences import compared
from archloop.finetuning.train_loop import plan, train, trainable
from archloop.machine import choose_device, versions
from archloop.model.adapters import LINEAGE, attach_adapter, check_base, save_adapter
from archloop.model.chat_template import encode_pair
from archloop.model.loading import ADAPTER, check_model, load_model, load_tokenizer
from archloop.model.memory import check_projections, context_length, weight_shapes
from archloop.progress import get_logger
from archloop.random_seeds import generator

logger = get_logger("finetune")
CHECKPOINT = "checkpoint.pt"
LARGEST_WEIGHT = 20.0  # as Peng et al. cut theirs


def finetune(
    corpus: list[dict],
    fresh: list[dict],
    candidates: list[dict],
    model_folder: Path,
    parent: Path | None,
    output: Path,
    state: Path,
    settings: dict,
    loading: dict,
    device: str,
    gpus: int,
    seed: int,
    code: str = "",
) -> dict:
    """Write the adapter of a cycle to the folder `output` and return the run record.

    corpus: rows of the earlier corpus (prompt, program, dataset, accuracy); fresh: the rows this cycle admitted;
    candidates: all rows of this cycle (prompt, program, outcome), of which dpo and kto take the failed ones;
    without any it is sft. parent: the adapter to go on from (adapter_model.safetensors), None for the bare model.
    state: folder for checkpoints; one that was made for these same inputs, with the same versions and by the same
    `code` (a digest), is resumed. gpus: how many share the work. seed: of this fine-tuning alone. Where nothing is new
    (no fresh rows; with train_on seed_corpus, no rows at all) or nothing to be compared, the parent is kept unchanged.
    """
    rows = scored(training_rows(corpus, fresh, settings, seed))
    if parent is not None and not (rows if settings["train_on"] == "seed_corpus" else fresh):
        return _carry_on(parent, output, "nothing was admitted")
    device = choose_device(device)
    method = settings["method"] if candidates else "sft"
    if method != "sft" and (settings["order"] != "random" or settings["accuracy_weight"]):
        raise InputError(
            f"finetuning.method: {method} knows no order and no accuracy_weight, which are for sft"
        )
    chosen, left_out = compared(method, rows, candidates, settings["dispreferred"], seed)
    if not chosen and parent is not None:
        return _carry_on(
            parent, output, f"no failed program answers a prompt of an admitted one ({method})"
        )
    arguments = {
        "rows": chosen,
        "facts": {"method": method, "failed_left_out": left_out},
        "model_folder": model_folder,
        "parent": parent if settings["initialise"] == "previous" else None,
        "output": output,
        "state": state,
        "settings": settings,
        "loading": loading,
        "seed": seed,
        "code": code,
    }
    processes = processes_for(gpus, device)
    if processes > 1:
        if processes > settings["accumulation"]:
            logger.warning(
                "finetuning.accumulation is %d: more GPUs have nothing to do",
                settings["accumulation"],
            )
        return together(processes, teach, arguments, device)
    return teach(device=device, **arguments)


def teach(
    rows: list[dict],
    facts: dict,
    model_folder: Path,
    parent: Path | None,
    output: Path,
    state: Path,
    settings: dict,
    loading: dict,
    seed: int,
    code: str,
    device: str,
) -> dict:
    """Train on rows of (prompt, program, worse, good, score), write the adapter and return the run record.

    It may run in several processes at once: each trains its share, and all end with the same adapter.
    """
    manifest = check_model(model_folder)
    check_projections(weight_shapes(model_folder), settings)
    if parent is not None:
        check_base(parent, manifest["files"])
    tokenizer = load_tokenizer(model_folder)
    examples = [encode_example(tokenizer, row) for row in rows]
    longest = min(settings["max_pair_tokens"], context_length(model_folder))
    kept = [e for e in examples if all(len(p) + len(a) <= longest for p, a in e.pairs)]
    weights = accuracy_weights([example.score for example in kept], settings["accuracy_weight"])
    kept = [dataclasses.replace(example, weight=weight) for example, weight in zip(kept, weights)]
    if examples and not kept and parent is None:
        raise InputError(
            f"finetuning.max_pair_tokens: all {len(examples)} pairs are longer than {longest} tokens"
        )
    method = facts["method"]
    lineage = {
        "base": {
            "reference": manifest["reference"],
            "revision": manifest["revision"],
            "files": {name: file["sha256"] for name, file in manifest["files"].items()},
        },
        "parent": sha256_file(parent) if parent else None,
        "training_set": sha256_text(
            "\n".join(sha256_text(repr(sorted(row.items()))) for row in rows)
        ),
        "settings": settings,
        "loading": loading,
        "seed": seed,
    }
    torch.manual_seed(seed)
    shape = settings if method == "sft" else settings | {"lora_dropout": 0.0}
    model = attach_adapter(load_model(model_folder, loading, device), parent, shape)
    if method != "sft":
        without_dropout(model)
    objective = make_objective(method, settings, trainable(model))
    steps = plan(kept, settings, seed)
    key = sha256_text(repr((lineage, method, code, versions(("torch", "transformers", "peft")))))
    # Of sft in batches of several, a pair has other company, and other padding, in every pass.
    repeats = method != "sft" or (settings["batch_size"] == 1 and settings["epochs"] > 1)
    try:
        with computed_once(model) if repeats else contextlib.nullcontext():
            losses, tokens = train(
                model, kept, objective, steps, settings, seed, state / CHECKPOINT, key
            )
    except torch.OutOfMemoryError:
        raise InputError(
            "finetuning: the GPU's memory is full; set gradient_checkpointing, or a smaller batch_size or"
            " max_pair_tokens"
        ) from None
    facts = facts | {
        "pairs": len(kept),
        "left_out_too_long": len(examples) - len(kept),
        "carried_on": False,
    }
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        save_adapter(model, output, model_folder, lineage | facts | {"losses": losses})
    return {"device": device, "tokens": tokens, "pairs": len(kept)}


def without_dropout(model) -> None:
    """Switch off all dropout: by it the model would differ from the reference that dpo and kto compare it with."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def training_rows(corpus: list[dict], fresh: list[dict], settings: dict, seed: int) -> list[dict]:
    """Return what a cycle trains on: its own rows and some of the earlier corpus, or as many of the seed corpus alone.

    corpus: the rows of cycle 0 and what the chain admitted since. Where the seed corpus has fewer rows than are
    wanted of it, all of them come again, as often as it takes, and then some.
    """
    replayed = _replayed(corpus, settings["replay"], seed)
    if settings["train_on"] == "corpus":
        return fresh + replayed
    first = [row for row in corpus if row["cycle"] == 0]
    passes, more = divmod(len(fresh) + len(replayed), max(1, len(first)))
    return first * passes + _replayed(first, more, seed)


def scored(rows: list[dict]) -> list[dict]:
    """Return the rows with their score: the accuracy in standard deviations from the mean of those of its data set."""
    by_dataset: dict[str, list[float]] = {}
    for row in rows:
        if row["accuracy"] is None or not math.isfinite(row["accuracy"]):
            raise InputError(
                f"corpus: a program for {row['dataset']} has no accuracy; make the corpus again"
            )
        by_dataset.setdefault(row["dataset"], []).append(row["accuracy"])
    centre = {
        name: (statistics.fmean(each), statistics.pstdev(each) or 1.0)
        for name, each in by_dataset.items()
    }
    scores = [
        (row["accuracy"] - centre[row["dataset"]][0]) / centre[row["dataset"]][1] for row in rows
    ]
    return [row | {"score": score} for row, score in zip(rows, scores)]


def accuracy_weights(scores: list[float], strength: float) -> list[float]:
    """Return e^(strength x score), at most LARGEST_WEIGHT, over their mean.

    The exponential weights of Peng et al., Advantage-Weighted Regression, arXiv 1910.00177, with the score as the
    advantage and 1 / strength as the temperature.
    """
    weights = [min(math.exp(min(strength * score, 100.0)), LARGEST_WEIGHT) for score in scores]
    mean = statistics.fmean(weights) if weights else 1.0
    return [weight / mean for weight in weights]


def encode_example(tokenizer, row: dict) -> Example:
    """Return the token ids of a row: prompt, program, worse (a program or None), good; score."""
    prompt, answer = encode_pair(tokenizer, row["prompt"], row["program"])
    worse = (
        encode_pair(tokenizer, row["prompt"], row["worse"])[1] if row["worse"] is not None else None
    )
    return Example(prompt, answer, worse, row["good"], score=row["score"])


def _carry_on(parent: Path, output: Path, why: str) -> dict:
    logger.info("finetune: %s; the adapter is kept unchanged", why)
    for name in ("adapter_config.json", ADAPTER):
        with replacing(output / name) as temporary:
            temporary.write_bytes((parent.parent / name).read_bytes())
    training = read_json(parent.parent / LINEAGE)
    write_json(output / LINEAGE, training | {"parent": sha256_file(parent), "carried_on": True})
    return {"device": None, "tokens": 0, "pairs": 0}


def _replayed(corpus: list[dict], count: int | None, seed: int) -> list[dict]:
    if count is None or count >= len(corpus):
        return corpus
    return generator(seed, "replay").sample(corpus, count)
