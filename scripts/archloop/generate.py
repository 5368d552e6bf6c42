"""Sample answers from the language model, many at once, and take the program out of each.

Every candidate has its own random numbers, and a draw that rounding could tip is settled by the candidate alone (see
archloop.draws), so in float32 what a candidate becomes does not depend on how many others are sampled beside it.
Answers are kept as they end, so a job that was cut goes on with those that are missing.
"""

import random
import re
import time
from pathlib import Path

import torch

from archloop.chat import chat_tokens, end_of_turn
from archloop.draws import ROUNDING, choose_tokens
from archloop.files import sha256_file, sha256_text
from archloop.journal import journal
from archloop.models import check_model, choose_device, load_adapter, load_model, load_tokenizer
from archloop.progress import Progress

FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def generate(
    prompts: list[dict],
    model_folder: Path,
    adapter: Path | None,
    settings: dict,
    loading: dict,
    device: str,
    kept: Path,
    code: str = "",
) -> tuple[list[dict], dict]:
    """Return (candidates, run record) for the prompts of one shard, in their order.

    prompts: rows of prompts.jsonl. adapter: adapter_model.safetensors with its adapter_config.json beside it, or None
    for the bare model. settings: section generation; loading: section loading. kept: file of the answers that are
    finished; those of an earlier run with the same inputs, settings and `code` (a digest) are not made again.
    """
    started = time.monotonic()
    device = choose_device(device)
    manifest = check_model(model_folder)
    digest = sha256_file(adapter) if adapter is not None else None
    lineage = {
        "base": {name: facts["sha256"] for name, facts in manifest["files"].items()},
        "adapter": digest,
        "prompts": [(row["index"], sha256_text(row["prompt"]), row["seed"]) for row in prompts],
        "settings": {key: value for key, value in settings.items() if key != "batch_size"},
        "loading": loading,
        "code": code,
    }
    tokenizer = load_tokenizer(model_folder)
    tokens = [chat_tokens(tokenizer, row["prompt"]) for row in prompts]
    with journal(kept, sha256_text(repr(lineage))) as (finished, keep):
        answers = {row["place"]: row for row in finished}
        earlier = max((row["seconds"] for row in finished), default=0.0)
        missing = [place for place in range(len(prompts)) if place not in answers]
        if missing:
            model = load_model(model_folder, loading, device)
            model = model if adapter is None else merge_adapter(model, adapter)
            _answer(model, tokenizer, tokens, prompts, missing, settings, answers, keep, started - earlier)
    candidates = []
    for place, row in enumerate(prompts):
        raw = tokenizer.decode(answers[place]["ids"], skip_special_tokens=True)
        candidates.append(
            row
            | {
                "raw": raw,
                "program": extract_program(raw),
                "prompt_tokens": len(tokens[place]),
                "new_tokens": len(answers[place]["ids"]),
                "stopped": answers[place]["stopped"],
                "adapter": digest,
            }
        )
    return candidates, {
        "device": device,
        "new_tokens": sum(row["new_tokens"] for row in candidates),
        "prompt_tokens": sum(map(len, tokens)),
        "kept_from_earlier_runs": len(prompts) - len(missing),
        "earlier_s": earlier,
    }


def _answer(model, tokenizer, tokens, prompts, missing, settings, answers, keep, started) -> None:
    """Sample the missing answers, and keep each as it ends. started: of the first run, on the monotonic clock."""
    # Prompts of similar length share a batch: less padding.
    order = sorted(missing, key=lambda i: (len(tokens[i]), i))
    with Progress(len(missing), "candidate", "generate") as progress:
        made = 0
        for start in range(0, len(order), settings["batch_size"]):
            batch = order[start : start + settings["batch_size"]]
            seeds = [prompts[i]["seed"] for i in batch]
            for row, ids, stopped in sample(model, tokenizer, [tokens[i] for i in batch], seeds, settings):
                seconds = round(time.monotonic() - started, 2)
                answers[batch[row]] = {"place": batch[row], "ids": ids, "stopped": stopped, "seconds": seconds}
                keep(answers[batch[row]])
                made += len(ids)
                progress.step(note=f"{made} tokens")


