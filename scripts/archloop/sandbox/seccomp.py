"""The system calls that a candidate may make: a list of those that computing needs.

Every other one fails with EPERM. Denied by not being listed: sockets of every kind, fork and exec,
signals to other processes, ptrace, mounts, namespaces, links, devices, changes of mode, owner and
time stamps, System V and POSIX IPC, io_uring, bpf, keys, personality. The filter is a classic BPF
program (seccomp(2), SECCOMP_MODE_FILTER), written here because neither libseccomp nor its binding
can be counted on at a cluster.

The driver of a GPU needs more at its start than afterwards. So there are two filters then: one for
the start, while only trusted code runs, and the lasting one on top of it, for all threads at once,
before a program is read.
"""

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

from archloop.sandbox import prctl as kernel_calls
from archloop.sandbox.prctl import prctl

# Names with their numbers on x86_64 and aarch64 (-: it has no such call).
_CALLS = """
read 0 63 | write 1 64 | close 3 57 | fstat 5 80 | lseek 8 62 | mmap 9 222 | mprotect 10 226
munmap 11 215 | brk 12 214 | rt_sigaction 13 134 | rt_sigprocmask 14 135 | rt_sigreturn 15 139
pread64 17 67 | pwrite64 18 68 | readv 19 65 | writev 20 66 | sched_yield 24 124 | mremap 25 216
msync 26 227 | mincore 27 232 | madvise 28 233 | dup 32 23 | nanosleep 35 101 | getitimer 36 102
setitimer 38 103 | getpid 39 172 | exit 60 93 | wait4 61 260 | uname 63 160 | flock 73 32
fsync 74 82 | fdatasync 75 83 | ftruncate 77 46 | getcwd 79 17 | chdir 80 49 | fchdir 81 50
umask 95 166 | gettimeofday 96 169 | getrlimit 97 163 | getrusage 98 165 | sysinfo 99 179
times 100 153 | getuid 102 174 | getgid 104 176 | geteuid 107 175 | getegid 108 177
getppid 110 173 | getgroups 115 158 | getresuid 118 148 | getresgid 120 150 | getpgid 121 155
getsid 124 156 | capget 125 90 | rt_sigpending 127 136 | rt_sigtimedwait 128 137
rt_sigsuspend 130 133 | sigaltstack 131 132 | statfs 137 43 | fstatfs 138 44 | getpriority 140 141
sched_getparam 143 121 | sched_getscheduler 145 120 | sched_get_priority_max 146 125
sched_get_priority_min 147 126 | gettid 186 178 | futex 202 98 | sched_getaffinity 204 123
getdents64 217 61 | set_tid_address 218 96 | restart_syscall 219 128 | fadvise64 221 223
clock_gettime 228 113 | clock_getres 229 114 | clock_nanosleep 230 115 | exit_group 231 94
epoll_ctl 233 21 | mbind 237 235 | set_mempolicy 238 237 | get_mempolicy 239 236 | mkdirat 258 34
newfstatat 262 79 | readlinkat 267 78 | faccessat 269 48 | pselect6 270 72 | ppoll 271 73
set_robust_list 273 99 | get_robust_list 274 100 | epoll_pwait 281 22 | fallocate 285 47
eventfd2 290 19 | epoll_create1 291 20 | dup3 292 24 | pipe2 293 59 | preadv 295 69 | pwritev 296 70
getcpu 309 168 | getrandom 318 278 | membarrier 324 283 | copy_file_range 326 285 | statx 332 291
rseq 334 293 | faccessat2 439 439 | epoll_pwait2 441 441 | futex_waitv 449 449 | stat 4 -
lstat 6 - | poll 7 - | access 21 - | pipe 22 - | select 23 - | dup2 33 - | pause 34 - | alarm 37 -
getpgrp 111 - | mkdir 83 - | creat 85 - | readlink 89 - | arch_prctl 158 - | time 201 -
epoll_create 213 - | epoll_wait 232 - | eventfd 284 -
"""
# What takes a name away from a file that may still be open or mapped, and so out of sight of
# whoever measures a folder; allowed only where the scratch folder has a size of its own.
_REMOVING = """
unlinkat 263 35 | renameat 264 38 | renameat2 316 276 | rename 82 - | rmdir 84 - | unlink 87 -
"""
# What a GPU's driver needs besides; its devices are opened only where there is one.
_GPU_CALLS = "mlock 149 228 | munlock 150 229"
# What its start needs, and what closes the sandbox behind it: a listening Unix socket on which
# nobody accepts or receives, memory with a name, and the calls that take all of this back.
_START_CALLS = """
sched_setaffinity 203 122
bind 49 200 | listen 50 201 | memfd_create 319 279 | seccomp 317 277
landlock_create_ruleset 444 444 | landlock_add_rule 445 445 | landlock_restrict_self 446 446
"""
# ioctl of NVIDIA's driver that computing needs: those that gVisor's nvproxy publishes for it, and a
# few beside them that only ask or map. With this list driver 580.159.04 trained candidates at every
# level (H200); its own calls in a training step, counted there, are all on it. For another driver
# there is execution.driver_calls: log. Of /dev/nvidiactl and /dev/nvidia*: type F and one of these
# numbers, of any size.
_GPU_NUMBERS = (
    *(0x27, 0x29, 0x2A, 0x2B, 0x34, 0x35, 0x4A, 0x4E, 0x4F, 0x5E),
    *(200, 201, 206, 207, 210, 212, 214, 215, 218),
)
# Of /dev/nvidia-uvm; not 62 and 63, which read and write another process's memory for a debugger.
_UVM_COMMANDS = (
    *(0x30000001, 0x30000002),
    *range(23, 32),
    *(33, 34, 37, 38, 39),
    *range(42, 48),
    *(51, 53, 65, 66, 68),
    *range(70, 76),
)


