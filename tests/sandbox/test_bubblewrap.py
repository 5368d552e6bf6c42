"""Bubblewrap: what it is told to bind and how, whether it works here, and a judge behind it."""

import concurrent.futures
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from archloop import python_command
from archloop.errors import InputError
from archloop.evaluation.judge import Judge
from archloop.families.programs import family_programs
from archloop.sandbox import isolation

LIBRARY = str(python_command.LIBRARY)
START = ["--unshare-all", "--die-with-parent", "--new-session", "--dev", "/dev", "--proc", "/proc"]


@pytest.fixture
def places(tmp_path) -> dict[str, str]:
    """Folders of a name each, and `link`, which leads to one of them."""
    for name in ("python", "data", "scratch", "python/secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("python")
    return {path.name: str(path) for path in (*tmp_path.iterdir(), tmp_path / "python" / "secret")}


def pairs(command: list[str]) -> list[tuple[str, ...]]:
    """Return the options of a command of bubblewrap with their values, after those of its start."""
    assert command[0].endswith("bwrap") and command[1 : 1 + len(START)] == START
    rest, arguments = command[1 + len(START) :], []
    for word in rest:
        if word.startswith("--"):
            arguments.append((word,))
        else:
            arguments[-1] += (word,)
    return arguments


def test_the_scratch_folder_alone_can_be_written_to(places):
    readable = [places["python"], places["data"], places["link"]]
    command = isolation.bubblewrap_command(readable, (places["scratch"],), False, [places["secret"]])
    bound = [("--ro-bind", places[name], places[name]) for name in ("data", "python")]
    assert sorted(pairs(command)) == sorted(
        [
            *bound,
            ("--ro-bind", LIBRARY, LIBRARY),
            ("--symlink", "python", places["link"]),
            ("--tmpfs", places["secret"]),
            ("--bind", places["scratch"], places["scratch"]),
        ]
    )


def test_what_is_hidden_is_covered_after_what_holds_it(places):
    arguments = pairs(isolation.bubblewrap_command([places["python"]], (), False, [places["secret"]]))
    assert arguments.index(("--tmpfs", places["secret"])) > arguments.index(
        ("--ro-bind", places["python"], places["python"])
    )


def test_a_gpus_files_are_there_where_it_is_asked_for_alone(places, monkeypatch):
    monkeypatch.setattr(isolation, "gpu_devices", lambda: ["/dev/nvidia0"])
    device = ("--dev-bind", "/dev/nvidia0", "/dev/nvidia0")
    with_one, without = (pairs(isolation.bubblewrap_command([places["data"]], (), gpu)) for gpu in (True, False))
    assert device in with_one and device not in without
    more = {pair for pair in with_one if pair not in without} - {device}
    assert {pair[-1] for pair in more} == {path for path in isolation.GPU_SYSTEM if os.path.lexists(path)}
    assert {pair[0] for pair in more} <= {"--ro-bind", "--symlink"}


def bwrap(folder: Path, lines: str) -> None:
    (folder / "bwrap").write_text(f"#!/bin/sh\n{lines}\n")
    (folder / "bwrap").chmod(0o755)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("exit 0", None),
        ("echo first >&2; echo no namespaces here >&2; exit 1", "no namespaces here"),
        ("exit 3", "it ended without a word"),
    ],
)
def test_bubblewrap_works_where_a_trial_of_it_ends_well(tmp_path, monkeypatch, lines, reason):
    bwrap(tmp_path, lines)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isolation.obstacle.__wrapped__("bubblewrap") == reason


def test_a_trial_in_which_the_library_is_missing_is_no_fault_of_bubblewrap(tmp_path, monkeypatch):
    bwrap(tmp_path, "echo \"ModuleNotFoundError: No module named 'archloop'\" >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="fix the environment"):
        isolation.obstacle.__wrapped__("bubblewrap")


def test_what_bubblewrap_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isolation.obstacle.__wrapped__("bubblewrap") == "bwrap is not installed"
    bwrap(tmp_path, "exit 0")
    monkeypatch.setattr(isolation.landlock, "abi", lambda: 0)
    assert isolation.obstacle.__wrapped__("bubblewrap") == "the kernel has no Landlock"
    monkeypatch.setattr(isolation.seccomp, "supported", lambda: False)
    assert isolation.obstacle.__wrapped__("bubblewrap") == "no seccomp filters"


def why_not() -> str:
    """Return why bubblewrap itself does not run here, without asking the code under test."""
    if not shutil.which("bwrap"):
        return "bwrap is not installed"
    tried = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    return tried.stderr.strip()


needs_bubblewrap = pytest.mark.skipif(
    bool(why_not()) or not isolation.landlock.abi(), reason=why_not() or "no Landlock"
)


@needs_bubblewrap
def test_bubblewrap_that_works_has_no_obstacle():
    assert isolation.obstacle("bubblewrap") is None


def test_a_judge_lets_a_candidate_write_to_its_scratch_folder_alone(digits, settings, monkeypatch):
    commands = []

    def start(command, **_):
        commands.append(command)
        raise ChildProcessError

    monkeypatch.setattr(isolation, "choose_level", lambda *_: "bubblewrap")
    with Judge(digits, "cpu", "bubblewrap") as judge:
        monkeypatch.setattr(subprocess, "Popen", start)
        with pytest.raises(ChildProcessError):
            judge.train_once("", settings, 1, "cpu")
    options = commands[0][: commands[0].index("--")]
    written = [options[at + 1] for at, word in enumerate(options) if word in ("--bind", "--dev-bind")]
    assert [Path(path).name for path in written] == ["scratch"] and written[0].startswith(str(judge.folder))
    read = [options[at + 1] for at, word in enumerate(options) if word == "--ro-bind"]
    assert str(judge.data) in read and LIBRARY in read and not any(path.endswith("scratch") for path in read)


HONEST = family_programs("plain")[0].program
# With something to do first, in the folder of a judge: others' scratch folders, its data, the machine.
ATTACK = """super().__init__()
        import os
        data = "../../data"
        for path in ("../new", "../../new", f"{data}/data.safetensors", f"{data}/metadata.json", "/new", "/tmp/new"):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
                print("BREACH", path)
            except OSError:
                print("denied", path)"""


@needs_bubblewrap
def test_candidates_at_the_same_time_have_the_usual_score_and_do_not_touch_each_other_or_the_data(digits, settings):
    programs = [HONEST, HONEST.replace("super().__init__()", ATTACK, 1)]
    assert programs[0] != programs[1]
    with Judge(digits, "cpu", "bubblewrap") as one, Judge(digits, "cpu", "none") as other:
        before = (one.data / "data.safetensors").read_bytes()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            records = list(pool.map(lambda program: one.judge(program, settings, 1, static=False), programs))
        assert one.server is None  # each had its own
        assert (one.data / "data.safetensors").read_bytes() == before
        usual = other.judge(HONEST, settings, 1)
    assert [record["isolation"] for record in records] == ["bubblewrap"] * 2
    assert [record["accuracy"] for record in records] == [usual["accuracy"]] * 2 and usual["accuracy"]
    assert "BREACH" not in records[1]["log"] and "denied ../new" in records[1]["log"]
