"""`snakemake --profile slurm` on a real SLURM: whole runs, failures, preemption, killed heads, full disks."""

import pytest
from clone import GPU_RULES

pytestmark = pytest.mark.slurm


def rule_of(job: dict) -> str:
    return job["Comment"].split("_wildcards_")[0].removeprefix("rule_")


def test_a_run_as_a_plain_user_gives_the_bytes_of_the_local_profile(finished, local):
    assert finished.results() == local.results()
    assert len(finished.results()) > 30
    assert finished.folder.stat().st_uid != 0
