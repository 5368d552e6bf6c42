"""Train a small language model from scratch on programs of the seed families, for experiments and
tests.

A decoder of the Llama family (transformers' own classes) and a tokenizer made for such programs.
What comes out is a prepared model like any other. On a CPU the same inputs give the same bytes,
whether the training was cut or not.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from archloop.allocation import keep_freed_memory
from archloop.errors import InputError
from archloop.files import sha256_text
from archloop.finetuning.objectives import SFT, Example
from archloop.finetuning.train_loop import Batching, TrainingPlan, plan_steps, train
from archloop.generation.prompts import PromptTexts
from archloop.logs import get_logger
from archloop.machine import choose_device, versions
from archloop.model.chat_template import encode_pair
from archloop.model.loading import quiet_transformers, save_model
from archloop.model.prepare_model import empty, write_manifest
from archloop.model.types import Tokenizer
from archloop.random_seeds import derive
from archloop.scratch_model.scratch_programs import training_pairs
from archloop.settings.sections import ScratchModel, width_error

PADDING, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHECKPOINT = "checkpoint.pt"

logger = get_logger("models")


@dataclass(frozen=True)
class ScratchJob:
    """A model that is trained from scratch.

    reference: what the manifest names as its source. texts: those of the run's prompts. folder:
    where the model goes. state: folder of the checkpoint; one of the same training by the same
    `code` (a digest) is resumed. seed: that of the run.
    """

    reference: str
    settings: ScratchModel
    texts: PromptTexts
    folder: Path
    state: Path
    seed: int
    code: str = ""


def train_model(job: ScratchJob, device: str) -> Path:
    """Write a model, its tokenizer and last of all its manifest.

    Return the checkpoint, which has served.

    Raises InputError when the settings ask for more programs than there are, or the programs do not
    fit the context.
    """
    settings = job.settings
    quiet_transformers()
    empty(job.folder)
    pairs = training_pairs(settings.programs, job.seed, job.texts)
    tokenizer = train_tokenizer(pairs, settings.vocabulary, settings.context)
    examples = _examples(tokenizer, pairs, settings.context)

    device = choose_device(device)
    if device == "cpu":
        keep_freed_memory()
    # The weights are made on the CPU, so that they are the same whatever the device.
    torch.manual_seed(derive(job.seed, "scratch weights"))
    size = DecoderSize(settings.layers, settings.width, settings.heads, settings.context)
    model: Any = new_model(tokenizer, size)
    model = model.to(device)
    logger.info("%.2f million parameters, on %s", model.num_parameters() / 1e6, device)

    training = _training(job, examples, pairs)
    train(model, examples, SFT, training)

    save_model(model.eval().cpu(), tokenizer, job.folder)
    write_manifest(job.folder, job.reference, None)
    return training.checkpoint


def _examples(tokenizer: Tokenizer, pairs: list[tuple[str, str]], context: int) -> list[Example]:
    examples = []
    for prompt, program in pairs:
        prompt_ids, answer_ids = encode_pair(tokenizer, prompt, program)
        examples.append(Example(prompt_ids, answer_ids))

    lengths = [example.length for example in examples]
    longest = max(lengths)
    if longest > context:
        raise InputError(
            f"context: {context} tokens, but a prompt with its program takes {longest}"
        )
    logger.info(
        "%d programs, %.0f tokens each with their prompts, %d at most",
        len(examples),
        sum(lengths) / len(lengths),
        longest,
    )
    return examples


def _training(
    job: ScratchJob, examples: list[Example], pairs: list[tuple[str, str]]
) -> TrainingPlan:
    """Return so many steps as the settings say, over as many passes as they take."""
    settings = job.settings
    epochs = math.ceil(settings.steps * settings.batch_size / len(examples))
    seed = derive(job.seed, "scratch order")
    steps = plan_steps(examples, Batching(epochs, settings.batch_size), seed)

    installed = versions(("torch", "transformers", "tokenizers"))
    options = sorted(dataclasses.asdict(settings).items())
    return TrainingPlan(
        steps=steps[: settings.steps],
        settings=settings,
        seed=seed,
        checkpoint=job.state / CHECKPOINT,
        key=sha256_text(repr((options, job.seed, pairs, job.code, installed))),
        section="scratch_model",
        remedy="lower learning_rate in the file of model.reference",
    )


def train_tokenizer(pairs: list[tuple[str, str]], vocabulary: int, context: int) -> Tokenizer:
    """Return a tokenizer of byte-level pair encoding, trained on prompts and programs, with a chat
    template.

    A token holds at most one line, its line end included, and a number stands apart from what is
    around it. So a line that many programs share is one token, and a program is short. Every text
    can be encoded: all bytes are tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"\d+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PADDING, TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # As the chat template writes them, without its marks: special tokens are no text.
    texts = []
    for prompt, program in pairs:
        texts.append(f"user\n{prompt}\nassistant\n```python\n{program.strip()}\n```")
    tokenizer.train_from_iterator(texts, trainer)
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=tokenizer,
        bos_token=TURN,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        model_max_length=context,
        chat_template=CHAT_TEMPLATE,
    )


@dataclass(frozen=True)
class DecoderSize:
    """The size of a decoder; width: of the embeddings; context: tokens that it can read at once."""

    layers: int
    width: int
    heads: int
    context: int


def new_model(tokenizer: Tokenizer, size: DecoderSize) -> torch.nn.Module:
    """Return a decoder of the Llama family with random weights (float32) by torch's generator as it
    stands."""
    from transformers import LlamaConfig, LlamaForCausalLM

    error = width_error(size.width, size.heads)
    if error is not None:
        raise InputError(error)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        # Two thirds of four times the width, as in Llama, in blocks of 64, as 4-bit weights want
        # it.
        intermediate_size=max(64, size.width * 8 // 3 // 64 * 64),
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)
