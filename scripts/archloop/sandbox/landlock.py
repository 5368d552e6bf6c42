"""Landlock: a process gives up the file system but for the folders it names (landlock(7), Linux 5.13 and later)."""

import ctypes
import os
from collections.abc import Iterable

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION_FLAG, _PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
# Rights on files that a kernel of each ABI version knows; what is handled and not granted is denied.
_HANDLED = {
    1: (1 << 13) - 1,
    2: (1 << 14) - 1,
    3: (1 << 15) - 1,
    4: (1 << 15) - 1,
    5: (1 << 16) - 1,
}
_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_NETWORK_ABI, _SCOPE_ABI, _THREADS_ABI = 4, 6, 8
_ALL_THREADS = 1 << 3

READ = EXECUTE | READ_FILE | READ_DIR
READ_WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """Return the version of Landlock that the kernel offers, 0 when it offers none."""
    return max(0, ctypes.CDLL(None).syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG))


def restrict(grants: Iterable[tuple[str, int]]) -> None:
    """Confine the calling process for good to the given (path, rights); paths that are not there are passed over.

    From ABI 4 on TCP is gone too, from 6 on abstract Unix sockets and signals to processes outside. Before ABI 8 other
    threads that the process has already stay as they were. no_new_privs must be set. Raises OSError when the kernel
    refuses.
    """
    libc, version = ctypes.CDLL(None, use_errno=True), abi()
    handled = _HANDLED[min(version, max(_HANDLED))] if version else 0
    rules = _Ruleset(
        handled, 3 if version >= _NETWORK_ABI else 0, 3 if version >= _SCOPE_ABI else 0
    )
    size = 8 if version < _NETWORK_ABI else 16 if version < _SCOPE_ABI else 24
    ruleset = libc.syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock makes no ruleset")
    for path, rights in grants:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        wanted = rights & handled & (~0 if os.path.isdir(path) else _ON_FILES)  # noqa: PTH112
        rule = _PathBeneath(wanted, opened)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0):
            raise OSError(ctypes.get_errno(), f"Landlock takes no rule for {path}")
        os.close(opened)
    if libc.syscall(_RESTRICT, ruleset, _ALL_THREADS if version >= _THREADS_ABI else 0):
        raise OSError(ctypes.get_errno(), "Landlock does not restrict")
    os.close(ruleset)
