# When the preflight runs, and what of: the rule itself is in preflight.smk.
import contextlib

PREFLIGHT = "results/preflight.json"
QUEUED = ["generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed"]
CHECK = f"python $SCRIPTS/preflight.py --results results --output {PREFLIGHT}"

# The jobs behind it take it as ancient, so a new one rebuilds none of them. That holds only as long as there is a file:
# one that is missing would pull all of them along. So where there are results, there is one.
if workflow.is_main_process and os.path.exists("results/settings.json") and not os.path.exists(PREFLIGHT):
    with contextlib.suppress(OSError):  # where nothing can be written, no job is started either
        write_json(PREFLIGHT, {"checks": [], "executor": None, "passed": False})


def requests():
    """What every queued rule asks for, at the first and at the last attempt, with the profile's say."""

    def asked(name, attempt):
        # None of these rules asks for resources by its wildcards.
        found = dict(workflow.get_rule(name).expand_resources({}, [], attempt, {"tmpdir"}).items())
        threads = found["_cores"]
        found = {key: value for key, value in found.items() if key[0] != "_" and isinstance(value, (int, str))}
        return {**found, "threads": threads}

    last = 1 + workflow.execution_settings.retries
    return {
        "executor": workflow.executor_plugin.name,
        "rules": {name: asked(name, 1) for name in QUEUED},
        "retried": {name: asked(name, last) for name in QUEUED},
    }


def check_again():
    """Check before a run that goes on, too: there the rule itself has nothing new to do."""
    planned = {job.rule.name for job in workflow.dag.needrun_jobs()}
    # With --sdm only jobs have what the checks import.
    if "preflight" in planned or planned.isdisjoint(QUEUED) or workflow.deployment_settings.deployment_method:
        return
    os.makedirs("logs", exist_ok=True)
    if os.system(f"{CHECK} --log logs/preflight.log"):
        raise WorkflowError("preflight: see the lines above; results/ is as it was")
