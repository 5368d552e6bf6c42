"""Namespaces of its own for a process: user, pid, network, mount, IPC and host name, and a root of
read-only binds.

Two steps, for a process cannot enter a new pid namespace, only its children can: the supervisor
calls `leave`, forks, and the child, process 1 of the new pid namespace, calls `build_root`. No
privilege is needed; as root it works the same. See namespaces(7), user_namespaces(7),
pivot_root(2).
"""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from archloop.sandbox import prctl as kernel_calls
from archloop.sandbox.prctl import prctl

# CLONE_NEW* of linux/sched.h.
NEW_USER = 0x10000000
NEW_MOUNT = 0x00020000
NEW_PID = 0x20000000
NEW_NETWORK = 0x40000000
NEW_IPC = 0x08000000
NEW_HOST = 0x04000000
NEW_CGROUP = 0x02000000

# MS_* of sys/mount.h.
_READ_ONLY = 1
_NO_SUID = 2
_NO_DEVICES = 4
_NO_EXECUTE = 8
_REMOUNT = 32
_BIND = 4096
_RECURSIVE = 16384
_PRIVATE = 1 << 18
_DETACH = 2  # MNT_DETACH, of umount2

# Numbers of system calls; mount_setattr has the same on every architecture.
MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100

_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: three words of 32 bits, twice
_MOST_CAPABILITIES = 64

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user", ctypes.c_uint64),
    )


class _CapabilityHeader(ctypes.Structure):
    """struct __user_cap_header_struct of capset(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


@dataclass(frozen=True)
class Scratch:
    """A folder in memory: where it lies inside the new root, and how much it holds."""

    path: str
    megabytes: int
    files: int


def leave() -> None:
    """Move the calling process (single-threaded) into new namespaces.

    Children are in the new pid namespace too. Raises OSError where the kernel or its administrator
    does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    _check(libc.unshare(NEW_USER | NEW_PID | NEW_NETWORK | NEW_IPC | NEW_HOST), "unshare")

    # An unprivileged process may map its group only once it has given up setgroups.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def build_root(
    base: str,
    read_only: Iterable[str],
    devices: Iterable[str],
    scratch: Scratch,
    processes: bool = False,
) -> None:
    """Give the calling process a file system of its own: the read-only paths, some devices, and a
    scratch folder.

    base: a folder that there is, on which the new root is mounted out of sight of everyone else.
    scratch: becomes the working directory. processes: with /proc of the own pid namespace, in which
    nothing can be written but below the calling process's own folder. A path below another one
    comes with it. Raises OSError.
    """
    _check(libc.unshare(NEW_MOUNT | NEW_CGROUP), "unshare of mounts")
    # What is mounted from here on shows nowhere else.
    mount(None, "/", None, _RECURSIVE | _PRIVATE)
    # A mount of its own, as pivot_root wants the new root.
    mount("tmpfs", base, "tmpfs", _NO_SUID | _NO_DEVICES, "size=1m,mode=755")

    root = Path(base)
    for path in outermost(read_only):
        _add_read_only(path, root / path.lstrip("/"))
    for device in devices:
        if os.path.exists(device):  # noqa: PTH110
            _bind(device, root / device.lstrip("/"))

    inside = root / scratch.path.lstrip("/")
    inside.mkdir(parents=True, exist_ok=True)
    options = f"size={scratch.megabytes}m,nr_inodes={scratch.files},mode=700"
    mount("tmpfs", str(inside), "tmpfs", _NO_SUID | _NO_DEVICES, options)
    if processes:
        _mount_processes(root / "proc")

    # Last, for until here folders were made in it.
    mount(None, base, None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES)
    _pivot(base)
    os.chdir(scratch.path)


def _add_read_only(path: str, target: Path) -> None:
    if os.path.islink(path):  # noqa: PTH114 (/lib is a link to usr/lib on most systems)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.readlink(path))  # noqa: PTH115
        return

    _bind(path, target)
    _make_read_only(str(target))


