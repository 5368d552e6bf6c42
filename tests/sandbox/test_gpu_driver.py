"""The sandbox lets a GPU's driver start and closes behind it: shown by a stand-in that does what drivers do."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import stand_in

import archloop.evaluation.judge
from archloop.errors import InputError
from archloop.evaluation.judge import Judge
from archloop.families.programs import family_programs
from archloop.preflight import trial
from archloop.sandbox import isolation
from archloop.settings import schema
from archloop.settings.sections import Evaluation

HONEST = family_programs("plain")[0].program


@pytest.fixture(scope="module")
def device():
    """A file like that of a GPU: a device, which answers every ioctl with ENOTTY once the sandbox lets it through."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nvidia0"
        try:
            os.mknod(path, 0o20666, os.makedev(1, 3))
            os.close(os.open(path, os.O_RDWR))
        except OSError as error:
            pytest.skip(f"no device can be made here ({error})")
        yield str(path)


@pytest.fixture
def judged(digits, settings, device, monkeypatch):
    """Return a function that judges an honest program in the sandbox for a GPU, with the stand-in's start."""

    def judge_one(level: str, fault: str = "", granted: bool = True) -> dict:
        if isolation.obstacle(level, gpu=True):
            pytest.skip(isolation.obstacle(level, gpu=True))
        monkeypatch.setattr("archloop.evaluation.judge.SERVER", stand_in.server(device, fault))
        monkeypatch.setattr(isolation, "gpu_devices", lambda: [device] if granted else [])
        judge = Judge(digits, "cpu", level)
        judge.gpu = True
        judge.readable += [str(Path(stand_in.__file__).parent)]
        with judge as opened:
            return opened.judge(HONEST, settings, 1)

    return judge_one


@pytest.mark.parametrize("level", isolation.LEVELS)
def test_a_driver_starts_in_the_sandbox(judged, level):
    record = judged(level)
    assert (record["outcome"], record["isolation"]) == ("trained", level), record


@pytest.mark.parametrize(
    ("fault", "granted", "says"),
    [
        (
            "connect",
            True,
            r"the start of the device failed \(PermissionError.*try_isolation.py says which part of the sandbox it is",
        ),
        ("late name", True, "a training step in the closed sandbox failed .*PermissionError"),
        ("", False, r"the start of the device failed \(PermissionError"),
    ],
)
def test_a_driver_that_the_sandbox_stops_fails_the_job_and_says_at_which_step(judged, fault, granted, says):
    with pytest.raises(InputError, match=f"cannot judge at level landlock: {says}") as caught:
        judged("landlock", fault, granted)
    assert "\n" not in str(caught.value)


MASKED = """
from archloop.sandbox import isolation
assert isolation.obstacle("namespaces") is None, isolation.obstacle("namespaces")
print(isolation.obstacle("namespaces", gpu=True), "|", isolation.choose_level("auto", gpu=True))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="hides a part of /proc, as containers do")
def test_where_a_container_masks_proc_a_gpu_goes_behind_landlock(root):
    code = f"mount -t tmpfs -o ro tmpfs /proc/tty && exec {shlex.join([sys.executable, '-c', MASKED])}"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", code]
    environment = {"PYTHONPATH": str(root / "scripts"), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if "AssertionError" in done.stderr or not isolation.landlock.abi():
        pytest.skip(done.stderr[-200:])
    assert done.stdout == "[Errno 1] mount of proc: Operation not permitted | landlock\n", done.stderr


def test_nobody_receives_over_the_drivers_socket_where_landlock_scopes_none(digits, settings, monkeypatch, root):
    """Before its ABI 6 any process of the machine could connect to it; the candidate still has no way to accept."""
    patched = "from archloop.sandbox import landlock; landlock.abi = lambda: 5\nfork_server.main()"
    monkeypatch.setattr("archloop.evaluation.judge.SERVER", stand_in.server("").replace("fork_server.main()", patched))
    attack = (root / "tests" / "hostile" / "programs" / "gpu_sockets.py").read_text()
    with Judge(digits, "cpu", "landlock") as judge:
        judge.gpu = True
        record = judge.judge(attack, settings, 1, static=False)
    assert record["outcome"] == "trained" and "BREACH" not in record["log"], record


def test_a_trial_says_which_part_of_the_sandbox_keeps_a_driver_out(monkeypatch):
    given = {name: rule.get("default") for name, rule in schema.section("evaluation").items()}
    protocol = Evaluation(**given | {"parameter_budget": 10**6})
    server = stand_in.server("", "late name").replace("\nfork_server.main()", "; fork_server.main()")
    monkeypatch.setattr("archloop.evaluation.judge.SERVER", server)
    monkeypatch.setattr(
        trial, "LEFT_OUT", {name: trial.LEFT_OUT[name] for name in (trial.WHOLE, "the limits", "Landlock")}
    )
    trials = list(trial.trials_by_part("cpu", protocol, ("landlock",), as_gpu=True))
    assert [(left_out, each.trouble is not None) for _, left_out, each in trials] == [
        ("nothing", True),
        ("the limits", True),
        ("Landlock", False),
    ]
    assert server == archloop.evaluation.judge.SERVER


def test_a_job_keeps_the_gpus_that_it_was_given(monkeypatch, digits, settings):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1c2d")
    looks = HONEST.replace("super().__init__()", "super().__init__(); import os; print('has', dict(os.environ))", 1)
    with Judge(digits, "cpu", "landlock") as opened:
        log = opened.judge(looks, settings, 1, static=False)["log"]
    assert re.search("'CUDA_VISIBLE_DEVICES': 'MIG-1c2d'", log), log


def test_where_there_is_no_such_gpu_no_level_is_tried():
    with pytest.raises(InputError, match=r"execution\.device: cuda:99, but"):
        next(trial.trials_by_part("cuda:99", trial.trial_protocol(), isolation.LEVELS, as_gpu=False))
