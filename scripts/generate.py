"""Let the language model answer the prompts of one shard and take a program out of every answer."""

import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.files import read_jsonl, write_json, write_jsonl
from archloop.layout import is_in_shard
from archloop.machine import versions_with_kernel
from archloop.model.loading import spare_bitsandbytes
from archloop.workflow.cli import settings_options, stage, value_of
from archloop.workflow.code_digest import code_digest

PATH = click.Path(path_type=Path)


@stage("output", packages=("torch", "transformers", "peft", "bitsandbytes", "tokenizers"))
@settings_options("generation")
@settings_options("loading", "loading")
@click.option(
    "--shards",
    required=True,
    type=value_of("cycle", "shards"),
    help="Jobs that share the candidates of the cycle.",
)
@click.option("--prompts", required=True, type=PATH, help="prompts.jsonl of the cycle.")
@click.option(
    "--shard",
    required=True,
    type=click.IntRange(min=0),
    help="Which of the shards to make, from 0.",
)
@click.option("--model", required=True, type=PATH, help="manifest.json of the prepared model.")
@click.option(
    "--adapter", type=PATH, help="adapter_model.safetensors; without it the bare model answers."
)
@click.option("--output", required=True, type=PATH, help="Candidates of the shard, one per line.")
@click.option("--run-record", required=True, type=PATH, help="Seconds, tokens and device.")
@click.option(
    "--state",
    required=True,
    type=PATH,
    help="Folder for finished answers; an interrupted job resumes from it.",
)
@click.option(
    "--device",
    default="auto",
    type=value_of("execution", "device"),
    help="auto, cpu, cuda or cuda:N.",
)
@click.option(
    "--cache-mb",
    default=20_000,
    type=value_of("execution", "cache_mb"),
    help="Bound on keys and values.",
)
def main(
    prompts,
    shard,
    shards,
    model,
    adapter,
    output,
    run_record,
    state,
    device,
    cache_mb,
    settings,
    loading,
) -> dict:
    """Answer the prompts; write one candidate per line: prompt, raw answer, program, token counts, seed and adapter."""
    from archloop.generation.generate import choose_gpu, generate

    started = time.monotonic()
    spare_bitsandbytes(loading["quantization"])
    rows = [
        row | {"shard": shard}
        for row in read_jsonl(prompts, "index", "prompt", "seed")
        if is_in_shard(row["index"], shard, shards)
    ]
    kept, code = state / "answers.jsonl", code_digest(__file__)
    device = choose_gpu(device, shard)
    candidates, facts = generate(
        rows, model.parent, adapter, settings, loading, device, kept, code, cache_mb
    )
    seconds = round(time.monotonic() - started + facts.pop("earlier_s"), 2)
    write_json(
        run_record,
        facts
        | {"seconds": seconds, "versions": versions_with_kernel(("torch", "transformers", "peft"))},
    )
    write_jsonl(output, candidates)
    return {"spent": kept}


if __name__ == "__main__":
    main()
