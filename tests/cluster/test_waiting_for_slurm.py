"""Waiting for SLURM, with commands that say what those of 22.05 say. The real ones: tests/slurm."""

import asyncio
import subprocess
from types import ModuleType, SimpleNamespace

import pytest

from archloop.cluster import waiting
from archloop.cluster.waiting import be_patient, requeueing

FULL = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates accounting/"
)
FULL += "QOS policy (job submit limit, user's size and/or time limits)"
AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
REFUSED = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
CALL = "sbatch --parsable --job-name archloop_1 --comment 'rule_generate_wildcards_main_1_0' --wrap=\"python 'a b'\""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A function that puts on the path an sbatch that complains so often and then takes the job, and a squeue."""
    monkeypatch.setattr(waiting, "AGAIN_S", 0.01)
    monkeypatch.setattr(waiting, "given_up", type(waiting.given_up)())
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(complaint: str, times: int, queue: str = "") -> None:
        lines = [f"echo . >> {tmp_path}/calls", f"[ $(wc -l < {tmp_path}/calls) -gt {times} ] && {{ echo 7; exit 0; }}"]
        scripts = {"sbatch": [*lines, f"cat >&2 <<'END'\n{complaint}\nEND", "exit 1"], "squeue": [f"echo '{queue}'"]}
        for name, script in scripts.items():
            (tmp_path / name).write_text("\n".join(["#!/bin/bash", *script, ""]))
            (tmp_path / name).chmod(0o755)

    return put


@pytest.fixture
def plugin() -> ModuleType:
    """What of the executor plugin is changed."""

    async def states(command, logger):
        return dict(command), 0.1

    executor = type("Executor", (), {"cancel_jobs": lambda self, jobs: None})
    return SimpleNamespace(subprocess=subprocess, query_job_status=states, Executor=executor)


def submitted(plugin, said: list[str]) -> tuple[int, str, str]:
    """Submit as the plugin does; return (status, output, complaint)."""
    be_patient(plugin, said.append)
    pipe = plugin.subprocess.PIPE
    process = plugin.subprocess.Popen(CALL, shell=True, text=True, stdin=pipe, stdout=pipe, stderr=pipe)
    out, complaint = process.communicate(input=None)
    return process.returncode, out.strip(), complaint.strip()


def test_room_in_the_queue_is_waited_for_and_told_once(slurm, plugin, tmp_path):
    slurm(FULL, 3, queue="5")
    said = []
    assert submitted(plugin, said) == (0, "7", "")
    assert said == [
        "SLURM takes no more jobs for now (QOSMaxSubmitJobPerUserLimit); submissions wait, what runs goes on"
    ]


def test_a_controller_that_is_away_is_waited_for(slurm, plugin):
    slurm(AWAY, 2)
    said = []
    assert submitted(plugin, said) == (0, "7", "")
    assert said[0].startswith("SLURM does not answer (Unable to contact slurm controller)")


def test_a_job_that_was_taken_though_no_answer_came_is_not_submitted_again(slurm, plugin, tmp_path):
    slurm(AWAY, 5, queue="41|rule_generate_wildcards_main_1_1\n42|rule_generate_wildcards_main_1_0")
    assert submitted(plugin, []) == (0, "42", "")
    assert (tmp_path / "calls").read_text() == ".\n"


def test_a_refusal_is_told_at_once(slurm, plugin, tmp_path):
    slurm(REFUSED, 5)
    assert submitted(plugin, []) == (1, "", REFUSED)
    assert (tmp_path / "calls").read_text() == ".\n"


def test_a_queue_that_is_full_without_jobs_of_this_user_is_given_up(slurm, plugin, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_S", 0)
    slurm(FULL, 5)
    assert submitted(plugin, []) == (1, "", FULL)


def test_an_interrupt_ends_the_waiting(slurm, plugin):
    slurm(FULL, 10**6, queue="5")
    assert submitted(plugin, said := WhenTold(plugin)) == (1, "", FULL)
    assert len(said) == 1


class WhenTold(list):
    """Cancels the run as soon as it hears that something is waited for."""

    def __init__(self, plugin):
        super().__init__()
        self.plugin = plugin

    def append(self, line: str) -> None:
        super().append(line)
        self.plugin.Executor().cancel_jobs([])


def looked_at(query, states: dict[str, str]) -> dict[str, str]:
    return asyncio.run(query(states, None))[0]


def test_a_job_that_was_preempted_for_good_is_queued_again(slurm, plugin, tmp_path):
    slurm("", 0)
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / "scontrol").chmod(0o755)
    found = looked_at(requeueing(plugin.query_job_status, print), {"3": "PREEMPTED", "4": "RUNNING"})
    assert found == {"3": "PENDING", "4": "RUNNING"}
    assert (tmp_path / "asked").read_text() == "requeue 3\n"


def test_one_that_cannot_be_queued_again_counts_as_cancelled_and_is_left_alone(slurm, plugin, tmp_path):
    slurm("", 0)
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho >> {tmp_path}/asked\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    query = requeueing(plugin.query_job_status, print)
    found = [looked_at(query, {"3": "PREEMPTED"})["3"] for _ in range(6)]
    assert found == ["PREEMPTED"] * 3 + ["CANCELLED"] * 3
    assert (tmp_path / "asked").read_text() == "\n" * 3
