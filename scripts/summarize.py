"""Sum up one cycle: funnel, rates with their denominators, accuracy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.admit import accuracy_threshold
from archloop.corpus.tables import read_candidates
from archloop.data.dataset_file import read_metadata
from archloop.files import write_json
from archloop.monitoring.live_page import write_beside
from archloop.report.summarize import read_training, summarize
from archloop.settings.sections import Admission
from archloop.workflow.cli import cell_options, path_option, settings_options, stage


@stage("output", packages=("polars",))
@settings_options(Admission)
@path_option("--candidates", "candidates.parquet of the cycle.")
@path_option(
    "--training",
    "training.json of the cycle's adapter; without it the cycle makes none.",
    required=False,
)
@cell_options
@path_option("--dataset", "Prepared data set; its chance level.")
@path_option("--output", "summary.json")
def main(
    candidates: Path,
    training: Path | None,
    chain: str,
    cycle: int,
    dataset: Path,
    output: Path,
    settings: Admission,
) -> None:
    """Write the summary of a cycle, and update the live page of the run."""
    metadata = read_metadata(dataset)
    threshold = accuracy_threshold(settings, metadata)
    record = read_training(training) if training else None
    rows = read_candidates([candidates])
    summary = summarize(rows, record, threshold, chain, cycle, metadata.name)
    write_json(output, summary)
    write_beside(output)


if __name__ == "__main__":
    main()