def _mount_processes(folder: Path) -> None:
    """Mount /proc read-only, the calling process's own folder in it writable.

    User 0 is user 0 there: it may write what belongs to root, such as the kernel's settings.
    """
    flags = _NO_SUID | _NO_DEVICES | _NO_EXECUTE
    folder.mkdir(exist_ok=True)
    mount("proc", str(folder), "proc", flags)

    own_folder = str(folder / str(os.getpid()))
    mount(own_folder, own_folder, None, _BIND)
    mount(None, str(folder), None, _REMOUNT | _BIND | _READ_ONLY | flags)


def _pivot(base: str) -> None:
    """Make a folder that is mounted the root of the calling process.

    The old root is unreachable then.
    """
    os.chdir(base)
    number = _PIVOT_ROOT[os.uname().machine]
    # The old root ends on top of the new one ...
    _check(libc.syscall(number, b".", b"."), "pivot_root")
    # ... and goes.
    _check(libc.umount2(b".", _DETACH), "umount")


def own_folder_closer() -> Callable[[], None]:
    """Return a function that makes the calling process's own folder in /proc read-only, once its
    capabilities are gone.

    A child that keeps them waits for the word, does it and ends.
    """
    own_folder = f"/proc/{os.getpid()}"
    wait, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(tell)
            if os.read(wait, 1):  # nothing comes where the candidate has ended
                flags = _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES | _NO_EXECUTE
                mount(None, own_folder, None, flags)
                os._exit(0)
        finally:
            os._exit(1)
    os.close(wait)

    def close() -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(tell, b"1")
        os.close(tell)
        if os.waitpid(child, 0)[1]:
            raise OSError(f"{own_folder} cannot be made read-only")

    return close


def outermost(paths: Iterable[str]) -> list[str]:
    """Return the paths that there are and that lie below no other of them.

    >>> outermost(["/usr/lib", "/usr", "/usr"])
    ['/usr']
    """
    present = {os.path.normpath(path) for path in paths if os.path.lexists(path)}
    kept: list[str] = []
    # A folder comes before what lies below it.
    for path in sorted(present):
        if not any(path.startswith(above.rstrip("/") + "/") for above in kept):
            kept.append(path)
    return kept


def _bind(source: str, target: Path) -> None:
    if os.path.isdir(source):  # noqa: PTH112
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, str(target), None, _BIND | _RECURSIVE)


def _make_read_only(target: str) -> None:
    """Make a bind and all that is mounted below it read-only.

    Kernels before 5.12 do the topmost alone.
    """
    attributes = _MountAttributes(set=_READ_ONLY | _NO_SUID)
    size = ctypes.sizeof(attributes)
    failed = libc.syscall(
        MOUNT_SETATTR,
        _AT_FDCWD,
        target.encode(),
        _AT_RECURSIVE,
        ctypes.byref(attributes),
        size,
    )
    if not failed:
        return

    # Flags that are set already are locked, so they must be given again.
    locked = os.statvfs(target).f_flag & (_NO_SUID | _NO_DEVICES | _NO_EXECUTE)
    mount(None, target, None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | locked)


def mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    """Call mount(2). source, kind (of file system), data: None where the flags need none.

    Raises OSError.
    """
    done = libc.mount(
        _encoded(source),
        _encoded(target),
        _encoded(kind),
        ctypes.c_ulong(flags),
        _encoded(data),
    )
    _check(done, f"mount of {source or target}")


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def cover(folder: str) -> None:
    """Lay an empty folder over one of the calling process's own root, for good. Raises OSError."""
    flags = _READ_ONLY | _NO_SUID | _NO_DEVICES
    mount("tmpfs", folder, "tmpfs", flags, "size=4k,nr_inodes=1,mode=555")


def drop_capabilities() -> None:
    """Give up every capability, in the bounding set too, so that none comes back.

    Raises OSError.
    """
    for capability in range(_MOST_CAPABILITIES):
        # Refused where the kernel has no such capability, and to a process that has none; the last
        # call decides.
        prctl(kernel_calls.CAPBSET_DROP, capability)
    prctl(kernel_calls.CAP_AMBIENT, kernel_calls.CAP_AMBIENT_CLEAR_ALL)

    header = _CapabilityHeader(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, in two words each
    _check(libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