@dataclass(frozen=True)
class _Call:
    """A system call that one of its arguments decides: its numbers (None: there is none), and what
    may stand there.
    """

    x86_64: int | None
    aarch64: int | None
    argument: int
    allowed: tuple[int, ...] = ()

    def number(self, machine: str) -> int | None:
        return self.x86_64 if machine == "x86_64" else self.aarch64


_FCNTL_COMMANDS = (
    *(0, 1, 2),  # F_DUPFD, F_GETFD, F_SETFD
    *(3, 4),  # F_GETFL, F_SETFL
    *(5, 6, 7),  # F_GETLK, F_SETLK, F_SETLKW; no F_SETOWN: it sends signals to others
    *(1030, 1034),  # F_DUPFD_CLOEXEC, F_GET_SEALS
)
_IOCTL_COMMANDS = (
    *(0x5401, 0x5413),  # TCGETS, TIOCGWINSZ
    *(0x541B, 0x5421),  # FIONREAD, FIONBIO
    *(0x5450, 0x5451),  # FIONCLEX, FIOCLEX
)
# Reading, and names of threads and memory.
_PRCTL_OPTIONS = (
    kernel_calls.GET_DUMPABLE,
    kernel_calls.SET_NAME,
    kernel_calls.GET_NAME,
    kernel_calls.GET_SECCOMP,
    kernel_calls.GET_NO_NEW_PRIVS,
    kernel_calls.SET_VMA,
)
_FCNTL = _Call(72, 25, 1, _FCNTL_COMMANDS)
_IOCTL = _Call(16, 29, 1, _IOCTL_COMMANDS)
_PRCTL = _Call(157, 167, 0, _PRCTL_OPTIONS)
_PRLIMIT = _Call(302, 261, 0, (0,))  # of the calling process itself; the hard limits hold
_START_PRCTL = _Call(157, 167, 0, (*_PRCTL_OPTIONS, kernel_calls.SET_DUMPABLE))
_START_SOCKET = _Call(41, 198, 0, (1,))  # of AF_UNIX alone

# The argument holds the flags.
_OPEN, _OPENAT = _Call(2, None, 1), _Call(257, 56, 2)
_ACCESS_MODE = 3  # O_ACCMODE
_NO_ACCESS = 3  # as an access mode: neither to read nor to write
_TRUNCATE = 0x200  # O_TRUNC
_NAMELESS = 0x400000  # the bit of O_TMPFILE on its own

