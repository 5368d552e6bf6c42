"""Judge the candidates of one shard: build, train and score each in a process of its own."""

import os
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

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
@path_option("--store", "Folder of stored scores.")
@click.option("--seed", required=True, type=int, help="The seed of the run.")
@path_option("--output", "Records of the shard.")
@path_option("--run-record", "Seconds, memory, isolation level and device.")
@device_option
@setting_option("execution", "gpus", "GPUs to distribute the candidates over.")
@setting_option("execution", "isolation", "See execution.isolation.")
@setting_option("execution", "driver_calls", "See execution.driver_calls.")
@setting_option("execution", "workers", "Candidates evaluated at once, or auto.")
@click.option("--job-cores", type=click.IntRange(1), help="Processors of the job; else all.")
@click.option("--job-memory-mb", type=click.IntRange(1), help="MB that SLURM gave the job.")
def main(
    seed: int,
    settings: Evaluation,
    device: str,
    gpus: int,
    isolation: str,
    driver_calls: str,
    workers: int | str,
    job_cores: int | None,
    job_memory_mb: int | None,
    **files: Path,
) -> Extras:
    """Evaluate the candidates in the sandbox; write one record per candidate, in their order."""
    from archloop.evaluation.evaluate import JobResources, ShardFiles, evaluate_shard

    # Outside of SLURM what a rule asks for is no bound on what the machine has.
    memory_mb = job_memory_mb if "SLURM_JOB_ID" in os.environ else None
    resources = JobResources(device, gpus, isolation, driver_calls, workers, job_cores, memory_mb)
    return evaluate_shard(ShardFiles(**files), settings, seed, resources)


if __name__ == "__main__":
    main()
