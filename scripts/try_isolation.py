"""Say on a node which part of the sandbox keeps a GPU's driver out.

A seed program goes through the judge. It is tried at each level of isolation; one that fails is
tried again with one part after the other left out. The program is the project's own.
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.errors import InputError
from archloop.files import write_json
from archloop.logs import get_logger
from archloop.preflight.trial import WHOLE, in_words, trial_protocol, trials_by_part
from archloop.sandbox.isolation import LEVELS
from archloop.workflow.cli import command, device_option, path_option


@command
@device_option
@click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice(LEVELS),
    help="Levels to try; by default all.",
)
@click.option("--as-gpu", is_flag=True, help="The sandbox as it is for a GPU, whatever the device.")
@path_option("--output", "Also write what was found here, as JSON.", required=False)
def main(device: str, levels: tuple[str, ...], as_gpu: bool, output: Path | None) -> None:
    """Evaluate a seed program at each level of isolation, and print one line per trial.

    Exit status 1 if no level works.
    """
    logger = get_logger("try_isolation")
    trials, works = [], []
    for level, left_out, trial in trials_by_part(
        device, trial_protocol(), levels or LEVELS, as_gpu
    ):
        trials.append({"level": level, "left_out": left_out, **trial.known()})
        if left_out == WHOLE and trial.trouble is None:
            works.append(level)
        logger.info("%-10s  left out: %-32s  %s", level, left_out, in_words(trial, left_out))

    if output is not None:
        write_json(output, {"trials": trials})
    if not works:
        raise InputError(
            "no level of isolation works here: see the lines above, and docs/judge.md, The sandbox"
            " on a GPU"
        )
    logger.info("set execution.isolation to %s", works[0])


if __name__ == "__main__":
    main()
