"""The system calls that a candidate may make: a list of those that computing needs; every other one fails with EPERM.

Denied by not being listed: sockets of every kind, fork and exec, signals to other processes, ptrace, mounts,
namespaces, links, devices, changes of mode, owner and time stamps, System V and POSIX IPC, io_uring, bpf, keys,
personality. The filter is a classic BPF program (seccomp(2), SECCOMP_MODE_FILTER), written here because neither
libseccomp nor its binding can be counted on at a cluster.

The driver of a GPU needs more at its start than afterwards. So there are two filters then: one for the start, while
only trusted code runs, and the lasting one on top of it, for all threads at once, before a program is read.
"""

import ctypes
import errno
import os
import platform
import struct

# Names with their numbers on x86_64 and aarch64 (-: it has no such call).
_CALLS = """
read 0 63 | write 1 64 | close 3 57 | fstat 5 80 | lseek 8 62 | mmap 9 222 | mprotect 10 226 | munmap 11 215
brk 12 214 | rt_sigaction 13 134 | rt_sigprocmask 14 135 | rt_sigreturn 15 139 | pread64 17 67 | pwrite64 18 68
readv 19 65 | writev 20 66 | sched_yield 24 124 | mremap 25 216 | msync 26 227 | mincore 27 232 | madvise 28 233
dup 32 23 | nanosleep 35 101 | getitimer 36 102 | setitimer 38 103 | getpid 39 172 | exit 60 93 | wait4 61 260
uname 63 160 | flock 73 32 | fsync 74 82 | fdatasync 75 83 | ftruncate 77 46 | getcwd 79 17 | chdir 80 49
fchdir 81 50 | umask 95 166 | gettimeofday 96 169 | getrlimit 97 163 | getrusage 98 165 | sysinfo 99 179
times 100 153 | getuid 102 174 | getgid 104 176 | geteuid 107 175 | getegid 108 177 | getppid 110 173
getgroups 115 158 | getresuid 118 148 | getresgid 120 150 | getpgid 121 155 | getsid 124 156 | capget 125 90
rt_sigpending 127 136 | rt_sigtimedwait 128 137 | rt_sigsuspend 130 133 | sigaltstack 131 132 | statfs 137 43
fstatfs 138 44 | getpriority 140 141 | sched_getparam 143 121 | sched_getscheduler 145 120
sched_get_priority_max 146 125 | sched_get_priority_min 147 126 | gettid 186 178 | futex 202 98
sched_getaffinity 204 123 | getdents64 217 61 | set_tid_address 218 96 | restart_syscall 219 128
fadvise64 221 223 | clock_gettime 228 113 | clock_getres 229 114 | clock_nanosleep 230 115 | exit_group 231 94
epoll_ctl 233 21 | mbind 237 235 | set_mempolicy 238 237 | get_mempolicy 239 236 | mkdirat 258 34
newfstatat 262 79 | readlinkat 267 78 | faccessat 269 48 | pselect6 270 72
ppoll 271 73 | set_robust_list 273 99 | get_robust_list 274 100 | epoll_pwait 281 22 | fallocate 285 47
eventfd2 290 19 | epoll_create1 291 20 | dup3 292 24 | pipe2 293 59 | preadv 295 69 | pwritev 296 70 | getcpu 309 168
getrandom 318 278 | membarrier 324 283 | copy_file_range 326 285 | statx 332 291 | rseq 334 293
faccessat2 439 439 | epoll_pwait2 441 441 | futex_waitv 449 449
stat 4 - | lstat 6 - | poll 7 - | access 21 - | pipe 22 - | select 23 - | dup2 33 - | pause 34 - | alarm 37 -
getpgrp 111 - | mkdir 83 - | creat 85 - | readlink 89 - | arch_prctl 158 -
time 201 - | epoll_create 213 - | epoll_wait 232 - | eventfd 284 -
"""
# What takes a name away from a file that may still be open or mapped, and so out of sight of whoever measures a folder;
# allowed only where the scratch folder has a size of its own.
_REMOVING = """
unlinkat 263 35 | renameat 264 38 | renameat2 316 276 | rename 82 - | rmdir 84 - | unlink 87 -
"""
# What a GPU's driver needs besides; its devices are opened only where there is one.
_GPU_CALLS = "mlock 149 228 | munlock 150 229 | sched_setaffinity 203 122"
# What its start needs, and what closes the walls behind it: a listening Unix socket on which nobody accepts or
# receives, memory with a name, and the calls that take all of this back.
_START_CALLS = """
bind 49 200 | listen 50 201 | memfd_create 319 279
seccomp 317 277 | landlock_create_ruleset 444 444 | landlock_add_rule 445 445 | landlock_restrict_self 446 446
"""
_START_SOCKETS = ((41, 198), 0, (1,))  # socket, of AF_UNIX alone
# ioctl of NVIDIA's driver that computing needs: those that gVisor's nvproxy publishes for it, and a few beside them
# that only ask or map. 580.159 was seen without a list; with this one no driver was yet.
# execution.driver_calls: log lets others through.
# Of /dev/nvidiactl and /dev/nvidia*: type F and one of these numbers, of any size.
_GPU_NUMBERS = (0x27, 0x29, 0x2A, 0x2B, 0x34, 0x35, 0x4A, 0x4E, 0x4F, 0x5E)
_GPU_NUMBERS += (200, 201, 206, 207, 210, 212, 214, 215, 218)
# Of /dev/nvidia-uvm; not 62 and 63, which read and write another process's memory for a debugger.
_UVM_COMMANDS = (
    0x30000001,
    0x30000002,
    *range(23, 32),
    33,
    34,
    37,
    38,
    39,
    *range(42, 48),
    51,
    53,
    65,
    66,
    68,
)
_UVM_COMMANDS += (*range(70, 76),)
# Calls with one argument that decides: (number on x86_64, aarch64), which argument, its permitted values.
_BY_ARGUMENT = {
    "fcntl": (
        (72, 25),
        1,
        (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1034),
    ),  # no F_SETOWN: it sends signals to others
    "ioctl": ((16, 29), 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
    "prctl": (
        (157, 167),
        0,
        (3, 15, 16, 21, 39, 0x53564D41),
    ),  # reading, and names of threads and memory
    "prlimit64": ((302, 261), 0, (0,)),  # of itself; the hard limits hold
}
_OPEN = {"open": ((2, None), 1), "openat": ((257, 56), 2)}  # with the argument that holds the flags
_ACCESS, _TRUNCATE, _NAMELESS = (
    3,
    0x200,
    0x400000,
)  # O_ACCMODE, O_TRUNC, the bit of O_TMPFILE on its own
_TO_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}
_CLONE, _CLONE3 = (56, 220), 435
_CLONE_THREAD = 0x00010000
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into somebody's terminal
_SET_DUMPABLE = 4

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN, _AND = (
    0x20,
    0x15,
    0x35,
    0x45,
    0x06,
    0x54,
)
_ALLOW, _LOG, _KILL_PROCESS = 0x7FFF0000, 0x7FFC0000, 0x80000000
_DENY, _MISSING = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_SECCOMP, _SET_FILTER, _ALL_THREADS = (317, 277), 1, 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def supported() -> bool:
    """Say whether this machine's architecture has a filter here and its kernel takes one."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Without an address a kernel that knows filters answers EFAULT.
    known = (
        libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, None, 0, 0) == -1
        and ctypes.get_errno() == errno.EFAULT
    )
    return platform.machine() in _MACHINES and known


def install(gpu: bool, removing: bool, starting: bool = False, log_unlisted: bool = False) -> None:
    """Put the calling process, with all its threads, under the filter for good; raise OSError if refused.

    gpu, starting, log_unlisted: see `filter_program`. removing: allow that files are deleted and renamed.
    """
    machine = platform.machine()
    instructions = filter_program(machine, os.getpid(), gpu, removing, starting, log_unlisted)
    buffer = ctypes.create_string_buffer(instructions)
    program = _Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    libc = ctypes.CDLL(None, use_errno=True)
    # After a start no_new_privs is set, and the prctl that sets it is refused.
    if libc.prctl(39, 0, 0, 0, 0) != 1 and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs is refused")
    number = _SECCOMP[_MACHINES[machine][0]]
    done = libc.syscall(number, _SET_FILTER, _ALL_THREADS, ctypes.byref(program))
    if done:  # -1, or the thread that could not follow
        raise OSError(ctypes.get_errno(), "seccomp refuses the filter")


def filter_program(
    machine: str,
    own_pid: int,
    gpu: bool,
    removing: bool,
    starting: bool = False,
    log_unlisted: bool = False,
) -> bytes:
    """Return the BPF instructions, 8 bytes each, for `x86_64` or `aarch64`.

    own_pid: who may be signalled. gpu: allow what a GPU's driver needs. starting: allow what its start needs, too.
    log_unlisted: let through, and leave in the system's log, an ioctl that is not on the driver's list.
    """
    column, architecture = _MACHINES[machine]
    code = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":  # the x32 calls, which would go round the numbers
        code += [(_JUMP_GREATER_EQUAL, 0, 1, 0x40000000), (_RETURN, 0, 0, _DENY)]
    code += _if_equal(
        _CLONE3, [(_RETURN, 0, 0, _MISSING)]
    )  # its flags cannot be read; the C library falls back
    threads = [
        (_LOAD, 0, 0, 16),
        (_JUMP_SET, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    code += _if_equal(_CLONE[column], threads)
    for numbers in _TO_ITSELF.values():
        code += _if_equal(numbers[column], _one_of(0, (own_pid,)))
    for numbers, argument in _OPEN.values():
        if numbers[column] is not None:
            code += _if_equal(numbers[column], _harmless_opening(argument))
    by_argument = _BY_ARGUMENT | ({"socket": _START_SOCKETS} if starting else {})
    for name, (numbers, argument, values) in by_argument.items():
        if name == "prctl" and starting:
            values = (*values, _SET_DUMPABLE)
        device = name == "ioctl" and gpu
        code += _if_equal(
            numbers[column],
            _of_driver(values, log_unlisted) if device else _one_of(argument, values),
        )
    tables = [_CALLS, *([_GPU_CALLS] if gpu else []), *([_REMOVING] if removing else [])]
    tables += [_START_CALLS] if starting else []
    for number in sorted(set().union(*(_numbers(table, column) for table in tables))):
        code += _if_equal(number, [(_RETURN, 0, 0, _ALLOW)])
    code.append((_RETURN, 0, 0, _DENY))
    return b"".join(struct.pack("<HBBI", *step) for step in code)


def _of_driver(others: tuple[int, ...], log_unlisted: bool) -> list[tuple]:
    """Return the steps that allow an ioctl of a GPU's driver that is on its list, and these others."""
    allow, deny = [(_RETURN, 0, 0, _ALLOW)], [(_RETURN, 0, 0, _DENY)]
    checks = [(_LOAD, 0, 0, 16 + 8)]
    checks += [step for value in _TERMINAL_INPUT for step in _if_equal(value, deny)]
    checks += [step for value in (*others, *_UVM_COMMANDS) for step in _if_equal(value, allow)]
    checks.append((_AND, 0, 0, 0xFFFF))  # type and number, without size and direction
    checks += [step for number in _GPU_NUMBERS for step in _if_equal(ord("F") << 8 | number, allow)]
    return [*checks, (_RETURN, 0, 0, _LOG if log_unlisted else _DENY)]


