"""`snakemake` that asks SLURM for the states of its jobs every second: of a small cluster that is no burden.

After each round in which no job has ended the plugin waits 10 s longer, up to 180 s, and has no setting against it.
"""

import sys

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main

POLL_S = 1.0

plugin.Executor.next_seconds_between_status_checks = property(lambda self: POLL_S, lambda self, seconds: None)

if __name__ == "__main__":
    sys.argv[0] = "snakemake"
    main()
