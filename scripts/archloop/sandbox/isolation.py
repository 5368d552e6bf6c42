"""The walls around a candidate's process: which level this machine allows, and how a process goes behind them.

namespaces   user, pid, network, mount, IPC and host name of its own; a root of read-only Python and a scratch folder in
             memory; no capabilities; the list of system calls of seccomp.py; limits.
landlock     the same system calls and limits; Landlock leaves read-only Python and a scratch folder on disk.
bubblewrap   bubblewrap makes the namespaces, for one candidate at a time (some systems allow them to it alone), and
             inside it are the walls of level landlock: as strong, but torch is imported for every candidate.
none         limits alone. Only when the settings ask for it.

At every level a candidate is one process: fork and exec are denied, so its end is the end of all that it started.

Where the device is a GPU the walls stand twice: wider while trusted code starts the device, for its driver listens on a
Unix socket, names its threads through /proc and removes files, and then, before a program is read, as they stay.
"""

import contextlib
import ctypes
import functools
import json
import os
import pwd
import re
import resource
import shutil
import signal
import site
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from archloop import python_command, site_limits
from archloop.errors import InputError
from archloop.sandbox import landlock, namespaces, seccomp

LEVELS = ("namespaces", "bubblewrap", "landlock")
DOES_NOT_WORK = 3  # the status of a trial that the machine refuses
SCRATCH_MB, SCRATCH_FILES, SCRATCH_DEPTH = 16, 1024, 32
MAXIMUM_THREADS, OPEN_FILES = 64, 256
# Inside its namespaces a candidate finds its scratch folder here.
SCRATCH = "/scratch"
SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/bin",
    "/opt/lib",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
PYTHON = ("bin", "lib", "lib64", "pyvenv.cfg")
GPU_SYSTEM = ("/sys", "/proc/driver/nvidia", "/etc/nvidia", "/etc/alternatives")
# Which of a machine's GPUs a job has; the driver reads them at its start.
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
# Since Linux 5.14 a limit on processes counts those of a user namespace apart; before, all that the user runs.
PROCESSES_BY_NAMESPACE = (5, 14)


class Refused(Exception):
    """What the machine does not give a candidate, with what to do: no verdict on its program."""


def bounds(settings: dict) -> dict:
    """Return what one judgement may take: wall and processor time in seconds, memory in MB, threads.

    settings: section evaluation.
    """
    timeout_s = settings["timeout_s"] * settings["repeats"]
    found = {name: settings[name] for name in ("memory_mb", "threads")}
    return found | {"timeout_s": timeout_s, "cpu_s": int(timeout_s * settings["threads"]) + 10}


def choose_level(wanted: str, gpu: bool = False) -> str:
    """Return the isolation level to use: `auto` takes the strongest that works here, others are checked.

    gpu: with what the driver of a GPU needs. Raises InputError, saying what to do, when it does not work here.
    """
    if wanted == "none":
        return wanted
    if wanted not in ("auto", *LEVELS):
        raise InputError(
            f"execution.isolation: {wanted} is none of auto, {', '.join(LEVELS)}, none"
        )
    levels = {"auto": LEVELS, "namespaces": LEVELS[:2]}.get(wanted, (wanted,))
    reasons = []
    for level in levels:
        reason = obstacle(level, gpu)
        if reason is None:
            return level
        reasons.append(f"{level}: {reason}")
    where = f"on {os.uname().nodename} ({'; '.join(reasons)})"
    raise InputError(
        f"execution.isolation: {wanted} does not work {where}, so nothing is run; allow user namespaces "
        "(sysctl user.max_user_namespaces), install bubblewrap, or use a kernel with Landlock (5.13); "
        "isolation: none would run programs with your rights"
    )


