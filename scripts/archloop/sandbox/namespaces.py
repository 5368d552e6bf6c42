"""Namespaces of its own for a process: user, pid, network, mount, IPC and host name, and a root of read-only binds.

Two steps, for a process cannot enter a new pid namespace, only its children can: the keeper calls `leave`, forks, and
the child, process 1 of the new pid namespace, calls `build_root`. No privilege is needed; as root it works the same.
See namespaces(7), user_namespaces(7), pivot_root(2).
"""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable
from pathlib import Path

NEW_USER, NEW_MOUNT, NEW_PID, NEW_NETWORK = 0x10000000, 0x00020000, 0x20000000, 0x40000000
NEW_IPC, NEW_HOST, NEW_CGROUP = 0x08000000, 0x04000000, 0x02000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = (
    1,
    2,
    4,
    32,
    4096,
    16384,
    1 << 18,
)
_NO_EXECUTE, _DETACH = 8, 2
_MOUNT_SETATTR, _PIVOT_ROOT, _AT_RECURSIVE = 442, {"x86_64": 155, "aarch64": 41}, 0x8000
DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user"))


def leave() -> None:
    """Move the calling process (single-threaded) into new namespaces; children are in the new pid namespace too.

    Raises OSError where the kernel or its administrator does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(NEW_USER | NEW_PID | NEW_NETWORK | NEW_IPC | NEW_HOST), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text)


def build_root(
    base: str,
    read_only: Iterable[str],
    devices: Iterable[str],
    scratch: str,
    megabytes: int,
    files: int,
    processes: bool = False,
) -> None:
    """Give the calling process a file system of its own: the read-only paths, some devices, and a scratch folder.

    base: a folder that there is, on which the new root is mounted out of sight of everyone else. scratch: where the
    scratch folder is inside, limited in size and number of files; it becomes the working directory. processes: with
    /proc of the own pid namespace, in which nothing can be written but below the calling process's own folder. A path
    below another one comes with it. Raises OSError.
    """
    _check(_libc.unshare(NEW_MOUNT | NEW_CGROUP), "unshare of mounts")
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", base, "tmpfs", _NO_SUID | _NO_DEVICES, "size=1m,mode=755")
    root = Path(base)
    for path in outermost(read_only):
        target = root / path.lstrip("/")
        if os.path.islink(path):  # noqa: PTH114 (/lib is a link to usr/lib on most systems)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.readlink(path))  # noqa: PTH115
            continue
        _bind(path, target)
        _make_read_only(str(target))
    for device in devices:
        if os.path.exists(device):  # noqa: PTH110
            _bind(device, root / device.lstrip("/"))
    inside = root / scratch.lstrip("/")
    inside.mkdir(parents=True, exist_ok=True)
    _mount(
        "tmpfs",
        str(inside),
        "tmpfs",
        _NO_SUID | _NO_DEVICES,
        f"size={megabytes}m,nr_inodes={files},mode=700",
    )
    if processes:
        _mount_processes(root / "proc")
    _mount(None, base, None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES)
    os.chdir(base)
    number = _PIVOT_ROOT[os.uname().machine]
    _check(
        _libc.syscall(number, b".", b"."), "pivot_root"
    )  # the old root ends on top of the new one ...
    _check(_libc.umount2(b".", _DETACH), "umount")  # ... and goes
    os.chdir(scratch)


def _mount_processes(place: Path) -> None:
    """Mount /proc read-only, the calling process's own folder in it writable. User 0 is user 0 there: it may write what
    belongs to root, such as the kernel's settings.
    """
    flags = _NO_SUID | _NO_DEVICES | _NO_EXECUTE
    place.mkdir(exist_ok=True)
    _mount("proc", str(place), "proc", flags)
    own = str(place / str(os.getpid()))
    _mount(own, own, None, _BIND)
    _mount(None, str(place), None, _REMOUNT | _BIND | _READ_ONLY | flags)


def own_folder_closer() -> Callable[[], None]:
    """Return a function that makes the calling process's own folder in /proc read-only, once its capabilities are gone.

    A child that keeps them waits for the word, does it and ends.
    """
    own, (wait, tell) = f"/proc/{os.getpid()}", os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(tell)
            if os.read(wait, 1):
                flags = _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES | _NO_EXECUTE
                _mount(None, own, None, flags)
                os._exit(0)
        finally:
            os._exit(1)
    os.close(wait)

    def close() -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(tell, b"1")
        os.close(tell)
        if os.waitpid(child, 0)[1]:
            raise OSError(f"{own} cannot be made read-only")

    return close


def outermost(paths: Iterable[str]) -> list[str]:
    """Return the paths that there are and that lie below no other of them.

    >>> outermost(["/usr/lib", "/usr", "/usr"])
    ['/usr']
    """
    kept: list[str] = []
    for path in sorted({os.path.normpath(path) for path in paths if os.path.lexists(path)}):
        if not any(path.startswith(above.rstrip("/") + "/") for above in kept):
            kept.append(path)
    return kept


def _bind(source: str, target: Path) -> None:
    if os.path.isdir(source):  # noqa: PTH112
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(source, str(target), None, _BIND | _RECURSIVE)


def _make_read_only(target: str) -> None:
    """Make a bind and all that is mounted below it read-only; kernels before 5.12 do the topmost alone."""
    attributes = _MountAttributes(set=_READ_ONLY | _NO_SUID)
    if (
        _libc.syscall(
            _MOUNT_SETATTR, -100, target.encode(), _AT_RECURSIVE, ctypes.byref(attributes), 32
        )
        == 0
    ):
        return
    kept = (
        os.statvfs(target).f_flag & 0xE
    )  # nosuid, nodev, noexec: locked, so they must be said again
    _mount(None, target, None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | kept)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    done = _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None)
    _check(done, f"mount of {source or target}")


def cover(folder: str) -> None:
    """Lay an empty folder over one of the calling process's own root, for good. Raises OSError."""
    _mount(
        "tmpfs",
        folder,
        "tmpfs",
        _READ_ONLY | _NO_SUID | _NO_DEVICES,
        "size=4k,nr_inodes=1,mode=555",
    )


def drop_capabilities() -> None:
    """Give up every capability, in the bounding set too, so that none comes back."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    for capability in range(64):
        with contextlib.suppress(OSError):
            _check(_libc.prctl(24, capability, 0, 0, 0), "PR_CAPBSET_DROP")
    _libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL
    header, nothing = Header(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(nothing)), "capset")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
