"""prctl(2): what a process asks of the kernel about itself.

The numbers are those of linux/prctl.h.
"""

import ctypes

SET_PDEATHSIG = 1  # the signal that it gets when its parent ends
GET_DUMPABLE, SET_DUMPABLE = 3, 4
SET_NAME, GET_NAME = 15, 16
GET_SECCOMP, SET_SECCOMP = 21, 22
CAPBSET_DROP = 24  # take a capability out of the bounding set
SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS = 38, 39
CAP_AMBIENT = 47
CAP_AMBIENT_CLEAR_ALL = 4  # argument of CAP_AMBIENT
SET_VMA = 0x53564D41  # name a piece of memory

SECCOMP_MODE_FILTER = 2  # argument of SET_SECCOMP

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, first: int = 0, second: int | None = 0) -> int:
    """Return what the kernel answers, -1 for an error.

    Its number is then in ctypes.get_errno().
    """
    answer: int = _libc.prctl(option, first, second, 0, 0)
    return answer
