"""Landlock: a process gives up the file system but for the folders it names (landlock(7), Linux
5.13 and later).
"""

import ctypes
import os
from collections.abc import Iterable

# Numbers of system calls, the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH_RULE = 1  # LANDLOCK_RULE_PATH_BENEATH

# Rights: LANDLOCK_ACCESS_FS_* of linux/landlock.h.
EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

READ = EXECUTE | READ_FILE | READ_DIR
READ_WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

# Rights on files that a kernel of each ABI version knows; what is handled and not granted is
# denied.
_HANDLED = {
    1: (1 << 13) - 1,
    2: (1 << 14) - 1,
    3: (1 << 15) - 1,
    4: (1 << 15) - 1,
    5: (1 << 16) - 1,
}
# The ABI versions that brought TCP, scopes, and a restriction of all threads at once.
_NETWORK_ABI, _SCOPE_ABI, _THREADS_ABI = 4, 6, 8
_ALL_TCP = 0b11  # LANDLOCK_ACCESS_NET_BIND_TCP and _CONNECT_TCP
_ALL_SCOPES = 0b11  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and _SIGNAL
_ALL_THREADS = 1 << 3  # LANDLOCK_RESTRICT_SELF_TSYNC


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr, as the newest ABI has it.

    Older ones know its first fields alone.
    """

    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """Return the version of Landlock that the kernel offers, 0 when it offers none."""
    libc = ctypes.CDLL(None)
    version: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(0, version)


def restrict(grants: Iterable[tuple[str, int]]) -> None:
    """Confine the calling process for good to the given (path, rights).

    Paths that are not there are passed over. From ABI 4 on TCP is gone too, from 6 on abstract Unix
    sockets and signals to processes outside. Before ABI 8 other threads that the process has
    already stay as they were. no_new_privs must be set. Raises OSError when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = abi()
    rules = _rules(version)
    size = ctypes.c_size_t(_size(version))
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock makes no ruleset")

    for path, rights in grants:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue

        allowed = rights & rules.files
        if not os.path.isdir(path):  # noqa: PTH112
            # With a right on folders the kernel refuses the rule.
            allowed &= _ON_FILES
        rule = _PathBeneath(allowed, opened)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH_RULE, ctypes.byref(rule), 0):
            raise OSError(ctypes.get_errno(), f"Landlock takes no rule for {path}")
        os.close(opened)

    flags = 0
    if version >= _THREADS_ABI:
        flags = _ALL_THREADS
    if libc.syscall(_RESTRICT_SELF, ruleset, flags):
        raise OSError(ctypes.get_errno(), "Landlock does not restrict")
    os.close(ruleset)


def _rules(version: int) -> _Ruleset:
    """Return all that a version can deny."""
    rules = _Ruleset()
    # A right that the kernel does not know would make it refuse all.
    if version:
        rules.files = _HANDLED[min(version, max(_HANDLED))]
    if version >= _NETWORK_ABI:
        rules.network = _ALL_TCP
    if version >= _SCOPE_ABI:
        rules.scoped = _ALL_SCOPES
    return rules


def _size(version: int) -> int:
    """Return how many bytes of a ruleset a version knows."""
    fields = 1
    if version >= _NETWORK_ABI:
        fields = 2
    if version >= _SCOPE_ABI:
        fields = 3
    return fields * ctypes.sizeof(ctypes.c_uint64)
