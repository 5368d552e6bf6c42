"""Landlock by the version of it that a kernel has: what is asked of each, spelled out from landlock(7)."""

import ctypes
import subprocess
import sys

import pytest

from archloop.sandbox import landlock

# Rights on files: version 1 has 13, 2 adds REFER, 3 TRUNCATE, 5 IOCTL_DEV.
FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF, 6: 0xFFFF, 7: 0xFFFF, 8: 0xFFFF, 9: 0xFFFF}
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = 1, 2, 4, 8, 16, 32
MAKE_DIR, MAKE_REG, TRUNCATE, IOCTL_DEV = 0x80, 0x100, 0x4000, 0x8000


class Kernel:
    """A libc whose kernel has a version of Landlock, or none, and writes down what it is asked for."""

    def __init__(self, version: int, refuses: int = 0):
        self.version, self.refuses, self.rulesets, self.rules, self.restricted = version, refuses, [], [], []

    def syscall(self, number, *arguments):
        if number == self.refuses and arguments[0] is not None:
            return -1
        if number == 444 and arguments[0] is None:
            assert (arguments[1].value, arguments[2]) == (0, 1)  # LANDLOCK_CREATE_RULESET_VERSION
            return self.version or -1
        if number == 444:
            words = (ctypes.c_uint64 * 3).from_buffer_copy(arguments[0]._obj)
            self.rulesets.append((*words, arguments[1].value, arguments[2]))
            return landlock.os.open("/dev/null", 0)
        if number == 445:
            assert (arguments[1], arguments[3]) == (1, 0)  # LANDLOCK_RULE_PATH_BENEATH
            assert ctypes.sizeof(arguments[2]._obj) == 12
            rule = arguments[2]._obj
            self.rules.append((landlock.os.readlink(f"/proc/self/fd/{rule.folder}"), rule.allowed))
            return 0
        assert number == 446
        self.restricted.append(arguments[1])
        return 0


@pytest.fixture
def kernel(monkeypatch):
    def make(version: int, refuses: int = 0) -> Kernel:
        kernel_stand_in = Kernel(version, refuses)
        monkeypatch.setattr(landlock.ctypes, "CDLL", lambda *_, **__: kernel_stand_in)
        return kernel_stand_in

    return make


@pytest.mark.parametrize("version", FILES)
def test_every_version_is_asked_for_all_that_it_has(kernel, version):
    asked = kernel(version)
    landlock.restrict([])
    network = 3 if version >= 4 else 0  # bind and connect
    scoped = 3 if version >= 6 else 0  # abstract sockets and signals
    size = 8 if version < 4 else 16 if version < 6 else 24
    assert asked.rulesets == [(FILES[version], network, scoped, size, 0)]
    assert asked.restricted == [8 if version >= 8 else 0]  # all threads


@pytest.mark.parametrize("version", [0, 1, 9])
def test_the_version_is_that_of_the_kernel_and_none_is_0(kernel, version):
    kernel(version)
    assert landlock.abi() == version


def test_rights_are_those_that_the_kernel_knows_and_that_a_file_can_have(kernel, tmp_path):
    (tmp_path / "file").touch()
    grants = [(str(tmp_path), 0xFFFF), (str(tmp_path / "file"), 0xFFFF), (str(tmp_path / "absent"), 0xFFFF)]
    on_a_file = EXECUTE | WRITE_FILE | READ_FILE
    for version, more in ((2, 0), (3, TRUNCATE), (5, TRUNCATE | IOCTL_DEV)):
        asked = kernel(version)
        landlock.restrict(grants)
        assert asked.rules == [(str(tmp_path), FILES[version]), (str(tmp_path / "file"), on_a_file | more)]


def test_reading_and_writing_are_these_rights():
    assert landlock.READ == EXECUTE | READ_FILE | READ_DIR
    rights = EXECUTE | READ_FILE | READ_DIR | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
    assert rights == landlock.READ_WRITE
    assert landlock.IOCTL_DEV == IOCTL_DEV


@pytest.mark.parametrize(
    ("number", "says"), [(444, "makes no ruleset"), (445, "takes no rule for /"), (446, "does not restrict")]
)
def test_a_kernel_that_refuses_is_an_error(kernel, number, says):
    kernel(6, refuses=number)
    with pytest.raises(OSError, match=says):
        landlock.restrict([("/", landlock.READ)])


CONFINED = """
import ctypes, os, socket, sys
from archloop.sandbox import landlock
before, (scratch, readable) = len(os.listdir("/proc/self/fd")), sys.argv[1:]
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
held = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
landlock.restrict([(readable, landlock.READ), (scratch, landlock.READ_WRITE)])
os.chdir(scratch)
steps = {
    "write": lambda: open("new", "w").write("x"), "empty": lambda: os.truncate("new", 0), "remove": lambda:
    os.unlink("new"), "mkdir": lambda: os.mkdir("folder"), "rmdir": lambda: os.rmdir("folder"),
    "read": lambda: open(f"{readable}/file").read(), "list": lambda: os.listdir(readable),
    "link": lambda: os.symlink("a", "b"), "fifo": lambda: os.mkfifo("c"),
    "write there": lambda: open(f"{readable}/file", "r+"), "empty there": lambda: os.truncate(f"{readable}/file", 0),
    "make there": lambda: open(f"{readable}/new", "w"), "read elsewhere": lambda: open("/etc/passwd"),
    "list elsewhere": lambda: os.listdir("/"), "call": lambda: socket.create_connection(("127.0.0.1", 9)),
}
for name, step in steps.items():
    try:
        step()
        print(name)
    except PermissionError:
        print("no", name)
print(len(os.listdir(held)) - before - 1, "descriptors more")
"""
GRANTED = ["write", "empty", "remove", "mkdir", "rmdir", "read", "list"]
DENIED = ["link", "fifo", "write there", "empty there", "make there", "read elsewhere", "list elsewhere", "call"]


@pytest.mark.skipif(landlock.abi() < 4, reason="the kernel has no Landlock, or an early one")
def test_the_scratch_folder_is_all_that_is_left_for_writing(tmp_path, root):
    for name in ("scratch", "readable"):
        (tmp_path / name).mkdir()
    (tmp_path / "readable" / "file").write_text("kept")
    command = [sys.executable, "-c", CONFINED, str(tmp_path / "scratch"), str(tmp_path / "readable")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    wanted = [*GRANTED, *(f"no {name}" for name in DENIED), "0 descriptors more"]
    assert done.stdout.splitlines() == wanted, done.stderr
    assert (tmp_path / "readable" / "file").read_text() == "kept"


UNASKED = """
from archloop.sandbox import landlock, namespaces
namespaces.drop_capabilities()
try:
    landlock.restrict([])  # without no_new_privs
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not landlock.abi(), reason="the kernel has no Landlock")
def test_what_the_kernel_refuses_is_told_with_its_reason(root):
    command, environment = [sys.executable, "-c", UNASKED], {"PYTHONPATH": str(root / "scripts")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == "[Errno 1] Landlock does not restrict\n", done.stderr
