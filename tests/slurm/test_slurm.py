"""`snakemake --profile slurm` on a real SLURM: whole runs, failures, preemption, killed heads, full disks."""

import os
import shlex
import signal
import sys
import time
from itertools import combinations

import pytest
from clone import GPU_RULES, processes_of, wait_for

from archloop.evaluation.score_store import all_records

pytestmark = pytest.mark.slurm

# The end of the last cycle of the chain main: three jobs at SLURM lead there.
LAST_CYCLE = "results/main/cycle-2/summary.json"


def scores(store) -> dict[str, dict]:
    return {key: read() for _, key, read in all_records(store)}


@pytest.fixture
def redo(finished):
    """A function that copies the finished run without its last cycle."""
    made = []

    def make(name: str):
        clone = finished.copy(name)
        clone.lose("results/main/cycle-2/*")
        made.append(clone)
        return clone

    yield make
    for clone in made:
        for job in clone.queued():
            clone.cluster.run(["scancel", job])


def test_a_run_as_a_plain_user_gives_the_bytes_of_the_local_profile(finished, local):
    assert finished.results() == local.results()
    assert len(finished.results()) > 30
    assert finished.folder.stat().st_uid != 0


def test_gpu_stages_ask_for_gpus_and_nothing_else_is_queued(finished):
    jobs = finished.jobs()
    assert {job["Rule"] for job in jobs} == GPU_RULES
    assert all("gres/gpu=1" in job["AllocTRES"] and job["Partition"] == "gpu" for job in jobs)
    assert {job["State"] for job in jobs} == {"COMPLETED"}


def test_two_chains_run_at_once_and_share_one_seed_adapter(finished):
    jobs = finished.jobs()
    assert [job["Rule"] for job in jobs].count("finetune_seed") == 1
    first, second = (
        [job for job in jobs if job["Comment"].endswith(f"generate_wildcards_{chain}_1_0")]
        for chain in ("main", "other")
    )
    assert overlap(*first, *second)


def test_no_job_could_reach_a_network(cluster, finished):
    probe = "import socket; socket.create_connection(('198.51.100.1', 80), 5)"
    done = cluster.run(["srun", "--partition=gpu", "--account=lab", sys.executable, "-c", probe], user=True)
    assert done.returncode == 1
    assert "Network is unreachable" in done.stderr


def test_preempted_jobs_go_on_where_they_were(cloned, cluster, finished):
    """Queued again in evaluate and finetune, a node lost in generate, cancelled in evaluate, slurmctld restarted."""
    clone = cloned("preempted")
    head = clone.start()
    store = clone.folder / "results" / "evaluations"
    wait_for(lambda: len(scores(store)) >= 2, head)
    known = scores(store)
    cluster.read(f"scontrol requeue {wait_for(lambda: clone.running('evaluate_seed'), head)[0]}")

    state = clone.folder / "results" / "state" / "seed"
    wait_for(lambda: list(state.rglob("checkpoint.pt")), head)
    assert known.items() <= scores(store).items()
    cluster.read(f"scontrol requeue {wait_for(lambda: clone.running('finetune_seed'), head)[0]}")

    job = wait_for(lambda: clone.running("generate", "main_1_0"), head)[0]
    node = cluster.read(f"squeue -h -j {job} -o %N")
    cluster.read(f"scontrol update NodeName={node} State=DOWN Reason=test")
    wait_for(lambda: job not in clone.running("generate", "main_1_0"), head)
    wait_for(lambda: cluster.resume(node), head)

    cluster.read(f"scancel {wait_for(lambda: clone.running('evaluate', 'main_1'), head)[0]}")
    wait_for(lambda: clone.running("generate", "main_2"), head)
    cluster.stop("slurmctld")
    time.sleep(5)
    cluster.start("slurmctld")
    assert head.wait(900) == 0, clone.terminal()[-3000:]
    assert clone.results() == finished.results()
    assert "resuming after step" in (clone.folder / "logs" / "seed" / "finetune.log").read_text()
    assert_none_overlap(clone.jobs())


def test_killed_head_leaves_no_second_writer(redo, finished):
    """Killed while a job runs, which the next start ends, and again while one runs, which ends by itself before it."""
    clone = redo("killed")
    head = clone.start(LAST_CYCLE)
    orphans = wait_for(lambda: clone.running("generate", "main_2"), head)
    wait_for(lambda: processes_of(clone.folder, "generate.py"), head)
    kill_head(head)
    assert set(orphans) <= set(clone.queued())

    head = clone.start(LAST_CYCLE)
    wait_for(lambda: clone.running("evaluate", "main_2"), head)
    said = clone.terminal()
    assert "SLURM still had jobs of an earlier run" in said
    assert all(job in said for job in orphans)
    kill_head(head)
    wait_for(lambda: not clone.queued())
    assert list(clone.folder.glob("results/main/cycle-2/evaluated/0.json"))

    clone.finish(LAST_CYCLE)
    assert clone.results() == finished.results()
    assert_none_overlap(clone.jobs())


