"""A process in namespaces of its own: what it sees, what it can write, and what it may do no more."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from archloop.sandbox.isolation import kernel
from archloop.sandbox.namespaces import outermost


def works() -> bool:
    """Say whether unshare(1) makes namespaces here, without asking the code under test."""
    options = ("--user", "--map-current-user", "--pid", "--mount", "--fork")
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", *options, "true"]).returncode == 0


needs_namespaces = pytest.mark.skipif(not works(), reason="unshare(1) makes no namespaces here")
INSIDE = """
import encodings.idna, errno, json, os, socket, sys
from archloop.sandbox import namespaces
base, shown, link, processes, old_kernel = sys.argv[1:]
if old_kernel:
    namespaces.MOUNT_SETATTR = 100_000  # a system call that no kernel has
found = {}

def outcome(step):
    try:
        value = step()
        return value if isinstance(value, (int, list, str)) else "done"
    except OSError as error:
        return errno.errorcode[error.errno]

def fill():
    with open("large", "wb", buffering=0) as opened:
        written = 0
        while True:
            try:
                written += opened.write(bytes(2**16))
            except OSError:
                return written

def make_files():
    for number in range(100):
        try:
            os.mkdir(str(number))
        except OSError:
            return number

def inside():
    found["in its folder"] = os.getcwd()
    found["root"] = sorted(os.listdir("/"))
    found["above the root"] = sorted(os.listdir("/..")) == found["root"]
    found["devices"] = sorted(os.listdir("/dev"))
    found["read"] = outcome(lambda: open(f"{shown}/file").read())
    found["by the link"] = outcome(lambda: open(f"{link}/file").read())
    found["write there"] = outcome(lambda: open(f"{shown}/file", "w"))
    found["write below"] = outcome(lambda: open(f"{shown}/below/new", "w"))
    found["read mounted"] = outcome(lambda: open(f"{shown}/mounted/file").read())
    found["write mounted"] = outcome(lambda: open(f"{shown}/mounted/file", "w"))
    kept = {"/": 7, shown: 3, f"{shown}/mounted": 3, "/scratch": 6}  # of read-only 1, no set-user-ID 2, no devices 4
    found["flags"] = [os.statvfs(path).f_flag & flags == flags for path, flags in kept.items()]
    found["write at the root"] = outcome(lambda: open("/new", "w"))
    found["write to nothing"] = outcome(lambda: open("/dev/null", "w").write("x"))
    found["files"] = make_files()
    for number in range(found["files"]):
        os.rmdir(str(number))
    found["bytes"] = fill()
    namespaces.cover(f"{shown}/covered")
    found["covered"] = outcome(lambda: os.listdir(f"{shown}/covered"))
    found["write covered"] = outcome(lambda: open(f"{shown}/covered/new", "w"))
    found["flags covered"] = os.statvfs(f"{shown}/covered").f_flag & 7
    found["interfaces"] = [name for _, name in socket.if_nameindex()]
    found["call"] = outcome(lambda: socket.create_connection(("127.0.0.1", 9), 1))
    found["host name before"] = outcome(lambda: socket.sethostname("own"))
    if processes:
        found["processes"] = sorted(name for name in os.listdir("/proc") if name.isdigit())
        found["kernel"] = outcome(lambda: open("/proc/sys/kernel/hostname", "w").write("x"))
        found["own name"] = outcome(lambda: open("/proc/self/comm", "w").write("own"))
        close = namespaces.own_folder_closer()
    namespaces.drop_capabilities()
    if processes:
        close()
        found["own name after"] = outcome(lambda: open("/proc/self/comm", "w"))
        status = open("/proc/self/status").read().splitlines()
        found["capabilities"] = sorted({int(line.split()[1], 16) for line in status if line.startswith("Cap")})
    found["host name after"] = outcome(lambda: socket.sethostname("own"))
    found["mount after"] = outcome(lambda: namespaces.mount("tmpfs", shown, "tmpfs", 0))

told, tell = os.pipe()
users = os.geteuid(), os.getegid()
namespaces.leave()
child = os.fork()
if child == 0:
    os.close(told)
    try:
        found["pid"] = os.getpid()
        devices = ["/dev/null", "/dev/absent"]
        scratch = namespaces.Scratch("/scratch", megabytes=1, files=20)
        namespaces.libc.unshare(namespaces.NEW_MOUNT)
        namespaces.mount("tmpfs", f"{shown}/mounted", "tmpfs", 0)
        open(f"{shown}/mounted/file", "w").write("mounted")
        own = os.open("/proc/self/ns", os.O_RDONLY)
        before = [os.readlink(name, dir_fd=own) for name in ("mnt", "cgroup")]
        namespaces.build_root(base, [shown, f"{shown}/below", link], devices, scratch, bool(processes))
        after = [os.readlink(name, dir_fd=own) for name in ("mnt", "cgroup")]
        found["namespaces of its own"] = [one != two for one, two in zip(before, after)]
        inside()
        found["same users"] = (os.geteuid(), os.getegid()) == users
    except BaseException as error:
        found["error"] = repr(error)
    os.write(tell, json.dumps(found).encode())
    os._exit(0)
