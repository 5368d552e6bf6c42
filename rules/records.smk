# What a run finds in results/ and leaves there. Included last, when every output is known.
import fcntl

from archloop.workflow.snakemake_records import other_model, stop_line, unrecorded
from archloop.workflow.terminal import end_with_terminal

# Without its record Snakemake takes an output for up to date, whatever made it.
if workflow.is_main_process:
    # The preflight rebuilds nothing; it is looked at again before every run.
    OUTPUTS = [
        path
        for each in workflow.rules
        if each.name != rule_name("preflight")
        for path in each.output
    ]
    LOST = unrecorded([path.regex().pattern for path in OUTPUTS])
    try:
        OTHER = stop_line(LOST) if LOST else other_model(MODEL, SETTINGS["model"])
    except InputError as error:
        OTHER = str(error)
    if OTHER:
        stop(OTHER)


def hold_results():
    """Keep other runs out of results/, and leave there what this one is asked for.

    No lock is ever stale: it dies with its process.
    """
    global RESULTS_LOCK
    try:
        os.makedirs("results", exist_ok=True)
        RESULTS_LOCK = open(f"results/{layout.LOCK}", "w")
        fcntl.flock(RESULTS_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_json(f"results/{layout.SETTINGS_FILE}", SETTINGS)
        write_json(f"results/{layout.REQUESTS_FILE}", requests())
    except InputError as error:
        stop(str(error))
    except OSError as error:
        if isinstance(error, BlockingIOError):
            stop("results: another run is at work there; wait for it, or end it")
        stop(
            f"results: {error.strerror}; it needs a folder with room that can be written and locked"
        )