@functools.cache
def obstacle(level: str, gpu: bool = False) -> str | None:
    """Return why a level does not work on this machine, None when it does: it is tried in a process of its own.

    Raises InputError when that process itself fails: that is a fault of the installation and says nothing of the
    kernel, so no weaker wall is taken for it.
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
        status, said = _try(
            [*bubblewrap, "--", *python_command.run_code("import archloop.sandbox.isolation")]
        )
        return None if status == 0 else said
    code = "from archloop.sandbox.isolation import try_namespaces; try_namespaces(*sys.argv[1:])"
    status, said = _try(python_command.run_code(code, scratch_base(), "gpu" if gpu else ""))
    if status not in (0, DOES_NOT_WORK):
        raise InputError(
            f"execution.isolation: {sys.executable} cannot try {level} ({said}); mend the environment"
        )
    return None if status == 0 else said


def _try(command: list[str]) -> tuple[int, str]:
    """Run a command as the judge's processes are run; return its status and the last line of its complaint."""
    # What Python itself may need to start, and nothing that would differ from the judge's process.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    environment = {"PATH": os.defpath} | identity("/nonexistent") | kept
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environment
    )
    said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    if done.returncode and said.startswith(("ModuleNotFoundError:", "ImportError:")):
        raise InputError(
            f"execution.isolation: {sys.executable} cannot try the walls ({said}); mend the environment"
        )
    return done.returncode, said


def try_namespaces(base: str, gpu: str) -> None:
    """Go into namespaces and end, with status DOES_NOT_WORK and one line that says why where that does not work."""
    try:
        namespaces.leave()
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        namespaces.build_root(base, readable_paths(), (), SCRATCH, 1, 64, processes=bool(gpu))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(DOES_NOT_WORK)
    os._exit(0)


def identity(home: str) -> dict[str, str]:
    """Return the variables by which libraries choose where to keep things; a user need have neither name nor home."""
    caches = ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
    return {"USER": "archloop", "LOGNAME": "archloop", "HOME": home} | dict.fromkeys(
        caches, f"{home}/cache"
    )


def confine(order: dict) -> Callable[[], None]:
    """Put the calling process behind the walls for good; return what closes them behind the start of a GPU.

    order: level; readable, what it may read; base, an empty folder of the judge, onto which the new root is mounted;
    scratch, the candidate's folder where it has none in memory; cpu_s, the processor time that it may take; memory_mb,
    on top of what the process has, enforced as address space on a CPU (a GPU's driver reserves far more than it uses;
    there the keeper looks at the memory in use); gpu, whether the device is one, devices, its files, and log_unlisted.
    hidden, folders that nobody sees into; grants, a file with what Landlock lets be read and what be listed. Raises
    OSError when a wall cannot be built.
    """
    level, gpu, scratch = order["level"], order["gpu"], order["scratch"]
    promised = limits(order)
    plain = [f"/dev/{name}" for name in namespaces.DEVICES]
    readable = [*order["readable"], *(GPU_SYSTEM if gpu else ())]
    granted, listed = json.loads(Path(order["grants"]).read_text(encoding="utf-8"))
    closing: list[Callable[[], None]] = []
    if level == "namespaces":
        # Its own /proc has the driver's folder, too.
        shown = [path for path in readable if not path.startswith("/proc/")]
        where = SCRATCH, SCRATCH_MB, SCRATCH_FILES
        namespaces.build_root(order["base"], shown, plain + order["devices"], *where, processes=gpu)
        for folder in order["hidden"]:
            namespaces.cover(folder)
        closing += [namespaces.own_folder_closer()] if gpu else []
    elif level != "none":
        os.chdir(scratch)
    if level != "none":
        namespaces.drop_capabilities()
    home = SCRATCH if level == "namespaces" else scratch
    kept = {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ.update(
        PATH="/usr/bin:/bin", TMPDIR=home, LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1"
    )
    os.environ.update(identity(home) | kept)
    tempfile.tempdir = None  # it may have been asked for before
    _limit(promised)
    die_with_parent()
    if level == "none":
        return lambda: None
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    own = landlock.READ | landlock.WRITE_FILE | landlock.TRUNCATE
    grants = [(path, landlock.READ) for path in (*granted, *(GPU_SYSTEM if gpu else ()))]
    grants += [(path, landlock.READ_DIR) for path in listed] + [(scratch, landlock.READ_WRITE)]
    grants += [(path, landlock.READ | landlock.WRITE_FILE) for path in plain]
    grants += [
        (path, landlock.READ | landlock.WRITE_FILE | landlock.IOCTL_DEV)
        for path in order["devices"]
    ]

    def stand(starting: bool) -> None:
        if not starting:
            libc.prctl(
                4, 0, 0, 0, 0
            )  # PR_SET_DUMPABLE: nobody of the same user traces it or reads its memory
        if level != "namespaces":
            rights = [(f"/proc/{os.getpid()}", own if starting else landlock.READ)] if gpu else []
            landlock.restrict([*grants, *rights])
        removing = starting or level == "namespaces"
        seccomp.install(gpu, removing, starting, order["log_unlisted"])

    # The files in /proc of a process that cannot be dumped are root's, and a plain user's driver names its threads.
    stand(starting=gpu)
    closing += [lambda: stand(starting=False)] if gpu else []

    def close() -> None:
        for step in closing:
            step()

    return close


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
    both = [
        path for name in paths for path in (name, os.path.realpath(name)) if not _holds_home(path)
    ]
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


def bubblewrap_command(
    readable: list[str], writable: tuple[str, ...], gpu: bool, hidden: Iterable[str] = ()
) -> list[str]:
    """Return the command line of bubblewrap up to the program: namespaces, and a root of these paths.

    hidden: folders below readable ones that are empty inside.
    """
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
    ]
    command += ["--dev", "/dev", "--proc", "/proc"]
    for path in namespaces.outermost(
        [*readable, *(GPU_SYSTEM if gpu else ()), str(python_command.LIBRARY)]
    ):
        link = os.path.islink(path)  # noqa: PTH114
        command += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, path]  # noqa: PTH115
    for path in hidden:
        command += ["--tmpfs", path]
    for path in gpu_devices() if gpu else ():
        command += ["--dev-bind", path, path]
    for path in writable:
        command += ["--bind", path, path]
    return command


