"""What a candidate's process is given by its server, and what comes back. Whole servers: test_isolation.py."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archloop import site_limits
from archloop.evaluation import fork_server, train_candidate, warm_up
from archloop.evaluation.records import CandidateReport, TrainingRequest
from archloop.evaluation.train_candidate import CandidateData
from archloop.sandbox import gpu_memory, isolation
from archloop.sandbox.bounds import Bounds
from archloop.sandbox.orders import CardShare, Order, SupervisorReport

ORDER = Order(
    level="landlock", bounds=Bounds(60, 100, 10**5, 3), readable=["/usr"], hidden=[], grants="/grants", base="/base",
    scratch="/nowhere", device="cuda:0", gpu=False, device_files=[], log_unlisted=False,
)  # fmt: skip
DATA = CandidateData(*[torch.zeros(1)] * 4, mean=[0.5], std=[0.25], classes=10)


def test_a_candidate_has_six_descriptors_and_no_other():
    asked, given = os.pipe(), [os.pipe() for _ in range(4)]
    child = os.fork()
    if child == 0:
        os.open("/", os.O_RDONLY)
        fork_server.arrange([asked[0], given[0][1], given[1][1]], given[2][1])
        os.write(1, b"out ")
        os.write(2, b"err")
        os.write(fork_server.RESULT, b"result")
        os.write(fork_server.READY, b"ready")
        opened = sorted(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 (with the descriptor that it opens)
        is_arranged = [os.read(0, 1) == b"", os.read(fork_server.REQUEST, 100) == b"request"]
        is_arranged.append(opened[:6] == list(range(6)))
        os._exit(0 if all(is_arranged) and len(opened) == 7 else 1)
    os.write(asked[1], b"request")
    assert os.waitpid(child, 0)[1] == 0
    assert [os.read(pipe[0], 100) for pipe in given[:3]] == [b"result", b"out err", b"ready"]
    for pipe in (asked, *given):
        for descriptor in pipe:
            os.close(descriptor)


def answers_at_once(program, data, settings, seed, device, images) -> tuple[CandidateReport, bytes]:
    given = f"{program} {data.mean} {settings.epochs} {seed} {device} {images}"
    return CandidateReport(outcome="trained", detail=given), b"\1\2"


@pytest.fixture
def supervised(tmp_path, monkeypatch, settings):
    """A function that has a candidate supervised whose sandbox, device and training are stand-ins.

    It returns (the supervisor's report, the result, the steps).
    """
    return lambda training=answers_at_once, **changed: supervise(tmp_path, monkeypatch, settings, training, changed)


def supervise(tmp_path, monkeypatch, settings, training, changed: dict) -> tuple[SupervisorReport, bytes, list[str]]:
    steps = tmp_path / "steps"
    steps.touch()
    (tmp_path / "scratch").mkdir(exist_ok=True)

    def step(name: str):
        def write(*given: object) -> None:
            with steps.open("a") as opened:
                opened.write(" ".join([name, *map(str, given)]) + "\n")

        return write

    confine = changed.pop("confine", lambda order: step("sandbox")(order.level) or step("close"))
    monkeypatch.setattr(isolation, "confine", confine)
    monkeypatch.setattr(warm_up, "take_a_step", step("step"))
    monkeypatch.setattr(warm_up, "start_threads", step("threads"))
    monkeypatch.setattr(train_candidate, "run", training)
    pipes = [os.pipe() for _ in range(3)]
    asked = os.memfd_create("request")
    os.write(asked, TrainingRequest("p", settings, 7, "d", None, "ab" * 16).to_json())
    os.lseek(asked, 0, os.SEEK_SET)
    order = replace(ORDER, scratch=str(tmp_path / "scratch"), **changed)
    fork_server.fork_supervisor(order.to_json(), [asked, *(pipe[1] for pipe in pipes)], DATA)
    for descriptor in (asked, *(pipe[1] for pipe in pipes)):
        os.close(descriptor)
    contents = []
    for end, _ in pipes:
        with open(end, "rb") as opened:
            contents.append(opened.read())
    os.wait()
    return SupervisorReport.from_json(contents[2]), contents[0], steps.read_text().splitlines()


def test_a_supervisor_reports_how_its_candidate_ended_and_the_result_comes_under_the_nonce(supervised, settings):
    report, result, steps = supervised()
    header = CandidateReport("trained", f"p [0.5] {settings.epochs} 7 d None").to_json()
    assert result == bytes.fromhex("ab" * 16) + len(header).to_bytes(4, "little") + header + b"\1\2"
    assert (report.error, report.ended, report.status) == (None, None, 0)
    assert 0 <= report.cpu_s < 60 and 0 < report.elapsed_s < 60 and 10 < report.peak_mb < 10**5
    assert set(report.limits) >= {"RLIMIT_CPU", "RLIMIT_NOFILE"} and steps == ["sandbox landlock", "threads 3"]


def test_a_gpu_is_started_before_the_sandbox_closes_and_tried_in_it(supervised):
    report, _, steps = supervised(gpu=True)
    assert report.error is None
    assert steps == ["sandbox landlock", "step cuda:0", "close", "threads 3", "step cuda:0"]


def test_a_share_of_a_card_that_nobody_measures_is_no_outcome(supervised, monkeypatch):
    def meter(uuid: str):
        raise gpu_memory.Unmeasured(f"no {uuid}")

    monkeypatch.setattr(gpu_memory, "meter", meter)
    report, result, steps = supervised(card=CardShare("f00", 50))
    why = "what a candidate holds on a card that it shares is not measured (no f00): set execution.workers to auto"
    assert (report, result, steps) == (SupervisorReport(error=why), b"", [])
    monkeypatch.setattr(gpu_memory, "meter", lambda uuid: lambda process: None)
    report, _, _ = supervised(card=CardShare("f00", 50))
    assert report == SupervisorReport(error=why.replace("no f00", "NVML does not show its process"))


def test_a_training_that_goes_on_for_too_long_is_ended(supervised):
    report, result, _ = supervised(lambda *_: time.sleep(60), bounds=Bounds(0.3, 100, 10**5, 3))
    assert (report.ended, report.status, result) == (("timeout", "still at work after 0.3 s"), -9, b"")


def raising(error: Exception):
    """A function that raises this error, whatever it is given."""

    def fail(*_):
        raise error

    return fail


def test_what_fails_before_a_program_is_read_is_no_outcome_and_told_in_one_line(supervised, monkeypatch):
    report, result, _ = supervised(confine=raising(OSError("no\nmounts")))
    remedy = "set execution.isolation to another level, or take another node"
    failed = f"the sandbox failed (OSError: no mounts): {remedy}"
    assert (report, result) == (SupervisorReport(error=failed), b"")
    monkeypatch.setattr(site_limits, "soft_limits", raising(ValueError("no limits")))
    report, _, _ = supervised()
    assert report == SupervisorReport(error="ValueError: no limits")


def test_where_memory_runs_out_a_candidate_goes_first(supervised):
    def train(*_):
        score = Path("/proc/self/oom_score_adj").read_text().strip()
        return CandidateReport(outcome="trained", detail=score), b""

    _, result, _ = supervised(train)
    assert b'"1000"' in result
