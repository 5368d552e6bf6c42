"""The sandbox around a candidate's process: which level this machine allows, and how a process goes
into it.

namespaces   user, pid, network, mount, IPC and host name of its own; a root of read-only Python and
             a scratch folder in memory; no capabilities; the list of system calls of seccomp.py;
             limits.
landlock     the same system calls and limits; Landlock leaves read-only Python and a scratch folder
             on disk.
bubblewrap   bubblewrap makes the namespaces, for one candidate at a time (some systems allow them
             to it alone), and inside it is the sandbox of level landlock: as strong, but torch is
             imported for every candidate.
none         limits alone. Only when the settings ask for it.

At every level a candidate is one process: fork and exec are denied, so its end is the end of all
that it started.

Where the device is a GPU the sandbox is built twice: wider while trusted code starts the device,
for its driver listens on a Unix socket, names its threads through /proc and removes files, and
then, before a program is read, as it stays.
"""

import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from archloop import python_command, site_limits
from archloop.errors import InputError
from archloop.sandbox import landlock, namespaces, seccomp
from archloop.sandbox import prctl as kernel_calls
from archloop.sandbox.bounds import Bounds
from archloop.sandbox.orders import Order
from archloop.sandbox.prctl import prctl
from archloop.sandbox.readable_files import readable_paths

LEVELS = ("namespaces", "bubblewrap", "landlock")
DOES_NOT_WORK = 3  # the status of a trial that the machine refuses
SCRATCH_MB, SCRATCH_FILES, SCRATCH_DEPTH = 16, 1024, 32
MAXIMUM_THREADS, OPEN_FILES = 64, 256
# Inside its namespaces a candidate finds its scratch folder here.
SCRATCH = "/scratch"
GPU_SYSTEM = ("/sys", "/proc/driver/nvidia", "/etc/nvidia", "/etc/alternatives")
# Which of a machine's GPUs a job has; the driver reads them at its start.
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
# What libraries keep a cache below.
CACHES = ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
# Since Linux 5.14 a limit on processes counts those of a user namespace apart; before, all that the
# user runs.
PROCESSES_BY_NAMESPACE = (5, 14)
# Limits of which a candidate needs nothing.
UNNEEDED = (
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_RTPRIO,
)


class Refused(Exception):
    """What the machine does not give a candidate, with what to do: no verdict on its program."""


def choose_level(wanted: str, gpu: bool = False) -> str:
    """Return the isolation level to use: `auto` takes the strongest that works here, others are
    checked.

    gpu: with what the driver of a GPU needs. Raises InputError, saying what to do, when it does not
    work here.
    """
    if wanted == "none":
        return wanted
    if wanted not in ("auto", *LEVELS):
        raise InputError(
            f"execution.isolation: {wanted} is none of auto, {', '.join(LEVELS)}, none"
        )

    # Bubblewrap makes namespaces, too.
    levels = {"auto": LEVELS, "namespaces": LEVELS[:2]}.get(wanted, (wanted,))
    reasons = []
    for level in levels:
        reason = obstacle(level, gpu)
        if reason is None:
            return level
        reasons.append(f"{level}: {reason}")

    where = f"on {os.uname().nodename} ({'; '.join(reasons)})"
    raise InputError(
        f"execution.isolation: {wanted} does not work {where}, so nothing is run;"
        " allow user namespaces (sysctl user.max_user_namespaces), install bubblewrap,"
        " or use a kernel with Landlock (5.13);"
        " isolation: none would run programs with your rights"
    )


@functools.cache
def obstacle(level: str, gpu: bool = False) -> str | None:
    """Return why a level does not work on this machine, None when it does: it is tried in a process
    of its own.

    Raises InputError when that process itself fails: that is a fault of the installation and says
    nothing of the kernel, so no weaker level is taken for it.
    """
    if not seccomp.supported():
        return "no seccomp filters"
    if level == "landlock":
        return _obstacle_to_landlock()
    if level == "bubblewrap":
        return _obstacle_to_bubblewrap()
    return _obstacle_to_namespaces(level, gpu)


def _obstacle_to_landlock() -> str | None:
    return None if landlock.abi() else "the kernel has no Landlock"


def _obstacle_to_bubblewrap() -> str | None:
    if not shutil.which("bwrap"):
        return "bwrap is not installed"
    reason = _obstacle_to_landlock()
    if reason is not None:
        return reason

    bubblewrap = bubblewrap_command(readable_paths(), (), gpu=False)
    command = python_command.run_code("import archloop.sandbox.isolation")
    status, complaint = _try([*bubblewrap, "--", *command])
    return None if status == 0 else complaint


