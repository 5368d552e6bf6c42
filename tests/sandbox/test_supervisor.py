"""What a supervisor makes of what it is told and sees: steps, limits, folders. A whole server: test_isolation.py."""

import contextlib
import json
import os
import resource
import signal
import time
from dataclasses import replace

import pytest

from archloop.sandbox import isolation, namespaces, supervisor
from archloop.sandbox.bounds import bounds
from archloop.sandbox.orders import CardShare, Order, SupervisorReport

ORDER = Order(
    level="namespaces", bounds=bounds(2.5, 100, 3), readable=["/usr"], hidden=[], grants="/grants", base="/base",
    scratch="/nowhere", device="cpu", gpu=False, device_files=[], log_unlisted=False,
)  # fmt: skip


def told(text: bytes) -> dict:
    """Return what a supervisor makes of what its candidate's process wrote before it ended or went on."""
    read, write = os.pipe()
    os.write(write, text)
    os.close(write)
    return supervisor.await_sandbox(read, 3)


def test_limits_are_told_when_the_sandbox_stands():
    assert told(b'step the sandbox\nstep the threads\n{"RLIMIT_CPU": 5}') == {"RLIMIT_CPU": 5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"step the sandbox\nrefused the sandbox failed (x): mend it\n", "^the sandbox failed \\(x\\): mend it$"),
        (
            b"",
            "^the start of the candidate's process: the candidate's process ended there, before a program was read:"
            " set execution.isolation to another level, or take another node$",
        ),
        (
            b"step the sandbox\nstep the closing of the sandbox\n",
            "^the closing of the sandbox: the candidate's process ",
        ),
        (b"step the threads\n", "^the machine refuses the 3 threads of evaluation.threads .*ulimit -u"),
    ],
)
def test_a_candidate_that_never_stood_in_its_sandbox_is_no_outcome(text, says):
    with pytest.raises(isolation.Refused, match=says):
        told(text)


def test_a_sandbox_that_takes_too_long_is_no_outcome(monkeypatch):
    monkeypatch.setattr(supervisor, "START_S", 0.01)
    read, write = os.pipe()
    os.write(write, b"step the start of the device\n")
    says = r"^the start of the device: no end within 0.01 s: set execution.isolation to another level"
    with pytest.raises(isolation.Refused, match=says):
        supervisor.await_sandbox(read, 3)
    os.close(write)


def nothing() -> None:
    """Of a card that nobody shares nothing is measured."""


def broken(tmp_path, status: str, deadline: float = float("inf"), held=nothing, **changed) -> tuple[str, str] | None:
    (tmp_path / "status").write_text(status)
    with open(tmp_path / "status", "rb", buffering=0) as opened:
        opened.read(3)  # it is read again and again
        return supervisor.broken_limit(opened, held, replace(ORDER, **changed), deadline)


def of(anonymous_mb: int = 0, shared_mb: int = 0, swapped_mb: int = 0, threads: int = 1) -> str:
    sizes = {"RssAnon": anonymous_mb, "RssFile": 9999, "RssShmem": shared_mb, "VmSwap": swapped_mb}
    lines = [f"{name}:\t {size * 1024} kB" for name, size in sizes.items()]
    return "\n".join(["Name:\tpython", *lines, f"Threads:\t{threads}", "HugetlbPages:\t 0 kB", ""])


MEMORY = ("out_of_memory", "more than 100 MB in use")


def test_limits_are_broken_by_more_than_they_say(tmp_path):
    assert broken(tmp_path, of(100, threads=64)) is None
    assert broken(tmp_path, of(101)) == MEMORY
    assert broken(tmp_path, of(threads=65)) == ("crashed", "more than 64 threads")
    assert broken(tmp_path, of(), deadline=0.0) == ("timeout", "still at work after 2.5 s")


def test_on_a_gpu_all_memory_of_the_process_counts_and_else_what_is_its_own(tmp_path):
    assert broken(tmp_path, of(60, 60, 60)) is None
    assert broken(tmp_path, of(60, 20, 20), gpu=True) is None
    assert broken(tmp_path, of(60, 20, 21), gpu=True) == MEMORY


