"""Let the language model answer the prompts of one shard and take a program out of every answer."""

import sys
import time
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.model.loading import spare_bitsandbytes
from archloop.settings.sections import Generation, Loading
from archloop.workflow.cli import (
    device_option,
    path_option,
    setting_option,
    settings_options,
    stage,
)
from archloop.workflow.code_digest import code_digest
from archloop.workflow.provenance import Extras


@stage("output", packages=("torch", "transformers", "peft", "bitsandbytes", "tokenizers"))
@settings_options(Generation)
@settings_options(Loading, "loading")
@setting_option("cycle", "shards", "Jobs that share the cycle's candidates.", required=True)
@path_option("--prompts", "prompts.jsonl of the cycle.")
@click.option("--shard", required=True, type=click.IntRange(0), help="Which of the shards, from 0.")
@path_option("--model", "manifest.json of the prepared model.")
@path_option("--adapter", "adapter_model.safetensors; without it the bare model.", required=False)
@path_option("--output", "Candidates of the shard, one per line.")
@path_option("--run-record", "Seconds, tokens and device.")
@path_option("--state", "Folder for finished answers; an interrupted job resumes from it.")
@device_option
@setting_option("execution", "cache_mb", "Bound on keys and values.")
def main(
    settings: Generation,
    loading: Loading,
    shard: int,
    shards: int,
    device: str,
    cache_mb: int,
    **files: Any,
) -> Extras:
    """Answer the prompts; write one candidate per line, with its prompt, answer and program."""
    started = time.monotonic()
    spare_bitsandbytes(loading.quantization)  # before anything imports peft
    from archloop.generation.generate import ShardFiles, ShardJob, generate_shard

    job = ShardJob(shard, shards, device, cache_mb, code_digest(__file__), started)
    return generate_shard(ShardFiles(**files), settings, loading, job)


if __name__ == "__main__":
    main()