def test_out_of_memory_out_of_time_and_killed_are_tried_again_with_more(redo, finished):
    clone = redo("failing")
    clone.profile(
        {
            "generate": {"mem_mb": "300 if attempt == 1 else 2500"},
            "finetune": {"runtime": "1 if attempt == 1 else 10"},
        }
    )
    head = clone.start(LAST_CYCLE)
    killed = wait_for(lambda: processes_of(clone.folder, "evaluate.py"), head)
    killed[0].kill()
    stopped = wait_for(lambda: processes_of(clone.folder, "finetune.py"), head)
    stopped[0].send_signal(signal.SIGSTOP)
    assert head.wait(900) == 0, clone.terminal()[-3000:]
    assert clone.results() == finished.results()
    jobs = clone.jobs()
    assert {"TIMEOUT", "FAILED", "COMPLETED"} <= {job["State"] for job in jobs}
    memory = [job["AllocTRES"] for job in jobs if job["Comment"].endswith("generate_wildcards_main_2_0")]
    assert ["mem=300M" in memory[0], "mem=2500M" in memory[-1], len(memory)] == [True, True, 2]


def test_after_the_last_attempt_the_message_names_job_log_and_remedy(redo):
    clone = redo("hopeless")
    clone.profile({"generate": {"mem_mb": 300}}, retries=1)
    done = clone.snakemake(LAST_CYCLE)
    assert done.returncode == 1
    assert "failed: generate, which makes results/main/cycle-2/generated/0.jsonl" in done.stdout
    assert "2 attempts): it ran out of memory" in done.stdout
    assert f"log: {clone.folder}/logs/slurm/rule_generate/main_2_0/" in done.stdout
    assert "remedy: give generate more mem_mb in set-resources of the profile" in done.stdout


def test_a_full_disk_says_so_and_nothing_half_written_counts(redo, finished, cluster):
    clone = redo("full")
    results = clone.folder / "results"
    keep = clone.folder / "kept"
    results.rename(keep)
    results.mkdir()
    size = sum(path.stat().st_size for path in keep.rglob("*") if path.is_file()) // 1024
    # Room for what is there, and for little more.
    mount = f"mount -t tmpfs -o size={size + 1500}k,mode=777 tmpfs {results}"
    cluster.run(shlex.split(mount), check=True)
    cluster.run(["cp", "-a", f"{keep}/.", str(results)], check=True)
    filler = f"dd if=/dev/zero of={results}/filler bs=1k"
    cluster.run(shlex.split(filler))
    done = clone.snakemake(LAST_CYCLE)
    assert done.returncode == 1
    assert "No space left on device" in done.stdout or "the disk is full" in done.stdout
    cluster.run(["rm", f"{results}/filler"], check=True)
    cluster.run(shlex.split(f"mount -o remount,size=500m {results}"), check=True)
    clone.finish(LAST_CYCLE)
    cluster.run(["cp", "-a", f"{results}/.", str(keep)], check=True)
    cluster.run(["umount", str(results)], check=True)
    results.rmdir()
    keep.rename(results)
    assert clone.results() == finished.results()


def test_a_read_only_folder_says_so_in_one_line(redo, cluster):
    clone = redo("readonly")
    results = clone.folder / "results"
    cluster.run(["mount", "--bind", str(results), str(results)], check=True)
    cluster.run(["mount", "-o", "remount,bind,ro", str(results)], check=True)
    done = clone.snakemake(LAST_CYCLE)
    cluster.run(["umount", str(results)], check=True)
    assert done.returncode == 1
    assert "results: Read-only file system" in done.stdout
    assert "Traceback" not in done.stdout


def kill_head(head) -> None:
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()


def overlap(first: dict, second: dict) -> bool:
    """Whether two starts of jobs ran at the same time; times are ISO texts of whole seconds."""
    return first["Start"] < second["End"] and second["Start"] < first["End"]


def assert_none_overlap(jobs: list[dict]) -> None:
    """No two starts that write the same outputs ran at the same time."""
    ran = [job for job in jobs if "T" in job["Start"] and "T" in job["End"]]
    assert len(ran) > 3
    twice = [(a, b) for a, b in combinations(ran, 2) if a["Comment"] == b["Comment"] and overlap(a, b)]
    assert not twice
