# What a run finds in results/ and leaves there. Included last, when every output is known.
import fcntl

from archloop.files import write_json
from archloop.records import other_model, stop_line, unrecorded

# Without its record Snakemake takes an output for fresh, whatever made it.
if workflow.is_main_process:
    LOST = unrecorded([path.regex().pattern for each in workflow.rules for path in each.output])
    try:
        OTHER = stop_line(LOST) if LOST else other_model(MODEL, SETTINGS["model"])
    except InputError as error:
        OTHER = str(error)
    if OTHER:
        raise WorkflowError(OTHER)


def hold_results():
    """Keep other runs out of results/ (no lock is ever stale: it dies with its process) and leave the settings there."""
    global RESULTS_LOCK
    try:
        os.makedirs("results", exist_ok=True)
        RESULTS_LOCK = open("results/.lock", "w")
        fcntl.flock(RESULTS_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_json("results/settings.json", SETTINGS)
    except OSError as error:
        why = "another run is at work there" if isinstance(error, BlockingIOError) else error.strerror
        raise WorkflowError(f"results: {why}")
