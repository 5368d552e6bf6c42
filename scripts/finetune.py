"""Train the adapter of a cycle on programs of the corpus, going on from the adapter of the cycle
before."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.files import write_json
from archloop.machine import versions_with_kernel
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


@stage(
    "output", packages=("torch", "transformers", "peft", "bitsandbytes", "safetensors", "polars")
)
@settings_options(Finetuning)
@settings_options(Loading, "loading")
@path_option("--fresh", "Corpus shard of this cycle; in cycle 0 the seed corpus.")
@path_option("--corpus", "The corpus before this cycle.", required=False, multiple=True)
@path_option(
    "--candidates",
    "candidates.parquet of this cycle, for dpo and kto; without it, sft.",
    required=False,
)
@path_option("--model", "manifest.json of the prepared model.")
@path_option(
    "--parent", "adapter_model.safetensors to continue; without it a new adapter.", required=False
)
@path_option("--output", "adapter_model.safetensors; two more files go beside it.")
@path_option("--run-record", "Seconds, tokens and device.")
@path_option("--state", "Folder for checkpoints; an interrupted job resumes from it.")
@click.option(
    "--seed", required=True, type=click.IntRange(0, 2**53 - 1), help="Seed of this fine-tuning."
)
@device_option
@setting_option("execution", "gpus", "GPUs of this node that share the work.")
def main(fresh, corpus, candidates, model, output, run_record, device, gpus, **job) -> dict:
    """Fine-tune the adapter; write it, its configuration, and what it was trained on."""
    started = time.monotonic()
    spare_bitsandbytes(job["loading"].quantization)
    from archloop.finetuning.finetune import CHECKPOINT, AdapterJob, finetune
    from archloop.finetuning.training_set import Programs, read_judged, read_programs

    programs = Programs(
        corpus=read_programs(corpus),
        admitted=read_programs([fresh]),
        candidates=read_judged(candidates) if candidates else [],
    )
    code = code_digest(__file__)
    work = AdapterJob(model_folder=model.parent, output=output.parent, code=code, **job)
    record = asdict(finetune(programs, work, device, gpus))

    seconds = round(time.monotonic() - started, 2)
    installed = versions_with_kernel(("torch", "transformers", "peft"))
    write_json(run_record, record | {"seconds": seconds, "versions": installed})
    outputs = [output.with_name(name) for name in ("adapter_config.json", "training.json")]
    return {"outputs": outputs, "spent": work.state / CHECKPOINT}


if __name__ == "__main__":
    main()
