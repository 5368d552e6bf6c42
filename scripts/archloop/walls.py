"""The walls around a candidate's process: which level this machine allows, and how a process goes behind them.

namespaces   user, pid, network, mount, IPC and host name of its own; a root of read-only Python and a scratch folder in
             memory; no capabilities; the list of system calls of seccomp.py; limits.
landlock     the same system calls and limits; Landlock leaves read-only Python and a scratch folder on disk.
bubblewrap   bubblewrap makes the namespaces, for one candidate at a time (some systems allow them to it alone), and
             inside it are the walls of level landlock: as strong, but torch is imported for every candidate.
none         limits alone. Only when the settings ask for it.

At every level a candidate is one process: fork and exec are denied, so its end is the end of all that it started.
"""

import contextlib
import ctypes
import functools
import os
import pwd
import resource
import shutil
import signal
import site
import subprocess
import sys
from pathlib import Path

from archloop import landlock, namespaces, own_python, seccomp
from archloop.errors import InputError

LEVELS = ("namespaces", "bubblewrap", "landlock")
SCRATCH_MB, SCRATCH_FILES, SCRATCH_DEPTH = 16, 1024, 32
MAXIMUM_THREADS, OPEN_FILES = 64, 256
# Inside its namespaces a candidate finds its scratch folder here.
SCRATCH = "/scratch"
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/opt/lib", "/etc/ld.so.cache", "/etc/localtime")
PYTHON = ("bin", "lib", "lib64", "pyvenv.cfg")
GPU_SYSTEM = ("/sys", "/proc/driver/nvidia", "/etc/nvidia", "/etc/alternatives")


def choose_level(wanted: str) -> str:
    """Return the isolation level to use: `auto` takes the strongest that works here, others are checked.

    Raises InputError, saying what to do, when it does not work here.
    """
    if wanted == "none":
        return wanted
    if wanted not in ("auto", *LEVELS):
        raise InputError(f"run.isolation: {wanted} is none of auto, {', '.join(LEVELS)}, none")
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
    """Return why a level does not work on this machine, None when it does: it is tried in a process of its own.

    Raises InputError when that process cannot import what it needs: that is a fault of the installation, for which no
    weaker wall is taken.
    """
    if not seccomp.supported():
        return "no seccomp filters"
    if level == "landlock":
        return None if landlock.abi() else "the kernel has no Landlock"
    if level == "bubblewrap":
        if not shutil.which("bwrap"):
            return "bwrap is not installed"
        if not landlock.abi():
            return "the kernel has no Landlock"
        bubblewrap = bubblewrap_command(readable_paths(), (), gpu=False)
        return _try([*bubblewrap, "--", *own_python.run_code("import archloop.walls")])
    code = "from archloop.walls import try_namespaces; try_namespaces(sys.argv[1])"
    return _try(own_python.run_code(code, scratch_base()))


def _try(command: list[str]) -> str | None:
    """Return the last line of complaint of a command that fails, None when it works."""
    # What Python itself may need to start, and nothing that would differ from the judge's process.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    environment = {"PATH": os.defpath} | kept
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode == 0:
        return None
    why = (done.stderr.strip().splitlines() or ["it fails"])[-1]
    if why.startswith(("ModuleNotFoundError:", "ImportError:")):
        raise InputError(f"run.isolation: {sys.executable} cannot try the walls ({why}); mend the environment")
    return why


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


