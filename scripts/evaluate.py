"""Judge the candidates of one shard: build, train and score each in a process of its own."""

import os
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.files import read_jsonl, write_json
from archloop.workflow.cli import settings_options, stage, value_of

PATH = click.Path(path_type=Path)


@stage("output", packages=("torch", "numpy"))
@settings_options("evaluation")
@click.option(
    "--candidates", required=True, type=PATH, help="Candidates of the shard, one per line."
)
@click.option("--dataset", required=True, type=PATH, help="Prepared data set.")
@click.option("--store", required=True, type=PATH, help="Folder of known evaluations.")
@click.option("--seed", required=True, type=int, help="The seed of the run.")
@click.option("--output", required=True, type=PATH, help="Records of the shard.")
@click.option(
    "--run-record", required=True, type=PATH, help="Seconds, memory, isolation level and device."
)
@click.option(
    "--device",
    default="auto",
    type=value_of("execution", "device"),
    help="auto, cpu, cuda or cuda:N.",
)
@click.option(
    "--gpus",
    default=1,
    type=value_of("execution", "gpus"),
    help="GPUs to distribute the candidates over.",
)
@click.option(
    "--isolation",
    default="auto",
    type=value_of("execution", "isolation"),
    help="auto, namespaces, bubblewrap, landlock or none: see execution.isolation.",
)
@click.option(
    "--driver-calls",
    default="refuse",
    type=value_of("execution", "driver_calls"),
    help="See execution.driver_calls.",
)
@click.option(
    "--workers",
    default="auto",
    type=value_of("execution", "workers"),
    help="Candidates evaluated at once, or auto.",
)
@click.option(
    "--job-cores",
    type=click.IntRange(min=1),
    help="Processors of the job; by default all that it may use.",
)
@click.option(
    "--job-memory-mb", type=click.IntRange(min=1), help="Memory that SLURM gave the job, in MB."
)
def main(candidates, dataset, store, seed, output, run_record, settings, **job) -> dict:
    """Evaluate the candidates in the sandbox; write one record per candidate, in their order."""
    from archloop.evaluation.evaluate import evaluate

    # Outside of SLURM what a rule asks for is no bound on what the machine has.
    memory_mb = job["job_memory_mb"] if "SLURM_JOB_ID" in os.environ else None
    run = {name: job[name] for name in ("device", "gpus", "isolation", "workers", "driver_calls")}
    run |= {"cores": job["job_cores"], "memory_mb": memory_mb}
    rows, pending = (
        read_jsonl(candidates, "id", "program"),
        output.with_name(f".{output.name}.pending"),
    )
    records, facts = evaluate(rows, dataset, settings, seed, store, run, pending)
    write_json(run_record, facts)
    write_json(output, {"protocol": settings, "records": records})
    host = {"device": facts["device"]}
    if facts["device"] == "cpu":
        host["cpu"] = facts["versions"]["cpu"].split()[-1]
    return {"spent": pending, "host": host}


if __name__ == "__main__":
    main()
