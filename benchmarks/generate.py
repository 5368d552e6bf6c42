"""New tokens a second of the generation stage against one-at-a-time `model.generate` of
transformers. Prints ratios.

python benchmarks/generate.py --model resources/models/smollm2-135m-instruct/manifest.json

The prompts are those of config/demo.yaml with its settings of sampling, without its response
prefix; the adapter (by default none) is on the model for both. The alternative answers one prompt
after the other, with the same temperature, top-k, top-p and longest answer, and ends at its end
token. Its rounds and those of each batch size take turns (A B C D A B C D ...), so that a busy
machine slows all of them; the median of the rounds' ratios is printed, with the extremes.
"""

import random
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.generation import decode  # noqa: E402
from archloop.generation.decode import (  # noqa: E402
    Sequence,
    SharedPrefix,
    new_decoder,
    read_prompts,
    sample,
)
from archloop.generation.prompts import (  # noqa: E402
    PromptRow,
    PromptTexts,
    Task,
    read_hints,
    read_template,
)
from archloop.generation.token_sampling import ROUNDING  # noqa: E402
from archloop.generation.write_prompts import PromptParts, References, cycle_prompts  # noqa: E402
from archloop.machine import choose_device  # noqa: E402
from archloop.model.chat_template import chat_tokens  # noqa: E402
from archloop.model.loading import load_model, load_tokenizer, with_adapter  # noqa: E402
from archloop.settings.chains import Settings  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402
from archloop.settings.sections import Generation, Loading, Prompts  # noqa: E402

PATH = click.Path(path_type=Path, exists=True)


def demo_prompts(settings: Settings, count: int) -> list[PromptRow]:
    """Return the first prompts of the demo's first cycle."""
    prompts = Prompts(**settings["prompts"])
    texts = PromptTexts(read_template(ROOT / prompts.template), read_hints(ROOT / prompts.hints))
    task = Task(
        "digits",
        channels=1,
        size=32,
        classes=10,
        epochs=1,
        parameter_budget=settings["evaluation"]["parameter_budget"],
    )
    contents = PromptParts(texts, task, References())
    return cycle_prompts("main", 1, settings["random_seed"], count, contents)


def alone(model, tokenizer, ids: list[int], settings: Generation) -> tuple[int, float]:
    """Return (new tokens, seconds) of transformers' own generate for one prompt."""
    tokens = torch.tensor([ids], device=model.device)
    started = time.perf_counter()
    out = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=True,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    return out.shape[1] - len(ids), time.perf_counter() - started


def batched(
    model, tokenizer, rows: list[PromptRow], size: int, settings: Generation
) -> tuple[list[list[int]], float]:
    """Return (new tokens of each answer, seconds) of this project's sampling, reading the prompts
    included."""
    started = time.perf_counter()
    sequences = [Sequence(chat_tokens(tokenizer, row["prompt"]), row["seed"]) for row in rows]
    for _ in sample(new_decoder(model, tokenizer, settings), sequences, size):
        pass
    return [each.new for each in sequences], time.perf_counter() - started


def count_settled(counts: list[int]) -> None:
    """Count draws and those that a pass of the candidate alone settled, from now on, in
    `counts`."""
    real = decode.choose_tokens

    def counting(logits, draws, sampling, rounding=0.0):
        tokens, certain = real(logits, draws, sampling, rounding)
        counts[0] += len(tokens) if rounding else 0
        counts[1] += certain.count(False)
        return tokens, certain

    decode.choose_tokens = counting


@torch.inference_mode()
def largest_change(model, tokenizer, rows: list[PromptRow]) -> float:
    """Return by how much batching changes a logit, over all prompts, read together and alone."""
    tokens = [chat_tokens(tokenizer, row["prompt"]) for row in rows]
    _, _, logits = read_prompts(model, tokens, SharedPrefix(model, tokens), tokenizer.pad_token_id)
    singles = []
    for ids in tokens:
        alone = torch.tensor([ids], device=model.device)
        singles.append(model(input_ids=alone).logits[:, -1])
    return (logits - torch.cat(singles)).abs().max().item()


@click.command()
@click.option(
    "--model", "manifest", type=PATH, required=True, help="manifest.json of the prepared model."
)
@click.option("--adapter", type=PATH, help="adapter_model.safetensors.")
@click.option("--sizes", default="4,8,16", help="Batch sizes.")
@click.option("--rounds", default=3, type=click.IntRange(min=1), help="Rounds that are counted.")
@click.option("--max-new-tokens", type=int, help="Longest answer; by default that of the demo.")
@click.option("--device", default="auto")
@click.option("--threads", default=2, help="Processor threads.")
def main(manifest, adapter, sizes, rounds, max_new_tokens, device, threads) -> None:
    """Print tokens a second and the ratios."""
    torch.set_num_threads(threads)
    config = complete(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()))
    settings = Generation(**config["generation"])
    if max_new_tokens:
        settings = replace(settings, max_new_tokens=max_new_tokens)
    device = choose_device(device)
    tokenizer = load_tokenizer(manifest.parent)
    model = load_model(manifest.parent, Loading(**config["loading"]), device)
    model = with_adapter(model, adapter) if adapter else model
    sizes = [int(size) for size in sizes.split(",")]
    rows = demo_prompts(config, max(sizes))
    print(
        f"device {device}, {threads} threads, {model.dtype},"
        f" answers of up to {settings.max_new_tokens} tokens"
    )
    change = largest_change(model, tokenizer, rows[: sizes[0]])
    print(
        f"batching changes a logit by {change:.1e} at most;"
        f" the tolerance in float32 is {ROUNDING:.0e}"
    )
    alone_rates: list[float] = []
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    first: dict[int, list[int]] = {}
    differing = 0
    rng, counts = random.Random(0), [0, 0]
    count_settled(counts)

    # The first pass of a model takes longer than those after it.
    warm_up = replace(settings, max_new_tokens=8)
    alone(model, tokenizer, chat_tokens(tokenizer, rows[0]["prompt"]), warm_up)

    for _ in range(rounds):
        row = rng.choice(rows)
        torch.manual_seed(row["seed"])
        tokens, seconds = alone(model, tokenizer, chat_tokens(tokenizer, row["prompt"]), settings)
        alone_rates.append(tokens / seconds)
        print(
            f"model.generate, one prompt: {tokens / seconds:.1f} tokens/s ({tokens} tokens)",
            flush=True,
        )
        for size in sizes:
            answers, seconds = batched(model, tokenizer, rows[:size], size, settings)
            for index, answer in enumerate(answers):
                differing += first.setdefault(index, answer) != answer
            tokens = sum(map(len, answers))
            rates[size].append(tokens / seconds)
            print(f"batch of {size}: {tokens / seconds:.1f} tokens/s ({tokens} tokens)", flush=True)

    print(f"answers that another batch size made another: {differing}")
    print(f"draws that a pass of the candidate alone settled: {counts[1]} of {counts[0]}")
    for size in sizes:
        ratios = [ours / theirs for ours, theirs in zip(rates[size], alone_rates)]
        print(
            f"batch of {size} / model.generate one at a time: {statistics.median(ratios):.1f}x"
            f" (of {rounds}: {min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
