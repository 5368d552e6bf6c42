"""Check everything a run stands on before anything is queued: one line each.

Status 1 when the run cannot end well.
"""

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.errors import InputError
from archloop.files import write_json
from archloop.logs import get_logger
from archloop.preflight.planned_run import ERROR, OK, WARNING, read_run
from archloop.preflight.preflight import preflight
from archloop.workflow.cli import command, path_option


@command
@path_option(
    "--results", "Folder of results, with the run's settings.", required=False, default="results"
)
@path_option("--output", "Also write every finding here, as JSON.", required=False)
def main(results: Path, output: Path | None) -> None:
    """Check model, data, disk, memory and sandbox and, on SLURM, accounts, partitions and a node.

    Uses the settings of the last `snakemake` start in this folder. Before the first start use
    `snakemake preflight --profile slurm`.
    """
    run, logger = read_run(results), get_logger("preflight")
    findings = []
    for finding in preflight(run):
        findings.append(finding)
        logger.info("%-7s  %-12s  %s", finding.status, finding.name, finding.what)

    counts = Counter(finding.status for finding in findings)
    failed = [finding.name for finding in findings if finding.status == ERROR]
    if output is not None:
        checks = [asdict(finding) for finding in findings]
        write_json(output, {"executor": run.executor, "checks": checks, "passed": not failed})
    if failed:
        names = ", ".join(dict.fromkeys(failed))
        raise InputError(
            f"preflight: {len(failed)} of {len(findings)} checks failed ({names});"
            " nothing is queued"
        )
    logger.info("preflight: %d passed, %d warnings", counts[OK], counts[WARNING])


if __name__ == "__main__":
    main()
