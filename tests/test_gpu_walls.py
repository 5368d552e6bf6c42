"""The walls let a GPU's driver start and close behind it: with a stand-in that does what the driver was seen to do."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import stand_in
import yaml
from small_data import write_few_digits

from archloop import evaluate, options, seccomp, trial, walls
from archloop.errors import InputError
from archloop.evaluate import Judge
from archloop.seed_programs import family_programs
from archloop.settings import complete

HONEST = family_programs("plain")[0].program


@pytest.fixture(scope="module")
def settings(root):
    whole = complete(yaml.safe_load((root / "config" / "test.yaml").read_text()))
    return whole["evaluation"] | {"timeout_s": 60}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_few_digits(tmp_path_factory.mktemp("data") / "digits.safetensors")


@pytest.fixture(scope="module")
def device():
    """A file like that of a GPU: a device, which answers every ioctl with ENOTTY once the walls let it through."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "nvidia0"
        try:
            os.mknod(path, 0o20666, os.makedev(1, 3))
            os.close(os.open(path, os.O_RDWR))
        except OSError as error:
            pytest.skip(f"no device can be made here ({error})")
        yield str(path)


@pytest.fixture
def judged(digits, settings, device, monkeypatch):
    """Return a function that judges an honest program behind the walls for a GPU, with the stand-in's start."""

    def judge(level: str, fault: str = "", granted: bool = True) -> dict:
        if walls.obstacle(level, gpu=True):
            pytest.skip(walls.obstacle(level, gpu=True))
        monkeypatch.setattr(evaluate, "SERVER", stand_in.server(device, fault))
        monkeypatch.setattr(walls, "gpu_devices", lambda: [device] if granted else [])
        with Judge(digits, "cpu", level) as opened:
            opened.gpu = True
            opened.readable += [str(Path(__file__).parent)]
            return opened.judge(HONEST, settings, 1)

    return judge


@pytest.mark.parametrize("level", walls.LEVELS)
def test_a_driver_starts_behind_the_walls(judged, level):
    record = judged(level)
    assert (record["outcome"], record["isolation"]) == ("trained", level), record


@pytest.mark.parametrize(
    ("fault", "granted", "says"),
    [
        ("connect", True, r"the start of the device failed \(PermissionError.*gpu_walls.py says which wall it is"),
        ("late name", True, "a training step behind the closed walls failed .*PermissionError"),
        ("", False, r"the start of the device failed \(PermissionError"),
    ],
)
def test_a_driver_that_a_wall_stops_fails_the_job_and_says_at_which_step(judged, fault, granted, says):
    with pytest.raises(InputError, match=f"cannot judge at level landlock: {says}") as caught:
        judged("landlock", fault, granted)
    assert "\n" not in str(caught.value)


MASKED = """
from archloop import walls
assert walls.obstacle("namespaces") is None, walls.obstacle("namespaces")
print(walls.obstacle("namespaces", gpu=True), "|", walls.choose_level("auto", gpu=True))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="hides a part of /proc, as containers do")
def test_where_a_container_masks_proc_a_gpu_goes_behind_landlock(root):
    code = f"mount -t tmpfs -o ro tmpfs /proc/tty && exec {shlex.join([sys.executable, '-c', MASKED])}"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", code]
    environment = {"PYTHONPATH": str(root / "scripts"), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if "AssertionError" in done.stderr or not walls.landlock.abi():
        pytest.skip(done.stderr[-200:])
    assert done.stdout == "[Errno 1] mount of proc: Operation not permitted | landlock\n", done.stderr


def test_nobody_receives_over_the_drivers_socket_where_landlock_scopes_none(digits, settings, monkeypatch, root):
    """Before its ABI 6 any process of the machine could connect to it; the candidate still has no way to accept."""
    patched = "from archloop import landlock; landlock.abi = lambda: 5\njudge_server.main()"
    monkeypatch.setattr(evaluate, "SERVER", stand_in.server("").replace("judge_server.main()", patched))
    attack = (root / "tests" / "hostile" / "programs" / "gpu_sockets.py").read_text()
    with Judge(digits, "cpu", "landlock") as judge:
        judge.gpu = True
        record = judge.judge(attack, settings, 1, static=False)
    assert record["outcome"] == "trained" and "BREACH" not in record["log"], record


def test_a_trial_says_which_wall_keeps_a_driver_out(monkeypatch):
    given = {name: rule.get("default") for name, rule in options.section("evaluation").items()}
    own = stand_in.server("", "late name").replace("\njudge_server.main()", "; judge_server.main()")
    monkeypatch.setattr(evaluate, "SERVER", own)
    monkeypatch.setattr(
        trial, "LEFT_OUT", {name: trial.LEFT_OUT[name] for name in ("no wall", "the limits", "Landlock")}
    )
    found = list(trial.which_wall("cpu", given | {"parameter_budget": 10**6}, ("landlock",), as_gpu=True))
    assert [(left_out, "trouble" in each) for _, left_out, each in found] == [
        ("no wall", True),
        ("the limits", True),
        ("Landlock", False),
    ]
    assert own == evaluate.SERVER


def runs(code: bytes, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Return what a filter says of a system call of x86_64: its program, run step by step."""
    import struct

    steps = [struct.unpack("<HBBI", code[at : at + 8]) for at in range(0, len(code), 8)]
    data = struct.pack("<IIQ6Q", number, 0xC000003E, 0, *arguments, *[0] * (6 - len(arguments)))
    at = word = 0
    while True:
        operation, yes, no, value = steps[at]
        at += 1
        if operation == seccomp._LOAD:
            word = struct.unpack_from("<I", data, value)[0]
        elif operation == seccomp._AND:
            word &= value
        elif operation == seccomp._RETURN:
            return value
        else:
            tests = {seccomp._JUMP_EQUAL: word == value, seccomp._JUMP_SET: bool(word & value)}
            tests[seccomp._JUMP_GREATER_EQUAL] = word >= value
            at += yes if tests[operation] else no


