"""What a keeper makes of what it is told and sees: steps, limits, folders. A whole server is in test_walls.py."""

import json
import os
import time

import pytest

from archloop.evaluation import fork_server, train_candidate, warm_up
from archloop.sandbox import gpu_memory, isolation

ORDER = {"level": "namespaces", "gpu": False, "memory_mb": 100, "threads": 3, "timeout_s": 2.5, "scratch": "/nowhere"}
ORDER["card"] = None


def told(text: bytes) -> dict:
    """Return what a keeper makes of what its candidate's process wrote before it ended or went on."""
    read, write = os.pipe()
    os.write(write, text)
    os.close(write)
    return fork_server._behind_walls(read, ORDER)


def test_limits_are_told_when_the_walls_stand():
    assert told(b'step the walls\nstep the threads\n{"RLIMIT_CPU": 5}') == {"RLIMIT_CPU": 5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"step the walls\nrefused the walls failed (x): mend it\n", "^the walls failed \\(x\\): mend it$"),
        (b"", "^the start of the candidate's process: the candidate's process ended there, before a program was read$"),
        (
            b"step the walls\nstep the closing of the walls\n",
            "^the closing of the walls: the candidate's process ",
        ),
        (b"step the threads\n", "^the machine refuses the 3 threads of evaluation.threads .*ulimit -u"),
    ],
)
def test_a_candidate_that_never_stood_behind_its_walls_is_no_outcome(text, says):
    with pytest.raises(isolation.Refused, match=says):
        told(text)


def test_walls_that_take_too_long_are_no_outcome(monkeypatch):
    monkeypatch.setattr(fork_server, "START_S", 0.01)
    read, write = os.pipe()
    os.write(write, b"step the start of the device\n")
    with pytest.raises(isolation.Refused, match=r"^the start of the device: no end within 0.01 s$"):
        fork_server._behind_walls(read, ORDER)
    os.close(write)


def nothing() -> None:
    """Of a card that nobody shares nothing is measured."""


def broken(tmp_path, status: str, deadline: float = float("inf"), held=nothing, **changed) -> list[str] | None:
    (tmp_path / "status").write_text(status)
    with open(tmp_path / "status", "rb", buffering=0) as opened:
        opened.read(3)  # it is read again and again
        return fork_server._broken_limit(opened, held, ORDER | changed, deadline)


def of(anonymous_mb: int = 0, shared_mb: int = 0, swapped_mb: int = 0, threads: int = 1) -> str:
    sizes = {"RssAnon": anonymous_mb, "RssFile": 9999, "RssShmem": shared_mb, "VmSwap": swapped_mb}
    lines = [f"{name}:\t {size * 1024} kB" for name, size in sizes.items()]
    return "\n".join(["Name:\tpython", *lines, f"Threads:\t{threads}", "HugetlbPages:\t 0 kB", ""])


MEMORY = ["out_of_memory", "more than 100 MB in use"]


def test_limits_are_broken_by_more_than_they_say(tmp_path):
    assert broken(tmp_path, of(100, threads=64)) is None
    assert broken(tmp_path, of(101)) == MEMORY
    assert broken(tmp_path, of(threads=65)) == ["crashed", "more than 64 threads"]
    assert broken(tmp_path, of(), deadline=0.0) == ["timeout", "still at work after 2.5 s"]


def test_on_a_gpu_all_memory_of_the_process_counts_and_else_what_is_its_own(tmp_path):
    assert broken(tmp_path, of(60, 60, 60)) is None
    assert broken(tmp_path, of(60, 20, 20), gpu=True) is None
    assert broken(tmp_path, of(60, 20, 21), gpu=True) == MEMORY


def test_a_share_of_a_card_is_broken_by_more_than_it_says(tmp_path):
    card = {"uuid": "f00", "mb": 50}
    for mb in (None, 0, 50):
        assert broken(tmp_path, of(), held=lambda mb=mb: mb, card=card) is None
    said = ["out_of_memory", "more than 50 MB of the GPU in use, its share"]
    assert broken(tmp_path, of(), held=lambda: 51, card=card) == said


