# What SLURM wants beside a profile: steady polling, and an end to the jobs that a killed Snakemake has left behind.
from pathlib import Path

from archloop.orphans import end_orphans


def poll_steadily():
    """Look at the jobs at a fixed interval, slurm-init-seconds-before-status-checks.

    By itself the plugin waits 10 s longer after every look at which no job had ended, up to three minutes: a cycle is a
    chain of jobs of minutes to hours, and each would be noticed late.
    """
    if plugin := sys.modules.get("snakemake_executor_plugin_slurm"):
        plugin.Executor.next_seconds_between_status_checks = property(
            lambda self: self.workflow.executor_settings.init_seconds_before_status_checks,
            lambda self, seconds: None,
        )


def end_jobs_of_a_killed_run():
    try:
        ids = end_orphans(Path.cwd())
    except InputError as error:
        if not workflow.local_exec:
            raise WorkflowError(str(error))
        logger.warning(f"{error}. Jobs of an earlier run may still be at work in this folder.")
        return
    if ids:
        logger.info(f"SLURM still had jobs of an earlier run: {', '.join(ids)}; they are ended, their work goes on")


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
    os.makedirs("logs", exist_ok=True)
    if "preflight" not in planned and not planned.isdisjoint(QUEUED) and os.system(f"{CHECK} --log logs/preflight.log"):
        raise WorkflowError("preflight: see the lines above; results/ is as it was")


poll_steadily()