SOCKET, BIND, LISTEN, CONNECT, ACCEPT, RECEIVE, UNLINK, MEMFD, IOCTL, PRCTL = 41, 49, 50, 42, 288, 47, 87, 319, 16, 157


def test_the_filter_of_the_start_allows_a_listening_unix_socket_and_no_other():
    start = seccomp.filter_program("x86_64", 7, gpu=True, removing=True, starting=True)
    allowed = [(SOCKET, (1, 5)), (BIND, ()), (LISTEN, ()), (MEMFD, ()), (UNLINK, ()), (PRCTL, (4, 0))]
    assert all(runs(start, *call) == seccomp._ALLOW for call in allowed)
    denied = [(SOCKET, (2, 1)), (SOCKET, (16, 3)), (CONNECT, ()), (ACCEPT, ()), (RECEIVE, ()), (53, (1, 1))]
    assert all(runs(start, *call) == seccomp._DENY for call in denied)


def test_the_lasting_filter_takes_back_what_the_start_needs():
    lasting = seccomp.filter_program("x86_64", 7, gpu=True, removing=False)
    taken = [
        (SOCKET, (1, 5)),
        (BIND, ()),
        (LISTEN, ()),
        (MEMFD, ()),
        (UNLINK, ()),
        (PRCTL, (4, 1)),
        (317, (1, 1)),
        (446, ()),
    ]
    assert all(runs(lasting, *call) == seccomp._DENY for call in taken)


@pytest.mark.parametrize("number", [0xC020462A, 0x4646C9, 0xC004465E, 37, 75, 0x30000001, 0x5401])
def test_calls_of_the_driver_that_computing_needs_are_allowed(number):
    assert runs(seccomp.filter_program("x86_64", 7, True, False), IOCTL, (3, number)) == seccomp._ALLOW
    if number != 0x5401:
        assert runs(seccomp.filter_program("x86_64", 7, False, False), IOCTL, (3, number)) == seccomp._DENY


@pytest.mark.parametrize("number", [62, 63, 0x5412, 0x541C, 0xC0204654, 0xC020472A, 0x125D])
def test_other_calls_of_devices_are_refused_or_by_choice_logged(number):
    assert runs(seccomp.filter_program("x86_64", 7, True, False), IOCTL, (3, number)) == seccomp._DENY
    logging = seccomp.filter_program("x86_64", 7, True, False, log_unlisted=True)
    terminal = number in seccomp._TERMINAL_INPUT
    assert runs(logging, IOCTL, (3, number)) == (seccomp._DENY if terminal else seccomp._LOG)


def test_a_job_keeps_the_gpus_that_it_was_given(monkeypatch, digits, settings):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1c2d")
    looks = HONEST.replace("super().__init__()", "super().__init__(); import os; print('has', dict(os.environ))", 1)
    with Judge(digits, "cpu", "landlock") as opened:
        log = opened.judge(looks, settings, 1, static=False)["log"]
    assert re.search("'CUDA_VISIBLE_DEVICES': 'MIG-1c2d'", log), log