def merge_adapter(model, adapter: Path):
    """Return the model with the adapter folded into its weights, where the weights can take it."""
    wrapped = load_adapter(model, adapter)
    return wrapped.eval() if getattr(model, "is_quantized", False) else wrapped.merge_and_unload().eval()


def extract_program(raw: str) -> str | None:
    """Return the first fenced block of an answer, or all of it when it has no fence but a class; None when neither.

    >>> extract_program("Here:\\n```python\\nx = 1\\n```")
    'x = 1\\n'
    """
    found = FENCE.search(raw)
    if found:
        return found.group(1).rstrip() + "\n"
    return raw.strip() + "\n" if re.search(r"^class \w+", raw, re.MULTILINE) else None


@torch.inference_mode()
def sample(model, tokenizer, prompts: list[list[int]], seeds: list[int], settings: dict):
    """Yield (place in the batch, new token ids, `fence`, `end` or `length`) as the sequences end, all prompts at once.

    What all prompts begin with is computed once. A sequence that ends leaves the batch. `fence` means that the answer
    closed its code block, after which nothing counts any more.
    """
    cache, mask, logits = _read_prompts(model, prompts, tokenizer.pad_token_id)
    rounding = ROUNDING if model.dtype == torch.float32 else 0.0
    dice = [random.Random(seed) for seed in seeds]
    new: list[list[int]] = [[] for _ in prompts]
    active = list(range(len(prompts)))
    ends = _end_tokens(model, tokenizer)
    while active:
        draws = [dice[place].random() for place in active]
        chosen, certain = choose_tokens(logits, draws, settings, rounding)
        for row in [row for row, sure in enumerate(certain) if not sure]:
            ids = torch.tensor([prompts[active[row]] + new[active[row]]], device=mask.device)
            alone = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            chosen[row] = choose_tokens(alone, [draws[row]], settings)[0][0]
        stay, stopped = [], []
        for row, (place, token) in enumerate(zip(active, chosen)):
            reason = None
            if token in ends:
                reason = "end"
            else:
                new[place].append(token)
                if "`" in tokenizer.decode(token) and _closed(tokenizer.decode(new[place])):
                    reason = "fence"
                elif len(new[place]) >= settings["max_new_tokens"]:
                    reason = "length"
            if reason:
                stopped.append((place, new[place], reason))
            else:
                stay.append(row)
        yield from stopped
        if not stay:
            return
        if stopped:
            keep = torch.tensor(stay, device=mask.device)
            cache.batch_select_indices(keep)
            mask = mask[keep]
            chosen = [chosen[row] for row in stay]
            active = [active[row] for row in stay]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        logits = model(
            input_ids=torch.tensor(chosen, device=mask.device)[:, None],
            attention_mask=mask,
            position_ids=mask.sum(dim=1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]


def _read_prompts(model, prompts: list[list[int]], pad: int):
    """Return (cache, attention mask, logits after each prompt); what all prompts begin with goes through once."""
    from transformers import DynamicCache

    device = model.device
    shared = _common_prefix(prompts)
    cache = DynamicCache(config=model.config)
    if shared:
        model(input_ids=torch.tensor([prompts[0][:shared]], device=device), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(prompts))
    rests = [prompt[shared:] for prompt in prompts]
    width = max(map(len, rests))
    padded = torch.tensor([[pad] * (width - len(rest)) + rest for rest in rests], device=device)
    own = torch.tensor([[0] * (width - len(rest)) + [1] * len(rest) for rest in rests], device=device)
    mask = torch.cat([own.new_ones(len(prompts), shared), own], dim=1)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, shared:]
    out = model(
        input_ids=padded,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache, mask, out.logits[:, -1]


def _common_prefix(prompts: list[list[int]]) -> int:
    """Return how many tokens all prompts share, at least one being left to each."""
    shortest = min(map(len, prompts)) - 1
    for length in range(shortest):
        if any(prompt[length] != prompts[0][length] for prompt in prompts):
            return length
    return shortest


def _end_tokens(model, tokenizer) -> set[int]:
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return {token for token in [*ends, tokenizer.eos_token_id, end_of_turn(tokenizer)] if token is not None}


def _closed(text: str) -> bool:
    """Tell whether a code block was opened and closed."""
    return bool(re.search(r"```[^\n`]*\n.*\n[ \t]*```", text, re.DOTALL))