# The argument holds the process.
_KILL, _TGKILL = _Call(62, 129, 0), _Call(234, 131, 0)
# Of others, too: whoever runs as the same user.
_SET_AFFINITY = _Call(203, 122, 0)

_CLONE, _CLONE3 = {"x86_64": 56, "aarch64": 220}, 435
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000  # of the numbers of the x32 calls
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into somebody's terminal
_DRIVER_TYPE = ord("F")  # of the ioctl of NVIDIA's driver
_TYPE_AND_NUMBER = 0xFFFF  # the bits of an ioctl without its size and direction

# An instruction of classic BPF (linux/filter.h): code, jump if true, jump if false, value.
_Step = tuple[int, int, int, int]
_LOAD = 0x20
_AND = 0x54
_JUMP_EQUAL = 0x15
_JUMP_GREATER_EQUAL = 0x35
_JUMP_SET = 0x45
_RETURN = 0x06

# Offsets in struct seccomp_data: the number of the call, the architecture, the low words of the
# arguments.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

# SECCOMP_RET_*: what becomes of a call.
_ALLOW: _Step = (_RETURN, 0, 0, 0x7FFF0000)
_LOG: _Step = (_RETURN, 0, 0, 0x7FFC0000)
_KILL_PROCESS: _Step = (_RETURN, 0, 0, 0x80000000)
_DENY: _Step = (_RETURN, 0, 0, 0x00050000 | errno.EPERM)
_MISSING: _Step = (_RETURN, 0, 0, 0x00050000 | errno.ENOSYS)
_SKIP: _Step = (_RETURN, 0, 0, 0x00050000)  # it is not made, and says that it succeeded

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _ALL_THREADS = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def supported() -> bool:
    """Say whether this machine's architecture has a filter here and its kernel takes one."""
    # Without an address a kernel that knows filters answers EFAULT.
    answer = prctl(kernel_calls.SET_SECCOMP, kernel_calls.SECCOMP_MODE_FILTER, None)
    known = answer == -1 and ctypes.get_errno() == errno.EFAULT
    return platform.machine() in _ARCHITECTURES and known


def install(gpu: bool, removing: bool, starting: bool = False, log_unlisted: bool = False) -> None:
    """Put the calling process, with all its threads, under the filter for good.

    Raise OSError if refused. gpu, starting, log_unlisted: see `filter_program`. removing: allow
    that files are deleted and renamed.
    """
    machine = platform.machine()
    instructions = filter_program(machine, os.getpid(), gpu, removing, starting, log_unlisted)
    buffer = ctypes.create_string_buffer(instructions)
    program = _Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)

    # After a start no_new_privs is set, and the prctl that sets it is refused.
    is_set = prctl(kernel_calls.GET_NO_NEW_PRIVS) == 1
    if not is_set and prctl(kernel_calls.SET_NO_NEW_PRIVS, 1):
        raise OSError(ctypes.get_errno(), "no_new_privs is refused")

    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program))
    if failed:  # -1, or the thread that could not follow
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

    own_pid: who may be signalled and, on a GPU, bound to processors. gpu: allow what a GPU's driver
    needs. starting: allow what its start needs, too. log_unlisted: let through, and leave in the
    system's log, an ioctl that is not on the driver's list.
    """
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        _KILL_PROCESS,
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":  # the x32 calls, which would go round the numbers
        steps += [(_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT), _DENY]

    # Its flags cannot be read; the C library falls back to clone.
    steps += _if_equal(_CLONE3, [_MISSING])
    only_threads = [_load_argument(0), (_JUMP_SET, 0, 1, _CLONE_THREAD), _ALLOW, _DENY]
    steps += _if_equal(_CLONE[machine], only_threads)

    for call in (_KILL, _TGKILL):
        steps += _if_called(call, machine, _one_of(call.argument, (own_pid,)))
    for call in (_OPEN, _OPENAT):
        steps += _if_called(call, machine, _harmless_opening(call.argument))

    steps += _if_called(_FCNTL, machine, _one_of(_FCNTL.argument, _FCNTL.allowed))
    ioctls = _one_of(_IOCTL.argument, _IOCTL.allowed)
    if gpu:
        ioctls = _of_driver(_IOCTL.allowed, log_unlisted)
    steps += _if_called(_IOCTL, machine, ioctls)
    if gpu and not starting:
        # A driver that places its threads by their own numbers goes on without.
        only_own = _one_of(_SET_AFFINITY.argument, (0, own_pid), otherwise=_SKIP)
        steps += _if_called(_SET_AFFINITY, machine, only_own)
    others = [_START_PRCTL, _PRLIMIT, _START_SOCKET] if starting else [_PRCTL, _PRLIMIT]
    for call in others:
        steps += _if_called(call, machine, _one_of(call.argument, call.allowed))

    for number in sorted(_allowed_numbers(machine, gpu, removing, starting)):
        steps += _if_equal(number, [_ALLOW])
    steps.append(_DENY)
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _allowed_numbers(machine: str, gpu: bool, removing: bool, starting: bool) -> set[int]:
    """Return the numbers of the calls that are allowed whatever their arguments are."""
    numbers = _numbers(_CALLS, machine)
    if gpu:
        numbers |= _numbers(_GPU_CALLS, machine)
    if removing:
        numbers |= _numbers(_REMOVING, machine)
    if starting:
        numbers |= _numbers(_START_CALLS, machine)
    return numbers


def _of_driver(others: tuple[int, ...], log_unlisted: bool) -> list[_Step]:
    """Return the steps that allow the listed ioctls of a GPU's driver, and these others."""
    steps = [_load_argument(_IOCTL.argument)]
    for command in _TERMINAL_INPUT:
        steps += _if_equal(command, [_DENY])
    for command in (*others, *_UVM_COMMANDS):
        steps += _if_equal(command, [_ALLOW])

    steps.append((_AND, 0, 0, _TYPE_AND_NUMBER))
    for number in _GPU_NUMBERS:
        steps += _if_equal(_DRIVER_TYPE << 8 | number, [_ALLOW])
    steps.append(_LOG if log_unlisted else _DENY)
    return steps