def test_a_process_that_has_just_ended_broke_nothing():
    class Ended:
        def seek(self, _):
            raise ProcessLookupError

    assert fork_server._broken_limit(Ended(), nothing, ORDER, float("inf")) is None


@pytest.mark.parametrize("level", isolation.LEVELS)
def test_a_scratch_folder_on_disk_is_looked_at(tmp_path, level):
    (tmp_path / "scratch").mkdir()
    for number in range(1025):
        (tmp_path / "scratch" / str(number)).touch()
    found = broken(tmp_path, of(), level=level, scratch=str(tmp_path / "scratch"))
    said = ["crashed", "more than 16 MB or 1024 files in its scratch folder"]
    assert found == (None if level == "namespaces" else said)


def test_a_scratch_folder_holds_so_much(tmp_path):
    for number in range(1023):
        (tmp_path / str(number)).touch()
    (tmp_path / "large").write_bytes(bytes(16 * 2**20 - 4096 * 8))
    assert not fork_server._too_much(str(tmp_path))
    (tmp_path / "large").write_bytes(bytes(16 * 2**20 + 4096))
    assert fork_server._too_much(str(tmp_path))
    (tmp_path / "large").write_bytes(b"")
    assert not fork_server._too_much(str(tmp_path))
    (tmp_path / "one more").touch()
    assert fork_server._too_much(str(tmp_path))


def test_a_scratch_folder_is_so_deep(tmp_path):
    place = tmp_path
    for _ in range(32):
        place /= "d"
        place.mkdir()
    assert not fork_server._too_much(str(tmp_path))
    (place / "d").mkdir()
    assert fork_server._too_much(str(tmp_path))


def test_a_link_is_not_followed_and_a_folder_that_is_gone_is_too_much(tmp_path):
    (tmp_path / "link").symlink_to("/")
    assert not fork_server._too_much(str(tmp_path))
    assert fork_server._too_much(str(tmp_path / "gone"))


def test_a_report_is_one_line_of_json_and_a_reader_that_is_gone_no_error():
    read, write = os.pipe()
    fork_server._report(write, {"error": None})
    assert json.loads(os.read(read, 100)) == {"error": None}
    os.close(read)
    fork_server._report(write, {"error": None})
    os.close(write)


def test_too_many_processes_are_said_with_what_to_do():
    said = fork_server._no_process(OSError(11, "Resource temporarily unavailable"))
    assert said.startswith("the machine starts no process more (Resource temporarily unavailable; ")
    assert said.endswith("or set execution.workers lower")


