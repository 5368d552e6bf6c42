"""Sample answers from the language model, many at once, and take the program out of each.

Every candidate has its own random numbers, so what one of them becomes does not depend on how many others are sampled
beside it, up to the rounding of the matrix products (their order changes with the shape of the batch; in float32 the
logits differ by about 1e-4, which now and then tips a token).
"""

import random
import re
from pathlib import Path

import torch

from archloop.chat import chat_tokens, end_of_turn
from archloop.files import sha256_file
from archloop.models import check_model, choose_device, load_adapter, load_model, load_tokenizer
from archloop.progress import Progress

FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def generate(prompts: list[dict], model_folder: Path, adapter: Path | None, settings: dict, loading: dict, device: str):
    """Return (candidates, run record) for the prompts of one shard, in their order.

    prompts: rows of prompts.jsonl. adapter: adapter_model.safetensors with its adapter_config.json beside it, or None
    for the bare model. settings: section generation; loading: section loading.
    """
    device = choose_device(device)
    check_model(model_folder)
    tokenizer = load_tokenizer(model_folder)
    model = load_model(model_folder, loading, device)
    if adapter is not None:
        model = merge_adapter(model, adapter)
    digest = sha256_file(adapter) if adapter is not None else None
    tokens = [chat_tokens(tokenizer, row["prompt"]) for row in prompts]
    answers: dict[int, tuple[list[int], str]] = {}
    # Prompts of similar length share a batch: less padding.
    order = sorted(range(len(prompts)), key=lambda i: (len(tokens[i]), i))
    with Progress(len(prompts), "candidate", "generate") as progress:
        made = 0
        for start in range(0, len(order), settings["batch_size"]):
            batch = order[start : start + settings["batch_size"]]
            seeds = [prompts[i]["seed"] for i in batch]
            for place, ids, stopped in sample(model, tokenizer, [tokens[i] for i in batch], seeds, settings):
                answers[batch[place]] = ids, stopped
                made += len(ids)
                progress.step(note=f"{made} tokens")
    candidates = []
    for index, row in enumerate(prompts):
        ids, stopped = answers[index]
        raw = tokenizer.decode(ids, skip_special_tokens=True)
        candidates.append(
            row
            | {
                "raw": raw,
                "program": extract_program(raw),
                "prompt_tokens": len(tokens[index]),
                "new_tokens": len(ids),
                "stopped": stopped,
                "adapter": digest,
            }
        )
    return candidates, {"device": device, "new_tokens": made, "prompt_tokens": sum(map(len, tokens))}


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
    dice = [random.Random(seed) for seed in seeds]
    new: list[list[int]] = [[] for _ in prompts]
    active = list(range(len(prompts)))
    ends = _end_tokens(model, tokenizer)
    while active:
        chosen = choose_tokens(logits, [dice[place] for place in active], settings)
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


def choose_tokens(logits: torch.Tensor, dice: list[random.Random], settings: dict) -> list[int]:
    """Return one token a row. logits: (rows, vocabulary). Temperature, then top-k, then top-p, then one draw a row."""
    if settings["temperature"] == 0:
        return logits.argmax(dim=-1).tolist()
    scores = logits.float() / settings["temperature"]
    k = settings["top_k"] or scores.shape[-1]
    best, tokens = scores.topk(min(k, scores.shape[-1]), dim=-1)
    probabilities = best.softmax(dim=-1).double().cpu()
    below = probabilities.cumsum(dim=-1) - probabilities
    kept = probabilities.masked_fill(below >= settings["top_p"], 0.0)
    heights = kept.cumsum(dim=-1)
    draws = torch.tensor([[die.random()] for die in dice], dtype=torch.float64)
    places = torch.searchsorted(heights, draws * heights[:, -1:], right=True)
    last = (kept > 0).sum(dim=-1, keepdim=True) - 1
    return tokens.cpu().gather(1, torch.minimum(places, last))[:, 0].tolist()


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