def gpu_devices() -> list[str]:
    """Return the files of NVIDIA's GPUs in /dev."""
    return sorted(str(path) for path in Path("/dev").glob("nvidia*"))


def kernel() -> tuple[int, ...]:
    """Return the first two numbers of the kernel's version."""
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


def limits(order: dict) -> dict[int, int]:
    """Return the limits (resource.RLIMIT_*) of a candidate that is forked from the calling process."""
    found = {resource.RLIMIT_CPU: order["cpu_s"], resource.RLIMIT_FSIZE: SCRATCH_MB * 2**20}
    found |= {resource.RLIMIT_NOFILE: OPEN_FILES, resource.RLIMIT_STACK: site_limits.STACK}
    if not order["gpu"]:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        found[resource.RLIMIT_AS] = mapped + order["memory_mb"] * 2**20
    if (
        order["level"] == "namespaces" and kernel() >= PROCESSES_BY_NAMESPACE
    ):  # elsewhere the keeper looks
        found[resource.RLIMIT_NPROC] = MAXIMUM_THREADS
    return found


def check_file_size(size: int) -> None:
    """Raise InputError when the judge may not write a file of this size (bytes): its own copy of the images."""
    lower = site_limits.shortfalls(
        {resource.RLIMIT_FSIZE: max(size, SCRATCH_MB * 2**20)}, "the judge needs"
    )
    if lower:
        raise InputError(lower[0])


def _limit(wanted: dict[int, int]) -> None:
    """Set hard limits, those that are always the same too."""
    harmless = ("CORE", "MEMLOCK", "MSGQUEUE", "RTPRIO")
    wanted = wanted | {getattr(resource, f"RLIMIT_{name}"): 0 for name in harmless}
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    signal.signal(
        signal.SIGXFSZ, signal.SIG_IGN
    )  # writing too much is an error of the write, not the end
