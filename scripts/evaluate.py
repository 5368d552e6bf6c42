"""Judge the candidates of one shard: build, train and score each in a process of its own."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.files import read_jsonl, write_json
from archloop.settings.sections import Evaluation
from archloop.workflow.cli import (
    device_option,
    path_option,
    setting_option,
    settings_options,
    stage,
)
from archloop.workflow.provenance import Extras


@stage("output", packages=("torch", "numpy"))
@settings_options(Evaluation)
@path_option("--candidates", "Candidates of the shard, one per line.")
@path_option("--dataset", "Prepared data set.")
@path_option("--store", "Folder of known evaluations.")
@click.option("--seed", required=True, type=int, help="The seed of the run.")
@path_option("--output", "Records of the shard.")
@path_option("--run-record", "Seconds, memory, isolation level and device.")
@device_option
@setting_option("execution", "gpus", "GPUs to distribute the candidates over.")
@setting_option(
    "execution",
    "isolation",
    "auto, namespaces, bubblewrap, landlock or none: see execution.isolation.",
)
@setting_option("execution", "driver_calls", "See execution.driver_calls.")
@setting_option("execution", "workers", "Candidates evaluated at once, or auto.")
@click.option(
    "--job-cores",
    type=click.IntRange(min=1),
    help="Processors of the job; by default all that it may use.",
)
@click.option(
    "--job-memory-mb", type=click.IntRange(min=1), help="Memory that SLURM gave the job, in MB."
)
def main(
    candidates: Path,
    dataset: Path,
    store: Path,
    seed: int,
    output: Path,
    run_record: Path,
    settings: Evaluation,
    job_cores: int | None,
    job_memory_mb: int | None,
    **execution: Any,
) -> Extras:
    """Evaluate the candidates in the sandbox; write one record per candidate, in their order."""
    from archloop.evaluation.evaluate import JobResources, ProgramRow, evaluate

    # Outside of SLURM what a rule asks for is no bound on what the machine has.
    memory_mb = job_memory_mb if "SLURM_JOB_ID" in os.environ else None
    pending = output.with_name(f".{output.name}.pending")
    resources = JobResources(**execution, cores=job_cores, memory_mb=memory_mb, pending=pending)
    rows = cast(list[ProgramRow], read_jsonl(candidates, "id", "program"))
    records, done = evaluate(rows, dataset, settings, seed, store, resources)

    write_json(run_record, done)
    write_json(output, {"protocol": asdict(settings), "records": records})
    host = {"device": done["device"]}
    if done["device"] == "cpu":
        host["cpu"] = done["cpu"]
    return {"spent": pending, "host": host}


if __name__ == "__main__":
    main()