def test_a_candidate_has_six_descriptors_and_no_other():
    asked, given = os.pipe(), [os.pipe() for _ in range(4)]
    child = os.fork()
    if child == 0:
        os.open("/", os.O_RDONLY)
        fork_server._arrange([asked[0], given[0][1], given[1][1]], given[2][1])
        os.write(1, b"out ")
        os.write(2, b"err")
        os.write(fork_server.RESULT, b"result")
        os.write(fork_server.READY, b"ready")
        opened = sorted(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 (with the descriptor that it opens)
        own = [os.read(0, 1) == b"", os.read(fork_server.REQUEST, 100) == b"request", opened[:6] == list(range(6))]
        os._exit(0 if all(own) and len(opened) == 7 else 1)
    os.write(asked[1], b"request")
    assert os.waitpid(child, 0)[1] == 0
    assert [os.read(place[0], 100) for place in given[:3]] == [b"result", b"out err", b"ready"]
    for place in (asked, *given):
        for descriptor in place:
            os.close(descriptor)


def answers_at_once(**given: object) -> tuple[dict, bytes]:
    return given, b"\1\2"


def kept(tmp_path, monkeypatch, training=answers_at_once, **changed) -> tuple[dict, bytes, list[str]]:
    """Be a keeper whose walls, device and training are stand-ins; return (its report, the result, the steps)."""
    steps = tmp_path / "steps"
    steps.touch()
    (tmp_path / "scratch").mkdir(exist_ok=True)

    def step(name: str):
        def write(*given: object) -> None:
            with steps.open("a") as opened:
                opened.write(" ".join([name, *map(str, given)]) + "\n")

        return write

    monkeypatch.setattr(isolation, "confine", lambda order: step("walls")(order["level"]) or step("close"))
    monkeypatch.setattr(warm_up, "take_a_step", step("step"))
    monkeypatch.setattr(warm_up, "start_threads", step("threads"))
    monkeypatch.setattr(train_candidate, "judge", training)
    pipes = [os.pipe() for _ in range(3)]
    asked = os.memfd_create("request")
    os.write(asked, json.dumps({"nonce": "ab" * 16, "program": "p", "device": "d"}).encode())
    os.lseek(asked, 0, os.SEEK_SET)
    order = ORDER | {"level": "landlock", "cpu_s": 100, "timeout_s": 60, "device": "cuda:0", "memory_mb": 10**5}
    order["scratch"] = str(tmp_path / "scratch")
    child = os.fork()
    if child == 0:
        fork_server.keep(order | changed, [asked, *(pipe[1] for pipe in pipes)], {"mean": 0.5})
    for descriptor in (asked, *(pipe[1] for pipe in pipes)):
        os.close(descriptor)
    found = []
    for end, _ in pipes:
        with open(end, "rb") as opened:
            found.append(opened.read())
    os.waitpid(child, 0)
    return json.loads(found[2]), found[0], steps.read_text().splitlines()


def test_a_keeper_reports_how_its_candidate_ended_and_the_result_comes_under_the_nonce(tmp_path, monkeypatch):
    report, result, steps = kept(tmp_path, monkeypatch)
    header = json.dumps({"program": "p", "device": "d", "data": {"mean": 0.5}}).encode()
    assert result == bytes.fromhex("ab" * 16) + len(header).to_bytes(4, "little") + header + b"\1\2"
    assert (report["error"], report["stopped"], report["status"]) == (None, None, 0)
    assert 0 <= report["cpu_s"] < 60 and 0 < report["wall_s"] < 60 and 10 < report["peak_mb"] < 10**5
    assert set(report["limits"]) >= {"RLIMIT_CPU", "RLIMIT_NOFILE"} and steps == ["walls landlock", "threads 3"]


def test_a_gpu_is_started_before_the_walls_close_and_tried_behind_them(tmp_path, monkeypatch):
    report, _, steps = kept(tmp_path, monkeypatch, gpu=True)
    assert report["error"] is None
    assert steps == ["walls landlock", "step cuda:0", "close", "threads 3", "step cuda:0"]


def test_a_share_of_a_card_that_nobody_measures_is_no_outcome(tmp_path, monkeypatch):
    def meter(uuid: str):
        raise gpu_memory.Unmeasured(f"no {uuid}")

    monkeypatch.setattr(gpu_memory, "meter", meter)
    report, result, steps = kept(tmp_path, monkeypatch, card={"uuid": "f00", "mb": 50})
    why = "what a candidate holds on a card that it shares is not measured (no f00): set run.workers to auto"
    assert (report, result, steps) == ({"error": why}, b"", [])
    monkeypatch.setattr(gpu_memory, "meter", lambda uuid: lambda process: None)
    report, _, _ = kept(tmp_path, monkeypatch, card={"uuid": "f00", "mb": 50})
    assert report == {"error": why.replace("no f00", "NVML does not show its process")}


def test_a_training_that_goes_on_for_too_long_is_ended(tmp_path, monkeypatch):
    report, result, _ = kept(tmp_path, monkeypatch, lambda **_: time.sleep(60), timeout_s=0.3)
    assert (report["stopped"], report["status"], result) == (["timeout", "still at work after 0.3 s"], -9, b"")
