"""Many answers of the language model at once: one forward pass gives a token to every sequence that still runs.

What all prompts begin with is computed once. A sequence that ends leaves the batch. Draw number n of a candidate is a
function of its seed and of n, and a draw that rounding could tip is settled by the candidate alone (token_sampling), so
in float32 neither the batch nor running out of memory changes what is sampled.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from archloop.errors import InputError
from archloop.generation.answers import is_finished, wrong_line
from archloop.generation.token_sampling import ROUNDING, choose_tokens
from archloop.model.chat_template import end_of_turn
from archloop.model.memory import GROWTH, SHAPE, cache_bytes
from archloop.progress import get_logger
from archloop.random_seeds import uniform


@dataclass
class Sequence:
    """An answer in the making. What it becomes depends on `prompt`, `seed` and `opening` alone."""

    prompt: list[int]  # token ids, those of the opening included
    seed: int
    opening: str = ""  # text that the answer begins with
    new: list[int] = field(default_factory=list)  # token ids after the prompt
    drawn: int = 0  # tokens that were sampled, those of dropped lines included
    stopped: str | None = None  # fence, end, length or line
    line: int = 0  # where in `new` the current line begins, at the token that ended the line before
    dropped: int = 0  # times that the current line was dropped

    def draw(self) -> float:
        """Return the number in [0, 1) that the next token is drawn with."""
        return uniform(self.seed, "draw", self.drawn)


def sample(
    model, tokenizer, sequences: list[Sequence], size: int, settings: dict
) -> Iterator[Sequence]:
    """Yield the sequences as they end, `size` of them at once at most.

    Where the GPU's memory does not suffice, half as many go on from the tokens that they have. Raises InputError when
    it does not suffice for one, or for settings that the model cannot be sampled by, and FloatingPointError for logits
    that are no numbers.
    """
    check_retries(model.config, settings)
    waiting, prefix = list(sequences), None
    while waiting:
        group, full = waiting[:size], False
        try:
            prefix = prefix or Prefix(model, [each.prompt for each in waiting])
            yield from _together(model, tokenizer, group, prefix, settings)
        except torch.OutOfMemoryError:
            full = True
        waiting = [each for each in waiting if each.stopped is None]
        if full:
            running = sum(each.stopped is None for each in group)
            if running == 1:
                raise InputError(
                    "the GPU's memory does not suffice for one sequence; lower generation.max_new_tokens"
                )
            size = running // 2
            torch.cuda.empty_cache()
            get_logger("generate").info(
                "out of memory with %d sequences; going on with %d at once", running, size
            )


def batch_limit(config, dtype: torch.dtype, longest: int, settings: dict, cache_mb: int) -> int:
    """Return how many sequences may run at once: `batch_size`, or as many as `cache_mb` holds the cache of.

    longest: tokens of the longest prompt. A sequence takes the cache of `longest + max_new_tokens` tokens at most,
    rounded up to GROWTH. Raises InputError when that is more than the model's context, or than `cache_mb`.
    """
    text = config.get_text_config(decoder=True)
    context = getattr(text, "max_position_embeddings", None) or math.inf
    if longest + settings["max_new_tokens"] > context:
        raise InputError(
            f"generation.max_new_tokens: {settings['max_new_tokens']} after a prompt of {longest} tokens are more than"
            f" the model's context of {context}"
        )
    tokens = -(-(longest + settings["max_new_tokens"]) // GROWTH) * GROWTH
    one = cache_bytes({name: getattr(text, name, None) for name in SHAPE}, dtype.itemsize) * tokens
    fitting = int(cache_mb * 2**20 // one)
    if fitting < 1:
        raise InputError(
            f"execution.cache_mb: {cache_mb} MB hold no sequence; one of {tokens} tokens takes {one / 2**20:.0f} MB"
        )
    return min(settings["batch_size"], fitting)


def check_retries(config, settings: dict) -> None:
    """Raise InputError when lines are to be dropped in a model whose layers see a window of the text alone."""
    from archloop.model.kv_cache import sees_all

    if settings["line_retries"] and not sees_all(config):
        raise InputError(
            f"generation.line_retries: {config.model_type} attends to a window of the text, in which dropped lines"
            " would count; set it to 0"
        )


class Prefix:
    """The keys and values of what all prompts begin with, at least one token being left to each.

    None where a layer sees a window of the text alone: the padding behind the prefix would count in the window.
    """

    @torch.inference_mode()
    def __init__(self, model, prompts: list[list[int]]):
        from archloop.model.kv_cache import new_cache, sees_all

        self.length = shortest = min(map(len, prompts)) - 1 if sees_all(model.config) else 0
        for place in range(shortest):
            if any(prompt[place] != prompts[0][place] for prompt in prompts):
                self.length = place
                break
        self.cache = new_cache(model.config)
        if self.length:
            ids = torch.tensor([prompts[0][: self.length]], device=model.device)
            model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)

    def repeated(self, rows: int):
        """Return a cache of its own for that many sequences."""
        cache = copy.deepcopy(self.cache)
        if self.length:
            cache.batch_repeat_interleave(rows)
        return cache


def read_prompts(model, prompts: list[list[int]], prefix: Prefix, pad: int):
    """Return (cache, attention mask, logits after each prompt), the prompts padded on the left."""
    cache, shared, device = prefix.repeated(len(prompts)), prefix.length, model.device
    rests = [prompt[shared:] for prompt in prompts]
    width = max(map(len, rests))
    padded = torch.tensor([[pad] * (width - len(rest)) + rest for rest in rests], device=device)
    own = torch.tensor(
        [[0] * (width - len(rest)) + [1] * len(rest) for rest in rests], device=device
    )
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


@torch.inference_mode()
def _together(
    model, tokenizer, group: list[Sequence], prefix: Prefix, settings: dict
) -> Iterator[Sequence]:
    rounding = ROUNDING if model.dtype == torch.float32 else 0.0
    ends = _end_tokens(model, tokenizer)
    cache, mask, logits = read_prompts(
        model, [each.prompt + each.new for each in group], prefix, tokenizer.pad_token_id
    )
    while True:
        draws = [each.draw() for each in group]
        chosen, certain = choose_tokens(logits, draws, settings, rounding)
        for row in [row for row, sure in enumerate(certain) if not sure]:
            ids = torch.tensor([group[row].prompt + group[row].new], device=mask.device)
            alone = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            chosen[row] = choose_tokens(alone, [draws[row]], settings)[0][0]
        lost = [
            _append(each, token, tokenizer, ends, settings) for each, token in zip(group, chosen)
        ]
        stay = [row for row, each in enumerate(group) if each.stopped is None]
        yield from (each for each in group if each.stopped is not None)
        if not stay:
            return
        for row in stay:
            if lost[row]:
                _hide(mask[row], lost[row])
        if len(stay) < len(group):
            keep = torch.tensor(stay, device=mask.device)
            cache.batch_select_indices(keep)
            mask = mask[keep]
            group = [group[row] for row in stay]
        mask = torch.cat([mask, mask.new_ones(len(group), 1)], dim=1)
        logits = model(
            input_ids=torch.tensor(
                [[(each.new or each.prompt)[-1]] for each in group], device=mask.device
            ),
            attention_mask=mask,
            position_ids=mask.sum(dim=1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]


def _append(each: Sequence, token: int, tokenizer, ends: set[int], settings: dict) -> int:
    """Give a sequence its next token, or end it; return how many columns of the cache are void from now on.

    That is 0, or where a line was dropped, those of its tokens and of the one before it, which is read again.
    """
    each.drawn += 1
    if token in ends:
        each.stopped = "end"
        return 0
    each.new.append(token)
    piece = tokenizer.decode(token)
    if "`" in piece or "\n" in piece:
        text = each.opening + tokenizer.decode(each.new)
        closed = is_finished(text)
        if settings["line_retries"] and (closed or "\n" in piece) and wrong_line(text):
            if each.dropped == settings["line_retries"]:
                each.stopped = "line"
            elif each.drawn < settings["max_new_tokens"]:
                lost = len(each.new) - each.line
                del each.new[each.line :]
                each.dropped += 1
                return lost
        elif closed:
            each.stopped = "fence"
        elif "\n" in piece:
            at = len(each.new) - 1
            each.dropped = each.dropped if at == each.line else 0
            each.line = at
    if each.stopped is None and each.drawn >= settings["max_new_tokens"]:
        each.stopped = "length"
    return 0


def _hide(mask: torch.Tensor, count: int) -> None:
    """Take the last `count` tokens that a row still sees out of its sight."""
    mask[mask.nonzero()[-count:, 0]] = 0


def _end_tokens(model, tokenizer) -> set[int]:
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return {
        token
        for token in [*ends, tokenizer.eos_token_id, end_of_turn(tokenizer)]
        if token is not None
    }
