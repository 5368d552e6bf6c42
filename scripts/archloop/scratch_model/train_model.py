"""Train a small language model from scratch on programs of the seed families, for experiments and tests.

A decoder of the Llama family (transformers' own classes) and a tokenizer made for such programs. What comes out is a
prepared model like any other. On a CPU the same inputs give the same bytes, whether the training was cut or not.
"""

from pathlib import Path

import jinja2
import torch

from archloop.allocation import keep_freed_memory
from archloop.errors import InputError
from archloop.files import sha256_text
from archloop.finetuning.objectives import Example, make_objective
from archloop.finetuning.train_loop import plan, train
from archloop.machine import choose_device, versions
from archloop.model.chat_template import encode_pair
from archloop.model.loading import quiet_transformers, save_model
from archloop.model.prepare_model import empty, write_manifest
from archloop.progress import get_logger
from archloop.random_seeds import derive
from archloop.scratch_model.scratch_programs import training_pairs

PADDING, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHECKPOINT = "checkpoint.pt"

logger = get_logger("models")


def train_model(
    reference: str,
    settings: dict,
    template: jinja2.Template,
    hints: dict[str, str],
    folder: Path,
    state: Path,
    device: str,
    seed: int,
    code: str = "",
) -> Path:
    """Write a model, its tokenizer and last of all its manifest to `folder`; return the checkpoint, which has served.

    reference: what the manifest names as its source. settings: section scratch_model of the schema. template, hints:
    those of the run's prompts. state: folder of the checkpoint; one of the same training by the same `code` (a digest)
    is resumed. Raises InputError when the settings ask for more programs than there are, or the programs do not fit the
    context.
    """
    quiet_transformers()
    empty(folder)
    pairs = training_pairs(settings["programs"], seed, template, hints)
    tokenizer = train_tokenizer(pairs, settings["vocabulary"], settings["context"])

    examples = [Example(*encode_pair(tokenizer, prompt, program)) for prompt, program in pairs]
    longest = max(example.length for example in examples)
    mean = sum(example.length for example in examples) / len(examples)
    if longest > settings["context"]:
        raise InputError(
            f"context: {settings['context']} tokens, but a prompt with its program takes {longest}"
        )
    logger.info(
        "%d programs, %.0f tokens each with their prompts, %d at most", len(examples), mean, longest
    )

    device = choose_device(device)
    if device == "cpu":
        keep_freed_memory()
    torch.manual_seed(derive(seed, "scratch weights"))
    model = new_model(tokenizer, settings).to(device)
    logger.info("%.2f million parameters, on %s", model.num_parameters() / 1e6, device)

    training = settings | {"accumulation": 1, "order": "random"}
    training["epochs"] = -(-settings["steps"] * settings["batch_size"] // len(examples))
    order = derive(seed, "scratch order")
    steps = plan(examples, training, order)[: settings["steps"]]
    installed = versions(("torch", "transformers", "tokenizers"))
    key = sha256_text(repr((sorted(settings.items()), seed, pairs, code, installed)))
    objective = make_objective("sft", training, [])
    checkpoint = state / CHECKPOINT
    train(model, examples, objective, steps, training, order, checkpoint, key, "scratch_model")

    save_model(model.eval().cpu(), tokenizer, folder)
    write_manifest(folder, reference, None)
    return checkpoint


def train_tokenizer(pairs: list[tuple[str, str]], vocabulary: int, context: int):
    """Return a tokenizer of byte-level pair encoding, trained on prompts and programs, with a chat template.

    A token holds at most one line, its line end included, and a number stands apart from what is around it. So a line
    that many programs share is one token, and a program is short. Every text can be encoded: all bytes are tokens.
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
    texts = (
        f"user\n{prompt}\nassistant\n```python\n{program.strip()}\n```" for prompt, program in pairs
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=TURN,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        model_max_length=context,
        chat_template=CHAT_TEMPLATE,
    )


def new_model(tokenizer, settings: dict) -> torch.nn.Module:
    """Return a decoder of the Llama family with random weights (float32) by torch's generator as it stands."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = settings["heads"]
    if settings["width"] % (2 * heads):
        raise InputError(f"width: {settings['width']} is no multiple of twice the {heads} heads")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings["width"],
        # Two thirds of four times the width, as in Llama, in blocks of 64, as 4-bit weights want it.
        intermediate_size=max(64, settings["width"] * 8 // 3 // 64 * 64),
        num_hidden_layers=settings["layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=settings["context"],
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)
