"""The walls around a candidate's process: which level this machine allows, and how a process goes behind them.

namespaces   user, pid, network, mount, IPC and host name of its own; a root of read-only Python and a scratch folder in
             memory; no capabilities; the list of system calls of seccomp.py; limits.
landlock     the same system calls and limits; Landlock leaves read-only Python and a scratch folder on disk.
bubblewrap   bubblewrap makes the namespaces, for one candidate at a time (some systems allow them to it alone), and
             inside it the walls of level landlock: as strong as namespaces, but torch is imported for every candidate.
none         limits alone. Only when the settings ask for it.

At every level a candidate is one process: fork and exec are denied, so its end is the end of all that it started.
"""

import ctypes
import functools
import os
import resource
import shutil
import signal
import site
import subprocess
import sys
from pathlib import Path

from archloop import landlock, namespaces, seccomp
from archloop.errors import InputError

LEVELS = ("namespaces", "bubblewrap", "landlock")
SCRATCH_MB, SCRATCH_FILES = 16, 1024
MAXIMUM_THREADS, OPEN_FILES = 64, 256
# Inside its namespaces a candidate finds its scratch folder here.
SCRATCH = "/scratch"
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/opt/lib", "/etc/ld.so.cache", "/etc/localtime")
GPU_SYSTEM = ("/sys", "/proc/driver/nvidia", "/etc/nvidia", "/etc/alternatives")


def choose_level(wanted: str) -> str:
    """Return the isolation level to use: `auto` takes the strongest that works here, others are checked.

    Raises InputError, saying what to do, when it does not work here.
    """
    if wanted == "none":
        return wanted
    levels = {"auto": LEVELS, "namespaces": LEVELS[:2]}.get(wanted, (wanted,))
    reasons = []
    for level in levels:
        reason = obstacle(level)
        if reason is None:
            return level
        reasons.append(f"{level}: {reason}")
    where = f"on {os.uname().nodename} ({'; '.join(reasons)})"
    raise InputError(
        f"run.isolation: {wanted} does not work {where}, so nothing is run; allow user namespaces "
        "(sysctl user.max_user_namespaces), install bubblewrap, or use a kernel with Landlock (5.13); "
        "isolation: none would run programs with your rights"
    )


@functools.cache
def obstacle(level: str) -> str | None:
    """Return why a level does not work on this machine, None when it does: it is tried in a process of its own."""
    if not seccomp.supported():
        return "no seccomp filters"
    if level == "landlock":
        return None if landlock.abi() else "the kernel has no Landlock"
    if level == "bubblewrap":
        if not shutil.which("bwrap"):
            return "bwrap is not installed"
        command = [*bubblewrap_command([], gpu=False), "--", sys.executable, "-c", "pass"]
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["bwrap fails"])[-1]
    code = "import sys; from archloop.walls import try_namespaces; try_namespaces(sys.argv[1])"
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": os.defpath}
    command = [sys.executable, "-c", code, scratch_base()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it fails"])[-1]


def try_namespaces(base: str) -> None:
    """Go into namespaces and end; a traceback's last line says why it does not work."""
    namespaces.leave()
    child = os.fork()
    if child == 0:
        try:
            namespaces.build_root(base, readable_paths(), (), SCRATCH, 1, 64)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        os._exit(1)


def confine(level: str, base: str, scratch: str, memory_mb: int, timeout_s: float, threads: int, gpu: bool) -> None:
    """Put the calling process behind the walls for good. Raises OSError when one cannot be built.

    base: an empty folder of the judge, onto which the new root is mounted. scratch: the candidate's folder at the level
    landlock. memory_mb: on top of what the process has; enforced as address space on a CPU (a GPU's driver reserves far
    more than it uses; there the keeper looks at the memory in use).
    """
    mapped = 0 if gpu else int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    devices = [f"/dev/{name}" for name in namespaces.DEVICES] + (_gpu_devices() if gpu else [])
    readable = [*readable_paths(), *(GPU_SYSTEM if gpu else ())]
    if level == "namespaces":
        namespaces.build_root(base, readable, devices, SCRATCH, SCRATCH_MB, SCRATCH_FILES)
    elif level == "landlock":
        os.chdir(scratch)
    if level != "none":
        namespaces.drop_capabilities()
    os.environ.clear()
    home = SCRATCH if level == "namespaces" else scratch
    os.environ.update(PATH="/usr/bin:/bin", HOME=home, TMPDIR=home, LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
    limits = {resource.RLIMIT_CPU: int(timeout_s * threads) + 10}
    limits |= {resource.RLIMIT_AS: mapped + memory_mb * 2**20} if not gpu else {}
    # Counted in the user namespace; elsewhere it would count whatever else the user runs, and the keeper looks instead.
    limits |= {resource.RLIMIT_NPROC: MAXIMUM_THREADS} if level == "namespaces" else {}
    _limit(limits)
    die_with_parent()
    if level == "none":
        return
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: nobody of the same user traces it or reads its memory
    if level == "landlock":
        grants = [(path, landlock.READ) for path in readable]
        grants += [(path, landlock.READ | landlock.WRITE_FILE) for path in devices]
        landlock.restrict([*grants, (scratch, landlock.READ_WRITE)])
    seccomp.install(gpu)


def die_with_parent() -> None:
    """Have the kernel end the calling process when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def readable_paths() -> list[str]:
    """Return what a candidate may read: Python, its libraries, the system's libraries. Not the home folder."""
    paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages(), *SYSTEM]
    home = str(Path.home())
    paths += [path for path in sys.path if path and ("site-packages" in path or "dist-packages" in path)]
    paths += [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path]
    both = [path for name in paths for path in (name, os.path.realpath(name))]
    return [path for path in dict.fromkeys(both) if path not in ("/", home) and os.path.lexists(path)]


def scratch_base() -> str:
    """Return a folder to mount on: it must exist, and what it holds is hidden from the candidate alone."""
    return os.path.realpath(os.environ.get("TMPDIR", "/tmp"))


def bubblewrap_command(bind: list[str], gpu: bool) -> list[str]:
    """Return the command line of bubblewrap up to the program: namespaces, a read-only root, `bind` writable."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--dev", "/dev", "--proc", "/proc"]
    for path in namespaces.outermost([*readable_paths(), *(GPU_SYSTEM if gpu else ()), str(Path(__file__).parents[1])]):
        link = os.path.islink(path)  # noqa: PTH114
        command += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, path]  # noqa: PTH115
    for path in _gpu_devices() if gpu else ():
        command += ["--dev-bind", path, path]
    for path in bind:
        command += ["--bind", path, path]
    return command


def _gpu_devices() -> list[str]:
    return sorted(str(path) for path in Path("/dev").glob("nvidia*"))


def _limit(limits: dict[int, int]) -> None:
    """Set hard limits, those that are always the same too."""
    limits = limits | {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: SCRATCH_MB * 2**20,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing too much is an error of the write, not the end
