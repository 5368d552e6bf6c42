"""How fast an adapter learns, and how much of a batch is padding.

Prints tokens a second and ratios.

python benchmarks/finetune.py --model resources/models/smollm2-135m-instruct/manifest.json

The pairs are the project's own seed programs with their prompts. Time for time (A B A B ...) an
epoch over some of them is measured beside the plain way: one pair at a time, padded to a maximum
length, with the loss of transformers over all positions (the padded ones all cost the same, so one
is measured and counted for each pair). Padding is counted over all programs, for batches of several
sizes, grouped by length as in training and in random order.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.families.programs import seed_programs  # noqa: E402
from archloop.finetuning.objectives import SFT, Example  # noqa: E402
from archloop.finetuning.train_loop import (  # noqa: E402
    Batching,
    TrainingPlan,
    length_grouped_batches,
    plan_steps,
    train,
)
from archloop.generation.prompts import (  # noqa: E402
    PromptTexts,
    Task,
    read_hints,
    read_template,
    seed_prompt,
)
from archloop.machine import choose_device  # noqa: E402
from archloop.model.adapters import attach_adapter  # noqa: E402
from archloop.model.chat_template import encode_pair  # noqa: E402
from archloop.model.loading import load_model, load_tokenizer  # noqa: E402
from archloop.random_seeds import generator  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402
from archloop.settings.sections import Finetuning, Loading  # noqa: E402

TASK = Task("digits", channels=1, size=32, classes=10, epochs=1, parameter_budget=300_000)

IGNORED = -100  # the label of a token that transformers counts no loss of


def pairs(tokenizer) -> list[Example]:
    """The seed programs with their prompts, as token ids."""
    prompts = ROOT / "config" / "prompts"
    texts = PromptTexts(read_template(prompts / "design.md.j2"), read_hints(prompts / "hints.yaml"))
    examples = []
    for seed in seed_programs():
        prompt = seed_prompt(texts, TASK, {"family": seed.family})
        examples.append(Example(*encode_pair(tokenizer, prompt, seed.program)))
    return examples


def padding(examples: list[Example], batch_size: int, grouped: bool) -> float:
    """Share of padding among all tokens that go through the model in an epoch, from 0 to 1."""
    lengths = [example.length for example in examples]
    if grouped:
        batches = length_grouped_batches(lengths, batch_size, 1, 0)
    else:
        order = generator(1, "random").sample(range(len(lengths)), len(lengths))
        starts = range(0, len(order), batch_size)
        batches = [order[start : start + batch_size] for start in starts]

    width = 0
    for batch in batches:
        width += max(lengths[index] for index in batch) * len(batch)
    return 1 - sum(lengths) / width


def epoch(model, examples: list[Example], settings: Finetuning) -> float:
    """Seconds of an epoch over the examples, as fine-tuning runs it."""
    batching = Batching(1, settings.batch_size, settings.accumulation, settings.order)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        steps = plan_steps(examples, batching, 1)
        checkpoint = Path(folder) / "checkpoint.pt"
        train(model, examples, SFT, TrainingPlan(steps, settings, 1, checkpoint, key=""))
        return time.monotonic() - started


def padded(model, example: Example, width: int) -> float:
    """Seconds of one pair padded to `width` tokens, forward and backward."""
    device = next(model.parameters()).device
    tokens = (example.prompt + example.answer)[:width]
    prompt = len(example.prompt)
    ids = torch.zeros((1, width), dtype=torch.long)
    ids[0, : len(tokens)] = torch.tensor(tokens)
    # The loss is over the answer alone.
    labels = torch.full((1, width), IGNORED, dtype=torch.long)
    labels[0, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
    mask = (torch.arange(width) < len(tokens)).long()[None]
    started = time.monotonic()
    model(
        input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device)
    ).loss.backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - started


@click.command(context_settings={"show_default": True})
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="manifest.json of a prepared model.",
)
@click.option(
    "--configfile",
    default=ROOT / "config/demo.yaml",
    type=click.Path(path_type=Path),
    help="Settings.",
)
@click.option("--count", default=4, help="Pairs of the measured epoch.")
@click.option("--batch-size", default=None, type=int, help="Instead of that of the settings.")
@click.option("--max-pair-tokens", default=None, type=int, help="Instead of that of the settings.")
@click.option("--rounds", default=3, help="How often each is measured, in turn.")
@click.option("--device", default="auto", help="auto, cpu or cuda.")
def main(model, configfile, count, batch_size, max_pair_tokens, rounds, device) -> None:
    whole = complete(yaml.safe_load(configfile.read_text()))
    settings, loading = Finetuning(**whole["finetuning"]), Loading(**whole["loading"])
    if batch_size:
        settings = replace(settings, batch_size=batch_size)
    device = choose_device(device)
    examples = pairs(load_tokenizer(model.parent))
    lengths = [example.length for example in examples]
    print(
        f"{len(lengths)} pairs of {min(lengths)} to {max(lengths)} tokens,"
        f" {statistics.mean(lengths):.0f} on average"
    )
    for size in (1, 4, 8, 16):
        shares = [padding(examples, size, grouped) for grouped in (True, False)]
        print(
            f"padding, batches of {size}: {shares[0]:.1%} grouped by length,"
            f" {shares[1]:.1%} in random order"
        )
    chosen = generator(1, "measured").sample(examples, count)
    adapted = attach_adapter(load_model(model.parent, loading, device), None, settings)
    widths = {
        "finetuning.max_pair_tokens": max_pair_tokens or settings.max_pair_tokens,
        "the longest pair": max(lengths),
    }
    epoch(adapted, chosen[:2], settings)  # warm-up
    ours, plain = [], {name: [] for name in widths}
    for _ in range(rounds):
        ours.append(epoch(adapted, chosen, settings))
        for name, width in widths.items():
            plain[name].append(count * padded(adapted, chosen[0], width))
        adapted.zero_grad()
    tokens = sum(example.length for example in chosen)
    share = padding(chosen, settings.batch_size, True)
    rate = tokens / statistics.median(ours)
    print(
        f"epoch of {count} pairs, batches of {settings.batch_size}, {device},"
        f" {torch.get_num_threads()} threads:"
    )
    print(f"  {statistics.median(ours):.1f} s, {rate:.0f} tokens/s, padding {share:.1%}")
    for name, width in widths.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(plain[name], ours))
        print(
            f"  one at a time, padded to {name} ({width}): {statistics.median(plain[name]):.1f} s,"
            f" {statistics.median(ratios):.2f} times as long"
            f" (of {rounds}: {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