def test_a_share_of_a_card_is_broken_by_more_than_it_says(tmp_path):
    card = CardShare("f00", 50)
    for mb in (None, 0, 50):
        assert broken(tmp_path, of(), held=lambda mb=mb: mb, card=card) is None
    ended = ("out_of_memory", "more than 50 MB of the GPU in use, its share")
    assert broken(tmp_path, of(), held=lambda: 51, card=card) == ended


def test_a_process_that_has_just_ended_broke_nothing():
    class Ended:
        def seek(self, _):
            raise ProcessLookupError

    assert supervisor.broken_limit(Ended(), nothing, ORDER, float("inf")) is None


@pytest.mark.parametrize("level", isolation.LEVELS)
def test_a_scratch_folder_on_disk_is_looked_at(tmp_path, level):
    (tmp_path / "scratch").mkdir()
    for number in range(1025):
        (tmp_path / "scratch" / str(number)).touch()
    ended = broken(tmp_path, of(), level=level, scratch=str(tmp_path / "scratch"))
    over = ("crashed", "more than 16 MB or 1024 files in its scratch folder")
    assert ended == (None if level == "namespaces" else over)


def test_a_scratch_folder_holds_so_much(tmp_path):
    for number in range(1023):
        (tmp_path / str(number)).touch()
    (tmp_path / "large").write_bytes(bytes(16 * 2**20 - 4096 * 8))
    assert not supervisor.over_scratch_limits(str(tmp_path))
    (tmp_path / "large").write_bytes(bytes(16 * 2**20 + 4096))
    assert supervisor.over_scratch_limits(str(tmp_path))
    (tmp_path / "large").write_bytes(b"")
    assert not supervisor.over_scratch_limits(str(tmp_path))
    (tmp_path / "one more").touch()
    assert supervisor.over_scratch_limits(str(tmp_path))


def test_a_scratch_folder_is_so_deep(tmp_path):
    folder = tmp_path
    for _ in range(32):
        folder /= "d"
        folder.mkdir()
    assert not supervisor.over_scratch_limits(str(tmp_path))
    (folder / "d").mkdir()
    assert supervisor.over_scratch_limits(str(tmp_path))


def test_a_link_is_not_followed_and_a_folder_that_is_gone_is_too_much(tmp_path):
    (tmp_path / "link").symlink_to("/")
    (tmp_path.parent / "large").write_bytes(bytes(17 * 2**20))
    (tmp_path / "link to a file").symlink_to(tmp_path.parent / "large")
    assert not supervisor.over_scratch_limits(str(tmp_path))
    assert supervisor.over_scratch_limits(str(tmp_path / "gone"))


def test_a_report_is_one_line_of_json_and_a_reader_that_is_gone_no_error():
    read, write = os.pipe()
    report = SupervisorReport(ended=("timeout", "too slow"), status=-9, limits={"RLIMIT_CPU": 5})
    supervisor.send(write, report)
    assert SupervisorReport.from_json(os.read(read, 1000)) == report
    os.close(read)
    supervisor.send(write, report)
    os.close(write)


@pytest.mark.parametrize("card", [None, CardShare("f00", 50)])
def test_an_order_arrives_as_it_was_sent(card):
    order = replace(ORDER, card=card)
    assert Order.from_json(order.to_json()) == order


@pytest.mark.parametrize("text", [b"", b'{"error": nu'])
def test_a_report_that_is_cut_off_is_none(text):
    with pytest.raises(ValueError, match="Expecting"):
        SupervisorReport.from_json(text)


def test_too_many_processes_are_said_with_what_to_do():
    message = supervisor.no_process(OSError(11, "Resource temporarily unavailable"))
    assert message.startswith("the machine starts no process more (Resource temporarily unavailable; ")
    assert message.endswith("or set execution.workers lower")


