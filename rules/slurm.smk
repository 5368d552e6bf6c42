# What SLURM needs beside a profile: steady polling, patience, and an end to the jobs that a killed
# Snakemake left behind.
from pathlib import Path
from types import SimpleNamespace

from archloop.cluster.orphaned_jobs import end_orphans
from archloop.cluster.waiting import be_patient


def poll_steadily(plugin):
    """Look at the jobs at a fixed interval, slurm-init-seconds-before-status-checks.

    By itself the plugin waits 10 s longer after every look at which no job had ended, up to three
    minutes: a cycle is a chain of jobs of minutes to hours, and each would be noticed late.
    """
    plugin.Executor.next_seconds_between_status_checks = property(
        lambda self: self.workflow.executor_settings.init_seconds_before_status_checks,
        lambda self, seconds: None,
    )


def chosen_partition(name, asked):
    """The partition that slurm-partition-config picks for a job that names none."""
    path = workflow.executor_settings.partition_config or os.environ.get(
        "SNAKEMAKE_SLURM_PARTITIONS"
    )
    if not path:
        return None
    from snakemake_executor_plugin_slurm.partitions import get_best_partition, read_partition_file

    job = SimpleNamespace(name=name, threads=asked["threads"], resources=asked)
    return get_best_partition(read_partition_file(Path(path)), job, logger)


def end_jobs_of_a_killed_run():
    try:
        # A machine may have SLURM's commands and no cluster: its own run does not wait for one.
        ids = end_orphans(Path.cwd(), answer_s=0 if workflow.local_exec else 60)
    except InputError as error:
        if not workflow.local_exec:
            stop(str(error))
        logger.warning(f"{error}. Jobs of an earlier run may still be at work in this folder.")
        return
    if ids:
        logger.info(
            f"SLURM still had jobs of an earlier run: {', '.join(ids)}; they are ended, their work"
            " is resumed"
        )


if executor := sys.modules.get("snakemake_executor_plugin_slurm"):
    poll_steadily(executor)
    be_patient(executor, logger.warning)