def _obstacle_to_namespaces(level: str, gpu: bool) -> str | None:
    code = "from archloop.sandbox.isolation import try_namespaces; try_namespaces(*sys.argv[1:])"
    status, complaint = _try(python_command.run_code(code, scratch_base(), "gpu" if gpu else ""))
    if status not in (0, DOES_NOT_WORK):
        raise InputError(
            f"execution.isolation: {sys.executable} cannot try {level} ({complaint});"
            " fix the environment"
        )
    return None if status == 0 else complaint


def _try(command: list[str]) -> tuple[int, str]:
    """Run a command as the judge's processes are run.

    Return its status and the last line of its complaint.
    """
    # What Python itself may need to start, and nothing that would differ from the judge's process.
    environment = {"PATH": os.defpath} | identity("/nonexistent")
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]

    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environment
    )
    lines = done.stderr.strip().splitlines() or ["it ended without a word"]
    complaint = lines[-1]
    if done.returncode and complaint.startswith(("ModuleNotFoundError:", "ImportError:")):
        raise InputError(
            f"execution.isolation: {sys.executable} cannot try the sandbox ({complaint}); "
            "fix the environment"
        )
    return done.returncode, complaint


def try_namespaces(base: str, gpu: str) -> None:
    """Go into namespaces and end, with status DOES_NOT_WORK and one line that says why where that
    does not work.
    """
    try:
        namespaces.leave()
        # Only a child is in the new pid namespace.
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status))

        scratch = namespaces.Scratch(SCRATCH, megabytes=1, files=64)
        namespaces.build_root(base, readable_paths(), (), scratch, processes=bool(gpu))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(DOES_NOT_WORK)
    os._exit(0)


def identity(home: str) -> dict[str, str]:
    """Return the variables by which libraries choose where to keep things.

    A user need have neither name nor home.
    """
    names = {"USER": "archloop", "LOGNAME": "archloop", "HOME": home}
    return names | dict.fromkeys(CACHES, f"{home}/cache")


def confine(order: Order) -> Callable[[], None]:
    """Put the calling process into its sandbox for good.

    Return what closes it behind the start of a GPU. Memory is bounded on top of what the process
    has, enforced as address space on a CPU (a GPU's driver reserves far more than it uses; there
    the supervisor looks at the memory in use). Raises OSError when a part of the sandbox cannot be
    built.
    """
    # Before the root changes: the file is not seen from inside.
    promised = candidate_limits(order.bounds, order.level, order.gpu)
    granted, listed = json.loads(Path(order.grants).read_text(encoding="utf-8"))
    closing: list[Callable[[], None]] = []

    if order.level == "namespaces":
        _enter_root(order)
        if order.gpu:
            closing.append(namespaces.own_folder_closer())
    elif order.level != "none":
        os.chdir(order.scratch)
    if order.level != "none":
        namespaces.drop_capabilities()

    _reset_environment(SCRATCH if order.level == "namespaces" else order.scratch)
    set_limits(promised)
    die_with_parent()
    if order.level == "none":
        return lambda: None

    # Without it the kernel lets no plain user restrict itself.
    prctl(kernel_calls.SET_NO_NEW_PRIVS, 1)
    grants = _landlock_grants(order, granted, listed)
    # The files in /proc of a process that cannot be dumped are root's, and a plain user's driver
    # names its threads.
    _deny(order, grants, starting=order.gpu)
    if order.gpu:
        closing.append(functools.partial(_deny, order, grants, starting=False))

    def close() -> None:
        for step in closing:
            step()

    return close


def _enter_root(order: Order) -> None:
    """Give the calling process the root of level namespaces."""
    readable = [*order.readable]
    if order.gpu:
        # Its own /proc has the driver's folder, too.
        readable += [path for path in GPU_SYSTEM if not path.startswith("/proc/")]
    scratch = namespaces.Scratch(SCRATCH, SCRATCH_MB, SCRATCH_FILES)
    devices = [*namespaces.DEVICES, *order.device_files]
    namespaces.build_root(order.base, readable, devices, scratch, processes=order.gpu)
    for folder in order.hidden:
        namespaces.cover(folder)


