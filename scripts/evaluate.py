"""Judge the candidates of one shard: build, train and score each in a process of its own."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.cli import settings_options, stage, value_of
from archloop.evaluate import evaluate
from archloop.files import read_jsonl, write_json

PATH = click.Path(path_type=Path)


@stage("output", packages=("torch", "numpy"))
@settings_options("evaluation")
@click.option("--candidates", required=True, type=PATH, help="Candidates of the shard, one a line.")
@click.option("--dataset", required=True, type=PATH, help="Prepared data set.")
@click.option("--store", required=True, type=PATH, help="Folder of known evaluations.")
@click.option("--seed", required=True, type=int, help="The seed of the run.")
@click.option("--output", required=True, type=PATH, help="Records of the shard.")
@click.option("--run-record", required=True, type=PATH, help="Seconds, memory, isolation level and device.")
@click.option("--device", default="auto", type=value_of("run", "device"), help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--isolation",
    default="auto",
    type=value_of("run", "isolation"),
    help="auto, namespaces, landlock or none: see run.isolation.",
)
@click.option("--workers", default=1, type=click.IntRange(min=1), help="Candidates judged at once.")
def main(candidates, dataset, store, seed, output, run_record, device, isolation, workers, settings) -> None:
    """Write one record for each candidate, in their order."""
    run = {"device": device, "isolation": isolation, "workers": workers}
    records, facts = evaluate(read_jsonl(candidates, "id", "program"), dataset, settings, seed, store, run)
    write_json(run_record, facts)
    write_json(output, {"protocol": settings, "records": records})


if __name__ == "__main__":
    main()