def _load_argument(argument: int) -> _Step:
    """Return the step that loads the low word of an argument, 8 bytes each."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)


def _if_called(call: _Call, machine: str, then: list[_Step]) -> list[_Step]:
    """Return the steps that run `then`, which must end in a return, for one call.

    The list is empty where there is no such call.
    """
    number = call.number(machine)
    return [] if number is None else _if_equal(number, then)


def _if_equal(value: int, then: list[_Step]) -> list[_Step]:
    """Return the steps that run `then`, which must end in a return, when the loaded word has this
    value.
    """
    return [(_JUMP_EQUAL, 0, len(then), value), *then]


def _harmless_opening(argument: int) -> list[_Step]:
    """Return the steps that deny the ways of opening that Landlock does not see on every kernel.

    Access mode 3 opens a file with no right at all, and before Linux 6.2 both that and a file
    opened for reading can be emptied by O_TRUNC where only its owner's rights are in the way.
    O_TMPFILE makes files without a name.
    """
    flags = _load_argument(argument)
    read_only = [flags, (_JUMP_SET, 0, 1, _TRUNCATE), _DENY, _ALLOW]
    return [
        flags,
        (_JUMP_SET, 0, 1, _NAMELESS),
        _DENY,
        (_AND, 0, 0, _ACCESS_MODE),
        *_if_equal(_NO_ACCESS, [_DENY]),
        *_if_equal(os.O_RDONLY, read_only),
        _ALLOW,
    ]


def _one_of(argument: int, values: tuple[int, ...], otherwise: _Step = _DENY) -> list[_Step]:
    """Return the steps that allow a call when the low word of an argument is one of the values."""
    steps = [_load_argument(argument)]
    for value in values:
        steps += _if_equal(value, [_ALLOW])
    steps.append(otherwise)
    return steps


def _numbers(table: str, machine: str) -> set[int]:
    """Return the numbers of the calls of a table on a machine."""
    numbers = set()
    for entry in table.replace("\n", "|").split("|"):
        if not entry.strip():
            continue

        _, x86_64, aarch64 = entry.split()
        number = x86_64 if machine == "x86_64" else aarch64
        if number != "-":
            numbers.add(int(number))
    return numbers
