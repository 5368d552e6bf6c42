"""Train the adapter of a cycle on programs of the corpus, from the adapter of the cycle before."""

import sys
import time
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.model.loading import spare_bitsandbytes
from archloop.settings.sections import Finetuning, Loading
from archloop.workflow.cli import (
    device_option,
    path_option,
    setting_option,
    settings_options,
    stage,
)
from archloop.workflow.code_digest import code_digest
from archloop.workflow.provenance import Extras

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "polars")


@stage("output", packages=PACKAGES)
@settings_options(Finetuning)
@settings_options(Loading, "loading")
@path_option("--admitted", "Corpus shard of this cycle; in cycle 0 the seed corpus.")
@path_option("--corpus", "The corpus before this cycle.", required=False, multiple=True)
@path_option("--candidates", "candidates.parquet of this cycle; without it, sft.", required=False)
@path_option("--model", "manifest.json of the prepared model.")
@path_option("--parent", "adapter_model.safetensors to continue; else a new one.", required=False)
@path_option("--output", "adapter_model.safetensors; two more files go beside it.")
@path_option("--run-record", "Seconds, tokens and device.")
@path_option("--state", "Folder for checkpoints; an interrupted job resumes from it.")
@click.option("--seed", required=True, type=click.IntRange(0, 2**53 - 1), help="Its own seed.")
@device_option
@setting_option("execution", "gpus", "GPUs of this node that share the work.")
def main(
    settings: Finetuning, loading: Loading, seed: int, device: str, gpus: int, **files: Any
) -> Extras:
    """Fine-tune the adapter; write it, its configuration, and what it was trained on."""
    started = time.monotonic()
    spare_bitsandbytes(loading.quantization)  # before anything imports peft
    from archloop.finetuning.finetune import CycleFiles, CycleJob, finetune_cycle

    job = CycleJob(seed, device, gpus, code_digest(__file__), started)
    return finetune_cycle(CycleFiles(**files), settings, loading, job)


if __name__ == "__main__":
    main()