def _if_equal(value: int, then: list[tuple]) -> list[tuple]:
    """Return the steps that run `then`, which must end in a return, when the loaded word has this value."""
    return [(_JUMP_EQUAL, 0, len(then), value), *then]


def _harmless_opening(argument: int) -> list[tuple]:
    """Return the steps that deny the ways of opening that Landlock does not see on every kernel.

    Access mode 3 opens a file with no right at all, and before Linux 6.2 both that and a file opened for reading can be
    emptied by O_TRUNC where only its owner's rights are in the way. O_TMPFILE makes files without a name.
    """
    load, deny = (_LOAD, 0, 0, 16 + 8 * argument), (_RETURN, 0, 0, _DENY)
    truncating = [load, (_JUMP_SET, 0, 1, _TRUNCATE), deny, (_RETURN, 0, 0, _ALLOW)]
    return [
        *(load, (_JUMP_SET, 0, 1, _NAMELESS), deny),
        *((_AND, 0, 0, _ACCESS), *_if_equal(3, [deny])),
        *(*_if_equal(0, truncating), (_RETURN, 0, 0, _ALLOW)),
    ]


def _one_of(argument: int, values: tuple[int, ...]) -> list[tuple]:
    """Return the steps that allow the call when the low word of an argument is one of the values."""
    checks = [step for value in values for step in _if_equal(value, [(_RETURN, 0, 0, _ALLOW)])]
    return [(_LOAD, 0, 0, 16 + 8 * argument), *checks, (_RETURN, 0, 0, _DENY)]


def _numbers(table: str, column: int) -> set[int]:
    entries = (entry.split() for line in table.strip().splitlines() for entry in line.split("|"))
    return {int(numbers[column]) for _, *numbers in entries if numbers[column] != "-"}
