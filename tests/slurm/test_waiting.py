"""What a run waits for on a real SLURM, with rules that do nothing: room in the queue, the controller, preemption."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clone import SNAKEMAKE, wait_for
from cluster import ACCOUNT
from plain_user import ROOT, USER

pytestmark = pytest.mark.slurm

SNAKEFILE = """
import sys
sys.path.insert(0, {scripts!r})
import snakemake_executor_plugin_slurm
from archloop.cluster.waiting import be_patient
be_patient(snakemake_executor_plugin_slurm, logger.warning)

rule all:
    input:
        expand("{{number}}.txt", number=range({jobs})),
    localrule: True

rule job:
    output:
        "{{number}}.txt",
    shell:
        "{command}; touch {{output}}"
"""


@pytest.fixture
def start(cluster, tmp_path_factory):
    """A function that starts Snakemake on a number of jobs in a folder of the plain user; it returns both."""
    started = []

    def run(name: str, jobs: int, command: str, partition: str) -> tuple[subprocess.Popen, Path]:
        folder = cluster.folder / f"waiting-{name}"  # other tests have a folder of that name
        folder.mkdir()
        (folder / "Snakefile").write_text(SNAKEFILE.format(scripts=str(ROOT / "scripts"), jobs=jobs, command=command))
        profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
        wanted = {"slurm_account": ACCOUNT, "slurm_partition": partition, "mem_mb": 500, "runtime": 5}
        profile |= {"default-resources": wanted, "latency-wait": 5, "slurm-init-seconds-before-status-checks": 2}
        del profile["set-resources"]
        (folder / "config.yaml").write_text(yaml.safe_dump(profile))
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(folder)], check=True)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inside = ["env", f"--chdir={folder}", f"PATH={path}", f"HOME={folder}", *SNAKEMAKE, "--profile", str(folder)]
        terminal = (folder / "terminal.txt").open("w")
        head = subprocess.Popen(
            cluster.command(inside, user=True),
            **{"env": cluster.environment, "stdin": subprocess.DEVNULL, "start_new_session": True},
            **{"stdout": terminal, "stderr": subprocess.STDOUT},
        )
        started.append(head)
        return head, folder

    yield run
    for head in started:
        if head.poll() is None:
            head.terminate()
        head.wait(120)


def test_submissions_wait_for_room_and_for_the_controller(cluster, start):
    cluster.read("sacctmgr -i modify user nobody set MaxSubmitJobs=1")
    try:
        head, folder = start("room", 2, "sleep 1", "cpu")
        said = folder / "terminal.txt"
        wait_for(lambda: "SLURM takes no more jobs for now (AssocMaxSubmitJobLimit)" in said.read_text(), head)
        cluster.stop("slurmctld")
        cluster.start("slurmctld")
        assert head.wait(300) == 0, said.read_text()[-3000:]
    finally:
        cluster.read("sacctmgr -i modify user nobody set MaxSubmitJobs=-1")
    assert "Error in rule" not in said.read_text()


def test_a_controller_that_is_away_during_a_submission_is_waited_for(cluster, start):
    cluster.stop("slurmctld")
    head, folder = start("away", 1, "true", "cpu")
    said = folder / "terminal.txt"
    wait_for(lambda: "SLURM does not answer (Unable to contact slurm controller)" in said.read_text(), head)
    cluster.start("slurmctld")
    assert head.wait(300) == 0, said.read_text()[-3000:]
    assert "Error in rule" not in said.read_text()


def test_what_was_preempted_for_good_is_queued_again(cluster, start):
    head, folder = start("preempted", 1, "touch begun; test -f again || sleep 600", "scavenge")
    wait_for(lambda: (folder / "begun").exists(), head)
    (folder / "again").touch()
    urgent = ["sbatch", f"--account={ACCOUNT}", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"]
    cluster.run([*urgent, "--wrap", "true"], user=True, check=True)
    said = folder / "terminal.txt"
    assert head.wait(300) == 0, said.read_text()[-3000:]
    assert "for a more urgent one; it is queued again" in said.read_text()
    assert "Error in rule" not in said.read_text()
