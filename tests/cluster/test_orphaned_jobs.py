"""Jobs that a killed run left at SLURM, with commands that answer as SLURM's. The real ones: tests/slurm."""

import pytest

from archloop.cluster.orphaned_jobs import end_orphans
from archloop.errors import InputError


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A function that puts squeue and scancel on the path; jobs.txt holds what squeue prints."""
    jobs = tmp_path / "jobs.txt"

    def put(lines: list[str], ends: bool = True) -> None:
        jobs.write_text("".join(f"{line}\n" for line in lines))
        scancel = f'for id; do sed -i "/^$id|/d" {jobs}; echo $id >> {tmp_path}/ended; done' if ends else "exit 0"
        for name, body in (("squeue", f"cat {jobs}"), ("scancel", scancel)):
            script = tmp_path / "bin" / name
            script.parent.mkdir(exist_ok=True)
            script.write_text(f"#!/bin/sh\n{body}\n")
            script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    return put


def test_jobs_of_this_folder_are_ended_and_others_are_not(slurm, tmp_path):
    here, there = tmp_path / "run", tmp_path / "other"
    slurm([f"7|archloop_ab|{here}", f"8|archloop_ab|{there}", f"9|archloop-head|{here}", f"10|mine|{here}"])
    assert end_orphans(here) == ["7"]
    assert (tmp_path / "ended").read_text() == "7\n"


def test_a_folder_reached_through_a_link_is_the_same(slurm, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    slurm([f"7|archloop_ab|{tmp_path / 'link'}"])
    assert end_orphans(tmp_path / "run") == ["7"]


def test_a_job_that_does_not_end_stops_the_run(slurm, tmp_path):
    slurm([f"7|archloop_ab|{tmp_path}"], ends=False)
    with pytest.raises(InputError, match="does not end the jobs 7"):
        end_orphans(tmp_path, patience_s=0)


def test_without_slurm_there_is_nothing_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert end_orphans(tmp_path) == []


def test_a_setting_of_squeue_hides_no_job_that_waits(slurm, tmp_path, monkeypatch):
    slurm([f"7|archloop_ab|{tmp_path}"])
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text(squeue.read_text().replace("cat", '[ -n "$SQUEUE_STATES" ] || cat'))
    monkeypatch.setenv("SQUEUE_STATES", "R")
    assert end_orphans(tmp_path) == ["7"]


def test_a_run_that_does_not_need_slurm_asks_it_once(slurm, tmp_path):
    slurm([])
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho 'squeue: fatal: no cluster' >&2\nexit 1\n")
    with pytest.raises(InputError, match="SLURM: squeue: fatal: no cluster; try again later"):
        end_orphans(tmp_path, answer_s=0)
    assert (tmp_path / "asked").read_text() == "asked\n"
