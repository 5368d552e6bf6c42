"""Train the adapter of a cycle on programs of the corpus, from the adapter of the cycle before."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.model.loading import spare_bitsandbytes
from archloop.model.prepared import ADAPTER_CONFIG, LINEAGE
from archloop.model.run_record import write_run_record
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
@path_option("--fresh", "Corpus shard of this cycle; in cycle 0 the seed corpus.")
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
    fresh: Path,
    corpus: tuple[Path, ...],
    candidates: Path | None,
    model: Path,
    output: Path,
    run_record: Path,
    device: str,
    gpus: int,
    **job: Any,
) -> Extras:
    """Fine-tune the adapter; write it, its configuration, and what it was trained on."""
    started = time.monotonic()
    spare_bitsandbytes(job["loading"].quantization)  # before anything imports peft
    from archloop.finetuning.finetune import CHECKPOINT, AdapterJob, finetune
    from archloop.finetuning.training_set import read_programs_to_train_on

    programs = read_programs_to_train_on(corpus, fresh, candidates)
    code = code_digest(__file__)
    work = AdapterJob(model_folder=model.parent, output=output.parent, code=code, **job)
    record = finetune(programs, work, device, gpus)

    write_run_record(run_record, asdict(record), time.monotonic() - started)
    beside = [output.with_name(name) for name in (ADAPTER_CONFIG, LINEAGE)]
    return {"outputs": beside, "spent": work.state / CHECKPOINT}


if __name__ == "__main__":
    main()
