"""Many answers of the language model at once: one forward pass gives a token to every sequence that
still runs.

What all prompts begin with is computed once. A sequence that ends leaves the batch. Draw number n
of a candidate is a function of its seed and of n, and a draw that rounding could tip is settled by
the candidate alone (token_sampling), so in float32 neither the batch nor running out of memory
changes what is sampled.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from archloop.errors import InputError
from archloop.generation.answers import is_finished, wrong_line
from archloop.generation.token_sampling import ROUNDING, Sampling, choose_tokens
from archloop.logs import get_logger
from archloop.model.chat_template import end_of_turn
from archloop.model.memory import GROWTH, SHAPE, cache_bytes
from archloop.model.types import KeysAndValues, LanguageModel, ModelConfig, Tokenizer
from archloop.random_seeds import uniform
from archloop.settings.sections import Generation


@dataclass
class Sequence:
    """An answer in the making.

    What it becomes depends on `prompt`, `seed` and `response_prefix` alone.
    """

    prompt: list[int]  # token ids, those of the response prefix included
    seed: int
    response_prefix: str = ""  # text that the answer begins with
    new: list[int] = field(default_factory=list)  # token ids after the prompt
    sampled: int = 0  # tokens that were sampled, those of dropped lines included
    finish_reason: str | None = None  # fence, end, length or line
    line: int = 0  # where in `new` the current line begins, at the token that ended the line before
    dropped: int = 0  # times that the current line was dropped

    def draw(self) -> float:
        """Return the number in [0, 1) that the next token is drawn with."""
        return uniform(self.seed, "draw", self.sampled)


@dataclass(frozen=True)
class Decoder:
    """A model that answers: itself, its tokenizer, the tokens that end an answer, and the
    settings."""

    model: LanguageModel
    tokenizer: Tokenizer
    ends: set[int]
    settings: Generation


@dataclass
class RunningBatch:
    """The sequences that run, a row each.

    cache: keys and values. mask: (rows, tokens in the cache), 1 where a row sees a token. logits:
    (rows, vocabulary), of each row's next token.
    """

    sequences: list[Sequence]
    cache: KeysAndValues
    mask: torch.Tensor
    logits: torch.Tensor


def new_decoder(model: LanguageModel, tokenizer: Tokenizer, settings: Generation) -> Decoder:
    """Return a decoder; raise InputError for settings that the model cannot be sampled by."""
    check_retries(model.config, settings)
    ends = model.generation_config.eos_token_id
    if not isinstance(ends, list):
        ends = [ends]
    # What ends an answer by the model's settings, by its tokenizer, and by its chat format.
    possible = {*ends, tokenizer.eos_token_id, end_of_turn(tokenizer)}
    possible.discard(None)
    return Decoder(model, tokenizer, possible, settings)


def sample(decoder: Decoder, sequences: list[Sequence], size: int) -> Iterator[Sequence]:
    """Yield the sequences as they end, `size` of them at once at most.

    Where the GPU's memory does not suffice, half as many go on from the tokens that they have.
    Raises InputError when it does not suffice for one, and FloatingPointError for logits that are
    no numbers.
    """
    waiting, prefix = list(sequences), None
    while waiting:
        group, full = waiting[:size], False
        try:
            if prefix is None:
                prefix = SharedPrefix(decoder.model, [sequence.prompt for sequence in waiting])
            yield from _run(decoder, group, prefix)
        except torch.OutOfMemoryError:
            full = True

        # Out of memory they keep the tokens that they have, and are read again as a longer prompt.
        waiting = _running(waiting)
        if full:
            size = _halved(len(_running(group)))


def batch_limit(
    config: ModelConfig, dtype: torch.dtype, longest: int, settings: Generation, cache_mb: int
) -> int:
    """Return how many sequences may run at once: `batch_size`, or as many as `cache_mb` holds the
    cache of.

    longest: tokens of the longest prompt. A sequence takes the cache of `longest + max_new_tokens`
    tokens at most, rounded up to GROWTH. Raises InputError when that is more than the model's
    context, or than `cache_mb`.
    """
    text = config.get_text_config(decoder=True)
    context = getattr(text, "max_position_embeddings", None) or math.inf
    most = longest + settings.max_new_tokens
    if most > context:
        raise InputError(
            f"generation.max_new_tokens: {settings.max_new_tokens} after a prompt of {longest}"
            f" tokens are more than the model's context of {context}"
        )

    tokens = math.ceil(most / GROWTH) * GROWTH
    shape = {name: getattr(text, name, None) for name in SHAPE}
    sequence_bytes = cache_bytes(shape, dtype.itemsize) * tokens
    fitting = int(cache_mb * 2**20 // sequence_bytes)
    if fitting < 1:
        raise InputError(
            f"execution.cache_mb: {cache_mb} MB hold no sequence; one of {tokens} tokens takes"
            f" {sequence_bytes / 2**20:.0f} MB"
        )
    return min(settings.batch_size, fitting)


def check_retries(config: ModelConfig, settings: Generation) -> None:
    """Raise InputError when lines are to be dropped in a model whose layers see a window of the
    text alone."""
    from archloop.model.kv_cache import sees_all  # it imports transformers

    if settings.line_retries and not sees_all(config):
        raise InputError(
            f"generation.line_retries: {config.model_type} attends to a window of the text, in"
            " which dropped lines would count; set it to 0"
        )


class SharedPrefix:
    """The keys and values of what all prompts begin with, at least one token being left to each.

    None where a layer sees a window of the text alone: the padding behind the prefix would count in
    the window.
    """

    @torch.inference_mode()
    def __init__(self, model: LanguageModel, prompts: list[list[int]]):
        from archloop.model.kv_cache import new_cache, sees_all  # it imports transformers

        self.length = common_length(prompts) if sees_all(model.config) else 0
        self.cache = new_cache(model.config)
        # Read once: what is in the cache is copied for every row of a batch.
        if self.length:
            shared = prompts[0][: self.length]
            ids = torch.tensor([shared], device=model.device)
            model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)

    def repeated(self, rows: int) -> KeysAndValues:
        """Return a cache of its own for that many sequences."""
        cache = copy.deepcopy(self.cache)
        if self.length:
            cache.batch_repeat_interleave(rows)
        return cache


def common_length(prompts: list[list[int]]) -> int:
    """Return how many tokens all prompts begin with, one of each left aside.

    >>> common_length([[1, 2, 3], [1, 2, 4]]), common_length([[1, 2], [1, 2]])
    (2, 1)
    """
    shortest = min(map(len, prompts)) - 1
    for position in range(shortest):
        tokens = {prompt[position] for prompt in prompts}
        if len(tokens) > 1:
            return position
    return shortest


def read_prompts(
    model: LanguageModel, prompts: list[list[int]], prefix: SharedPrefix, pad: int
) -> tuple[KeysAndValues, torch.Tensor, torch.Tensor]:
    """Return (cache, attention mask, logits after each prompt), the prompts padded on the left."""
    rests = [prompt[prefix.length :] for prompt in prompts]
    width = max(map(len, rests))
    ids, mask = [], []
    for rest in rests:
        padding = width - len(rest)
        ids.append([pad] * padding + rest)
        # The padding lies between the shared prefix and the rest of a prompt.
        prefix_mask, padding_mask, rest_mask = [1] * prefix.length, [0] * padding, [1] * len(rest)
        mask.append(prefix_mask + padding_mask + rest_mask)

    seen = torch.tensor(mask, device=model.device)
    # A token's position is the number of tokens that its row sees before it, whatever the padding.
    positions = (seen.cumsum(dim=1) - 1).clamp(min=0)
    cache = prefix.repeated(len(prompts))
    out = model(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=seen,
        position_ids=positions[:, prefix.length :],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache, seen, out.logits[:, -1]


def append_token(sequence: Sequence, token: int, decoder: Decoder) -> int:
    """Give a sequence its next token, or end it.

    Return how many columns of the cache are void from now on: 0, or where a line was dropped, those
    of its tokens and of the one before it, which is read again.
    """
    settings = decoder.settings
    sequence.sampled += 1
    if token in decoder.ends:
        sequence.finish_reason = "end"
        return 0

    sequence.new.append(token)
    void = 0
    piece = decoder.tokenizer.decode(token)
    if "`" in piece or "\n" in piece:  # only these end a line or a fence
        void = _end_line(sequence, decoder, ends_line="\n" in piece)
    if sequence.finish_reason is None and sequence.sampled >= settings.max_new_tokens:
        # A dropped line is never the last: see _try_line_again.
        sequence.finish_reason = "length"
    return void


def hide_last(mask: torch.Tensor, count: int) -> None:
    """Take the last `count` tokens that a row still sees out of its sight."""
    mask[mask.nonzero()[-count:, 0]] = 0


def _end_line(sequence: Sequence, decoder: Decoder, ends_line: bool) -> int:
    """End the answer at its fence, drop a line that is wrong, or begin the next.

    Return the void columns.
    """
    settings = decoder.settings
    text = sequence.response_prefix + decoder.tokenizer.decode(sequence.new)
    is_closed = is_finished(text)
    is_over = is_closed or ends_line
    if settings.line_retries and is_over and wrong_line(text):
        return _try_line_again(sequence, settings)

    if is_closed:
        sequence.finish_reason = "fence"
    elif ends_line:
        end = len(sequence.new) - 1
        if end != sequence.line:  # the token that ended the line before is read again after a drop
            sequence.dropped = 0
        sequence.line = end
    return 0


def _try_line_again(sequence: Sequence, settings: Generation) -> int:
    """Drop a wrong line, or end the answer where that was done often enough.

    Return the void columns.
    """
    if sequence.dropped == settings.line_retries:
        sequence.finish_reason = "line"
        return 0
    # With no token left to sample, the answer ends by its length, the line in it.
    if sequence.sampled >= settings.max_new_tokens:
        return 0
    return _drop_line(sequence)


def _drop_line(sequence: Sequence) -> int:
    void = len(sequence.new) - sequence.line
    del sequence.new[sequence.line :]
    sequence.dropped += 1
    return void


@torch.inference_mode()
def _run(decoder: Decoder, group: list[Sequence], prefix: SharedPrefix) -> Iterator[Sequence]:
    """Yield the sequences of a batch as they end."""
    prompts = [sequence.prompt + sequence.new for sequence in group]

    cache, mask, logits = read_prompts(
        decoder.model, prompts, prefix, decoder.tokenizer.pad_token_id
    )
    batch = RunningBatch(group, cache, mask, logits)
    while True:
        for row, token in enumerate(_next_tokens(decoder, batch)):
            void = append_token(batch.sequences[row], token, decoder)
            if void:
                hide_last(batch.mask[row], void)

        for sequence in batch.sequences:
            if sequence.finish_reason is not None:
                yield sequence
        if not _running(batch.sequences):
            return

        _leave_out_finished(batch)
        _advance(decoder, batch)


def _next_tokens(decoder: Decoder, batch: RunningBatch) -> list[int]:
    """Draw a token for each row.

    What rounding could tip is settled by logits of the sequence alone.
    """
    settings, model = decoder.settings, decoder.model
    sampling = Sampling(settings.temperature, settings.top_k, settings.top_p)
    rounding = ROUNDING if model.dtype == torch.float32 else 0.0
    draws = [sequence.draw() for sequence in batch.sequences]

    tokens, certain = choose_tokens(batch.logits, draws, sampling, rounding)
    for row, sequence in enumerate(batch.sequences):
        if certain[row]:
            continue

        so_far = sequence.prompt + sequence.new
        ids = torch.tensor([so_far], device=batch.mask.device)
        # Without the cache, whose rounding comes from the batch, too.
        out = model(input_ids=ids, use_cache=False, logits_to_keep=1)
        alone = out.logits[:, -1]
        (token,), _ = choose_tokens(alone, [draws[row]], sampling)
        tokens[row] = token
    return tokens


def _leave_out_finished(batch: RunningBatch) -> None:
    running = _running(batch.sequences)
    if len(running) == len(batch.sequences):
        return

    rows = []
    for row, sequence in enumerate(batch.sequences):
        if sequence.finish_reason is None:
            rows.append(row)
    kept = torch.tensor(rows, device=batch.mask.device)
    batch.cache.batch_select_indices(kept)
    batch.mask = batch.mask[kept]
    batch.sequences = running


def _advance(decoder: Decoder, batch: RunningBatch) -> None:
    """Read the last token of every row."""
    seen = batch.mask.new_ones(len(batch.sequences), 1)
    batch.mask = torch.cat([batch.mask, seen], dim=1)
    last = []
    for sequence in batch.sequences:
        # Of a sequence whose only line was dropped it is the prompt's.
        ids = sequence.new or sequence.prompt
        last.append([ids[-1]])

    batch.logits = decoder.model(
        input_ids=torch.tensor(last, device=batch.mask.device),
        attention_mask=batch.mask,
        position_ids=batch.mask.sum(dim=1, keepdim=True) - 1,
        past_key_values=batch.cache,
        use_cache=True,
    ).logits[:, -1]


def _running(sequences: list[Sequence]) -> list[Sequence]:
    return [sequence for sequence in sequences if sequence.finish_reason is None]


def _halved(running: int) -> int:
    """Return how many sequences go on after the memory was full with so many."""
    if running == 1:
        raise InputError(
            "the GPU's memory does not suffice for one sequence; lower generation.max_new_tokens"
        )
    # The freed memory is still in pieces that were made for the larger batch.
    torch.cuda.empty_cache()
    get_logger("generate").info(
        "out of memory with %d sequences; going on with %d at once", running, running // 2
    )
    return running // 2