def test_a_step_is_announced_in_a_line_of_its_own():
    read, write = os.pipe()
    for step in (supervisor.SANDBOX, supervisor.THREADS):
        supervisor.announce(write, step)
    os.close(write)
    with open(read, "rb") as opened:
        assert opened.read() == b"step the sandbox\nstep the threads\n"


def supervised(candidate, **changed) -> SupervisorReport:
    """Return what a supervisor reports of a process that runs this function, without a sandbox."""
    order = replace(ORDER, **({"level": "none", "bounds": bounds(60, 10**5, 3)} | changed))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            supervisor.supervise(order, [], write, candidate)
        finally:
            os._exit(9)  # which a supervisor does not come to
    os.close(write)
    with open(read, "rb") as opened:
        text = opened.read()
    assert os.waitpid(child, 0)[1] == 0
    return SupervisorReport.from_json(text)


def stands(announced: int, wait: int, **limits: int) -> None:
    """Be a candidate's process that says that its sandbox stands."""
    os.read(wait, 1)
    os.write(announced, json.dumps({"RLIMIT_CPU": None} | limits).encode())
    os.close(announced)


@pytest.mark.parametrize(("level", "left"), [("namespaces", 1), ("bubblewrap", 0), ("landlock", 0), ("none", 0)])
def test_a_candidate_of_level_namespaces_alone_is_started_in_new_ones(monkeypatch, level, left):
    monkeypatch.setattr(namespaces, "leave", lambda: os.environ.update(LEFT="1"))

    def candidate(announced: int, wait: int) -> None:
        stands(announced, wait, left=int(os.environ.get("LEFT", "0")))
        os._exit(0)

    assert supervised(candidate, level=level).limits == {"RLIMIT_CPU": None, "left": left}


def test_what_a_supervisor_fails_at_is_reported(monkeypatch):
    def fail() -> None:
        raise ValueError("no word of the kernel")

    monkeypatch.setattr(isolation, "die_with_parent", fail)
    assert supervised(stands) == SupervisorReport(error="ValueError: no word of the kernel")


def test_a_candidate_that_the_kernel_ends_without_a_limit_of_its_time_is_no_timeout():
    def candidate(announced: int, wait: int) -> None:
        stands(announced, wait)
        os.kill(os.getpid(), signal.SIGKILL)

    report = supervised(candidate)
    assert (report.error, report.ended, report.status) == (None, None, -9)


def test_a_candidate_that_cannot_be_watched_any_longer_is_ended():
    def candidate(announced: int, wait: int) -> None:
        stands(announced, wait)
        time.sleep(60)

    report = supervised(candidate, bounds=replace(bounds(60, 10**5, 3), timeout_s="x"))
    assert report.status == -9 and report.ended[0] == "crashed"
    assert report.ended[1].startswith("it could not be watched any longer (TypeError: ")


def test_a_candidate_has_one_end_of_each_pipe_alone():
    """Else it would wait for ever for the word of a supervisor that was killed."""

    def candidate(announced: int, wait: int) -> None:
        os.read(wait, 1)
        pipes = []
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
            with contextlib.suppress(FileNotFoundError):  # that of the folder itself
                pipes.append(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115
        ends = {name: pipes.count(os.readlink(f"/proc/self/fd/{end}")) for name, end in [("a", announced), ("b", wait)]}  # noqa: PTH115
        os.write(announced, json.dumps({"RLIMIT_CPU": None} | ends).encode())
        os._exit(0)

    report = supervised(candidate)
    assert (report.error, report.status, report.limits) == (None, 0, {"RLIMIT_CPU": None, "a": 1, "b": 1})


def test_the_end_at_the_limit_of_processor_time_is_a_timeout():
    def candidate(announced: int, wait: int) -> None:
        os.read(wait, 1)
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        os.write(announced, b'{"RLIMIT_CPU": 1}')
        os.close(announced)
        while True:
            pass

    report = supervised(candidate)
    assert (report.ended, report.status) == (("timeout", "more than 1 s of processor time"), -9)
    assert 0.4 <= report.cpu_s < 30  # the kernel's ticks may run ahead