def confine(level: str, readable: list[str], base: str, scratch: str, memory_mb: int, cpu_s: int, gpu: bool) -> None:
    """Put the calling process behind the walls for good. Raises OSError when one cannot be built.

    readable: what it may read. base: an empty folder of the judge, onto which the new root is mounted. scratch: the
    candidate's folder where it has none in memory. cpu_s: processor time that it may take. memory_mb: on top of what
    the process has; enforced as address space on a CPU (a GPU's driver reserves far more than it uses; there the keeper
    looks at the memory in use).
    """
    mapped = 0 if gpu else int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    devices = [f"/dev/{name}" for name in namespaces.DEVICES] + (_gpu_devices() if gpu else [])
    readable = [*readable, *(GPU_SYSTEM if gpu else ())]
    if level == "namespaces":
        namespaces.build_root(base, readable, devices, SCRATCH, SCRATCH_MB, SCRATCH_FILES)
    elif level != "none":
        os.chdir(scratch)
    if level != "none":
        namespaces.drop_capabilities()
    os.environ.clear()
    home = SCRATCH if level == "namespaces" else scratch
    os.environ.update(PATH="/usr/bin:/bin", HOME=home, TMPDIR=home, LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
    limits = {resource.RLIMIT_CPU: cpu_s}
    limits |= {resource.RLIMIT_AS: mapped + memory_mb * 2**20} if not gpu else {}
    # Counted in the user namespace; elsewhere it would count whatever else the user runs, and the keeper looks instead.
    limits |= {resource.RLIMIT_NPROC: MAXIMUM_THREADS} if level == "namespaces" else {}
    _limit(limits)
    die_with_parent()
    if level == "none":
        return
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: nobody of the same user traces it or reads its memory
    if level != "namespaces":
        grants = [(path, landlock.READ) for path in readable]
        grants += [(path, landlock.READ | landlock.WRITE_FILE) for path in devices]
        landlock.restrict([*grants, (scratch, landlock.READ_WRITE)])
    seccomp.install(gpu, removing=level == "namespaces")


def die_with_parent() -> None:
    """Have the kernel end the calling process when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def readable_paths() -> list[str]:
    """Return what a candidate may read: Python, its libraries, the system's libraries.

    Of the folder that Python is installed in only what belongs to Python (it may be the home or the repository), and no
    folder that holds the home.
    """
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    paths = [os.path.join(prefix, name) for prefix in prefixes for name in PYTHON]  # noqa: PTH118
    paths += [
        *site.getsitepackages(),
        *(path for path in sys.path if "site-packages" in path or "dist-packages" in path),
    ]
    paths += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    paths = [os.path.normpath(path) for path in paths if os.path.isabs(path)]  # noqa: PTH117
    both = [path for name in paths for path in (name, os.path.realpath(name)) if not _holds_home(path)]
    both += [path for name in SYSTEM for path in (name, os.path.realpath(name))]
    return [path for path in dict.fromkeys(both) if os.path.lexists(path)]


def _holds_home(path: str) -> bool:
    homes = {os.environ.get("HOME", "/")}
    with contextlib.suppress(KeyError):  # a user without a name, in a container
        homes.add(pwd.getpwuid(os.getuid()).pw_dir)
    homes |= {os.path.realpath(home) for home in homes}
    return any(f"{os.path.normpath(home)}/".startswith(f"{path.rstrip('/')}/") for home in homes)


def check_hidden(path: str | Path) -> None:
    """Raise InputError when a candidate could read what lies at a path, for it is below one that it may read."""
    place = os.path.realpath(path)
    for folder in readable_paths():
        if f"{place}/".startswith(f"{os.path.realpath(folder).rstrip('/')}/"):
            raise InputError(
                f"{path} lies in {folder}, which generated programs may read: move it, or Python, elsewhere"
            )


def scratch_base() -> str:
    """Return a folder to mount on: it must exist, and what it holds is hidden from the candidate alone."""
    return os.path.realpath(os.environ.get("TMPDIR", "/tmp"))


def bubblewrap_command(readable: list[str], writable: tuple[str, ...], gpu: bool) -> list[str]:
    """Return the command line of bubblewrap up to the program: namespaces, and a root of these paths."""
    command = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--new-session"]
    command += ["--dev", "/dev", "--proc", "/proc"]
    for path in namespaces.outermost([*readable, *(GPU_SYSTEM if gpu else ()), str(own_python.LIBRARY)]):
        link = os.path.islink(path)  # noqa: PTH114
        command += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, path]  # noqa: PTH115
    for path in _gpu_devices() if gpu else ():
        command += ["--dev-bind", path, path]
    for path in writable:
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