os.close(tell)
print(os.read(told, 1 << 16).decode())
os.waitpid(child, 0)
"""


def seen(tmp_path, root, processes: str = "", old_kernel: str = "") -> dict:
    """Return what a process finds behind its namespaces: a folder that it is shown, a link to it, /dev/null."""
    for name in ("base", "a/shown/below", "a/shown/covered", "a/shown/mounted", "hidden"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a/shown/file", "a/shown/covered/secret", "hidden/file"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "link").symlink_to("a/shown")
    places = [str(tmp_path / name) for name in ("base", "a/shown", "link")]
    command = [sys.executable, "-c", INSIDE, *places, processes, old_kernel]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "shown" / "file").read_text() == "kept" and not os.listdir(tmp_path / "base")  # noqa: PTH208
    return json.loads(done.stdout)


# Earlier kernels make the topmost mount alone read-only.
RECURSIVE = kernel() >= (5, 12)
EXPECTED = {
    "pid": 1,
    "in its folder": "/scratch",
    "above the root": True,
    "namespaces of its own": [True, True],
    "devices": ["null"],
    "read": "kept",
    "by the link": "kept",
    "write there": "EROFS",
    "write below": "EROFS",
    "read mounted": "mounted",
    "write mounted": "EROFS" if RECURSIVE else "done",
    "flags": [True, True, RECURSIVE, True],
    "write at the root": "EROFS",
    "write to nothing": 1,
    "files": 19,  # of 20 inodes one is the folder's own
    "bytes": 2**20,
    "covered": [],
    "write covered": "EROFS",
    "flags covered": 7,
    "interfaces": ["lo"],
    "call": "ENETUNREACH",
    "host name before": "done",
    "host name after": "EPERM",
    "mount after": "EPERM",
    "same users": True,
}


@needs_namespaces
def test_a_process_sees_what_it_is_shown_and_writes_to_its_scratch_folder_alone(tmp_path, root):
    report = seen(tmp_path, root)
    assert report.pop("root") == sorted({"dev", "scratch", tmp_path.parts[1]})
    assert report == EXPECTED


@needs_namespaces
def test_a_kernel_before_5_12_makes_the_topmost_mount_read_only(tmp_path, root):
    report = seen(tmp_path, root, old_kernel="5.11")
    del report["root"]
    assert report == EXPECTED | {"write mounted": "done", "flags": [True, True, False, True]}


@needs_namespaces
def test_its_proc_shows_its_own_processes_and_can_be_closed(tmp_path, root):
    report = seen(tmp_path, root, "with /proc")
    if "mount of proc" in report.get("error", ""):
        pytest.skip(report["error"])  # a container that masks parts of /proc
    assert report.pop("root") == sorted({"dev", "proc", "scratch", tmp_path.parts[1]})
    assert report == EXPECTED | {
        "processes": ["1"],
        "kernel": "EROFS",
        "own name": 3,
        "own name after": "EROFS",
        "capabilities": [0],
    }


def test_paths_below_others_come_with_them(tmp_path):
    for name in ("a/b", "ab"):
        (tmp_path / name).mkdir(parents=True)
    paths = [str(tmp_path / name) for name in ("ab", "a/b", "a", "a/", "absent", "a/b/..")]
    assert outermost(paths) == [str(tmp_path / "a"), str(tmp_path / "ab")]
    assert outermost(["/", "/usr"]) == ["/"]


DEEP = """
import os, sys
from archloop.sandbox import namespaces
base, deep, link = sys.argv[1:]
namespaces.leave()
if os.fork() == 0:
    namespaces.build_root(base, [deep, link], [], namespaces.Scratch("/scratch", 1, 20), processes=True)
    close = namespaces.own_folder_closer()
    namespaces.drop_capabilities()
    close()
    flags = os.statvfs(f"/proc/{os.getpid()}").f_flag & 0xF
    print(open(deep).read(), os.readlink(link), open(link).read(), flags, flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@needs_namespaces
def test_a_single_file_or_link_is_shown_however_deep_it_lies_and_a_closed_folder_of_proc_runs_nothing(tmp_path, root):
    (tmp_path / "base").mkdir()
    deep = tmp_path / "some" / "where" / "file"
    deep.parent.mkdir(parents=True)
    deep.write_text("kept")
    link = tmp_path / "else" / "where" / "link"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../some/where/file")
    command = [sys.executable, "-c", DEEP, str(tmp_path / "base"), str(deep), str(link)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    if "mount of proc" in done.stderr:
        pytest.skip(done.stderr[-200:])  # a container that masks parts of /proc
    assert done.stdout == "kept ../../some/where/file kept 15\n", (
        done.stderr
    )  # read-only, no set-user-ID, no devices, no programs


UNCLOSED = """
import os
from archloop.sandbox import namespaces
namespaces.drop_capabilities()
try:
    close = namespaces.own_folder_closer()
except OSError:
    os._exit(0)  # as a candidate's process ends, whatever happens in it
try:
    close()
except OSError as error:
    print(error)
"""


def test_a_folder_of_proc_that_cannot_be_closed_is_an_error_of_the_one_who_asked(root):
    command, environment = [sys.executable, "-c", UNCLOSED], {"PYTHONPATH": str(root / "scripts")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("/proc/") and done.stdout.endswith(" cannot be made read-only\n"), done.stderr
