"""Answers of the language model to the prompts of one shard, and the program in each.

Answers are kept as they end, so a job that was cut goes on with those that are missing. A program that is refused
unrun may be asked for again, with what is wrong with it.
"""

import time
from pathlib import Path

import torch

from archloop.errors import InputError
from archloop.evaluation.static_checks import check_program
from archloop.files import sha256_file, sha256_text
from archloop.generation.answer_log import journal
from archloop.generation.answers import OPENINGS, THINKING, extract_program
from archloop.generation.decode import Sequence, batch_limit, sample
from archloop.machine import choose_device, versions
from archloop.model.adapters import check_base
from archloop.model.chat_template import chat_tokens, opening_tokens
from archloop.model.loading import (
    check_model,
    load_adapter,
    load_model,
    load_tokenizer,
)
from archloop.progress import Progress
from archloop.random_seeds import derive

REPAIR = "This program is refused: {reason}. Write the whole program again without this fault."
LABELS = ("generate", "repair")
# Settings that do not change what an answer is.
HOW = ("batch_size",)


def generate(
    prompts: list[dict],
    model_folder: Path,
    adapter: Path | None,
    settings: dict,
    loading: dict,
    device: str,
    kept: Path,
    code: str = "",
    cache_mb: int = 20_000,
) -> tuple[list[dict], dict]:
    """Return (candidates, run record) for the prompts of one shard, in their order.

    prompts: rows of prompts.jsonl. adapter: adapter_model.safetensors with its adapter_config.json beside it, or None
    for the bare model. settings: section generation; loading: section loading. kept: file of the answers that are
    finished; those of an earlier run with the same inputs, settings, versions and `code` (a digest) are not made again.
    cache_mb: bound on the memory of keys and values.
    """
    started = time.monotonic()
    device = choose_device(device)
    manifest = check_model(model_folder)
    digest = None
    if adapter is not None:
        check_base(adapter, manifest["files"])
        digest = sha256_file(adapter)
    lineage = {
        "base": {name: facts["sha256"] for name, facts in manifest["files"].items()},
        "adapter": digest,
        "prompts": [(row["index"], sha256_text(row["prompt"]), row["seed"]) for row in prompts],
        "settings": {key: value for key, value in settings.items() if key not in HOW},
        "loading": loading,
        "code": code,
        "versions": versions(("torch", "transformers", "peft", "tokenizers")),
    }
    tokenizer, model = load_tokenizer(model_folder), None
    answers: list[list[dict]] = [[] for _ in prompts]
    with journal(kept, sha256_text(repr(lineage))) as (finished, keep):
        for row in finished:
            answers[row["place"]].append(row)
        earlier = max((row["seconds"] for row in finished), default=0.0)
        for attempt in range(settings["repairs"] + 1):
            asked = {
                place: _sequence(tokenizer, prompts[place], made, settings)
                for place, made in enumerate(answers)
                if len(made) == attempt
                and (not made or check_program(extract_program(made[-1]["raw"])))
            }
            if asked and model is None:
                model = load_model(model_folder, loading, device)
                model = model if adapter is None else with_adapter(model, adapter)
            if attempt:  # where a prompt has grown too long, the answer before stays
                asked = {
                    p: each for p, each in asked.items() if _fits(model, each, settings, cache_mb)
                }
            try:
                for place, row in _answer(
                    model, tokenizer, asked, settings, cache_mb, LABELS[bool(attempt)]
                ):
                    row |= {
                        "place": place,
                        "seconds": round(time.monotonic() - started + earlier, 2),
                    }
                    answers[place].append(row)
                    keep(row)
            except FloatingPointError as error:
                raise InputError(
                    f"{adapter or model_folder}: {error}; take another loading.dtype, or an adapter that is sound"
                ) from None
    candidates = [
        _candidate(row, made) | {"adapter": digest} for row, made in zip(prompts, answers)
    ]
    return candidates, {
        "device": device,
        "new_tokens": sum(row["new_tokens"] for row in candidates),
        "prompt_tokens": sum(row["prompt_tokens"] for row in candidates),
        "kept_from_earlier_runs": len(finished),
        "earlier_s": earlier,
    }


def choose_gpu(device: str, shard: int) -> str:
    """Return the device of a shard: where several GPUs are to be seen and none is named, they take turns."""
    device = choose_device(device)
    return f"cuda:{shard % torch.cuda.device_count()}" if device == "cuda" else device


def _sequence(tokenizer, row: dict, made: list[dict], settings: dict) -> Sequence:
    """Return the answer to come: to the prompt, or to what is wrong with the answer before."""
    opening = OPENINGS[settings["opening"]]
    tokens, seed = chat_tokens(tokenizer, row["prompt"]), row["seed"]
    if made:
        _, reason = check_program(extract_program(made[-1]["raw"]))
        tokens = chat_tokens(
            tokenizer, row["prompt"], made[-1]["raw"], REPAIR.format(reason=reason)
        )
        seed = derive(seed, "repair", len(made))
    if not opening and tokenizer.decode(tokens[-8:]).rstrip().endswith(THINKING):
        # The template has opened the thinking; what ends it is no part of the program.
        return Sequence(tokens, seed, f"{THINKING}\n")
    return Sequence(tokens + opening_tokens(tokenizer, opening), seed, opening)


def _fits(model, sequence: Sequence, settings: dict, cache_mb: int) -> bool:
    try:
        batch_limit(model.config, model.dtype, len(sequence.prompt), settings, cache_mb)
    except InputError:
        return False
    return True


def _answer(
    model, tokenizer, asked: dict[int, Sequence], settings: dict, cache_mb: int, label: str
):
    """Yield (place, row of the journal) as the answers end."""
    if not asked:
        return
    # Prompts of similar length share a batch: less padding.
    order = sorted(asked, key=lambda place: (len(asked[place].prompt), place))
    size = batch_limit(model.config, model.dtype, len(asked[order[-1]].prompt), settings, cache_mb)
    places = {id(sequence): place for place, sequence in asked.items()}
    drawn = 0
    with Progress(len(asked), "candidate", label) as progress:
        for each in sample(model, tokenizer, [asked[place] for place in order], size, settings):
            drawn += each.drawn
            progress.step(note=f"{drawn} tokens")
            yield (
                places[id(each)],
                {
                    "raw": each.opening + tokenizer.decode(each.new, skip_special_tokens=True),
                    "prompt_tokens": len(each.prompt),
                    "new_tokens": each.drawn,
                    "stopped": each.stopped,
                },
            )


def _candidate(row: dict, made: list[dict]) -> dict:
    """Return the candidate: the last answer, and the tokens of all of them with those of dropped lines."""
    return row | {
        "raw": made[-1]["raw"],
        "program": extract_program(made[-1]["raw"]),
        "prompt_tokens": sum(answer["prompt_tokens"] for answer in made),
        "new_tokens": sum(answer["new_tokens"] for answer in made),
        "stopped": made[-1]["stopped"],
        "attempts": len(made),
    }


def with_adapter(model, adapter: Path):
    """Return the model with the adapter, folded into weights in float32; fewer bits would round its part away."""
    wrapped = load_adapter(model, adapter)
    whole = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    return wrapped.merge_and_unload().eval() if whole else wrapped.eval()