def _reset_environment(home: str) -> None:
    """Leave the calling process the variables that it needs, and none of the user's."""
    gpus = {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ.update(
        PATH="/usr/bin:/bin", TMPDIR=home, LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1"
    )
    os.environ.update(identity(home) | gpus)
    tempfile.tempdir = None  # it may have been asked for before


def _landlock_grants(order: Order, readable: list[str], listed: list[str]) -> list[tuple[str, int]]:
    """Return (path, rights) of all that Landlock leaves a candidate."""
    grants = [(path, landlock.READ) for path in readable]
    if order.gpu:
        grants += [(path, landlock.READ) for path in GPU_SYSTEM]
    grants += [(path, landlock.READ_DIR) for path in listed]
    grants.append((order.scratch, landlock.READ_WRITE))

    device = landlock.READ | landlock.WRITE_FILE
    grants += [(path, device) for path in namespaces.DEVICES]
    grants += [(path, device | landlock.IOCTL_DEV) for path in order.device_files]
    return grants


def _deny(order: Order, grants: list[tuple[str, int]], starting: bool) -> None:
    """Deny the calling process files and system calls.

    starting: but for what the start of a GPU needs.
    """
    if not starting:
        # Nobody of the same user traces it or reads its memory.
        prctl(kernel_calls.SET_DUMPABLE, 0)

    if order.level != "namespaces":
        rights = [*grants]
        if order.gpu:
            # The driver names its threads there.
            own_folder = f"/proc/{os.getpid()}"
            naming = landlock.READ | landlock.WRITE_FILE | landlock.TRUNCATE
            rights.append((own_folder, naming if starting else landlock.READ))
        landlock.restrict(rights)

    removing = starting or order.level == "namespaces"
    seccomp.install(order.gpu, removing, starting, order.log_unlisted)


def die_with_parent() -> None:
    """Have the kernel end the calling process when its parent ends."""
    prctl(kernel_calls.SET_PDEATHSIG, signal.SIGKILL)


def scratch_base() -> str:
    """Return a folder to mount on: it must exist, and what it holds is hidden from the candidate
    alone.
    """
    wanted = Path(os.environ.get("TMPDIR") or "/tmp")
    # A job may start where the folder that its user names is not.
    return os.path.realpath(wanted if wanted.is_dir() else "/tmp")


def bubblewrap_command(
    readable: list[str], writable: tuple[str, ...], gpu: bool, hidden: Iterable[str] = ()
) -> list[str]:
    """Return the command line of bubblewrap up to the program: namespaces, and a root of these
    paths.

    hidden: folders below readable ones that are empty inside.
    """
    command = [shutil.which("bwrap") or "bwrap"]
    # In a session of its own nothing can be typed into the user's terminal (TIOCSTI).
    command += ["--unshare-all", "--die-with-parent", "--new-session"]
    command += ["--dev", "/dev", "--proc", "/proc"]

    shown = [*readable, str(python_command.LIBRARY)]
    if gpu:
        shown += GPU_SYSTEM
    for path in namespaces.outermost(shown):
        if os.path.islink(path):  # noqa: PTH114
            command += ["--symlink", os.readlink(path), path]  # noqa: PTH115
        else:
            command += ["--ro-bind", path, path]

    for path in hidden:
        command += ["--tmpfs", path]
    if gpu:
        for path in gpu_devices():
            command += ["--dev-bind", path, path]
    for path in writable:
        command += ["--bind", path, path]
    return command


def gpu_devices() -> list[str]:
    """Return the files of NVIDIA's GPUs in /dev."""
    return sorted(str(path) for path in Path("/dev").glob("nvidia*"))


def kernel() -> tuple[int, ...]:
    """Return the first two numbers of the kernel's version."""
    numbers = re.findall(r"\d+", os.uname().release)
    return tuple(int(number) for number in numbers[:2])


def candidate_limits(bounds: Bounds, level: str, gpu: bool) -> dict[int, int]:
    """Return the limits (resource.RLIMIT_*) of a candidate that the calling process forks."""
    values = {
        resource.RLIMIT_CPU: bounds.cpu_s,
        resource.RLIMIT_FSIZE: SCRATCH_MB * 2**20,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_STACK: site_limits.STACK,
    }
    if not gpu:
        # Torch has mapped gigabytes before a program begins.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        mapped = pages * resource.getpagesize()
        values[resource.RLIMIT_AS] = mapped + bounds.memory_mb * 2**20

    # Elsewhere the supervisor looks at them.
    if level == "namespaces" and kernel() >= PROCESSES_BY_NAMESPACE:
        values[resource.RLIMIT_NPROC] = MAXIMUM_THREADS
    return values


def check_file_size(size: int) -> None:
    """Raise InputError when the judge may not write a file of this size (bytes): its own copy of
    the images.
    """
    wanted = {resource.RLIMIT_FSIZE: max(size, SCRATCH_MB * 2**20)}
    lower = site_limits.shortfalls(wanted, "the judge needs")
    if lower:
        raise InputError(lower[0])


def set_limits(wanted: Mapping[int, int]) -> None:
    """Set hard limits, and 0 for what no candidate needs; one that is lower already stays."""
    for limit, value in {**wanted, **dict.fromkeys(UNNEEDED, 0)}.items():
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(limit, (value, value))
    # Writing too much is an error of the write, not the end of the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
