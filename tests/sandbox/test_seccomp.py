"""The filter of system calls, run step by step for each kind of processor: what it allows is spelled out here."""

import errno
import platform
import struct
import subprocess
import sys

import pytest

from archloop.sandbox import seccomp

ALLOW, LOG, KILL = 0x7FFF0000, 0x7FFC0000, 0x80000000
DENY, MISSING = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
SKIP = 0x00050000  # without an error
# The number by which the kernel tells processors apart (AUDIT_ARCH_*).
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
machines = pytest.mark.parametrize("machine", ARCHITECTURES)


def numbers(text: str) -> set[int]:
    """Return the numbers of a line such as `0-2 5`."""
    ranges = (part.partition("-") for part in text.split())
    return {number for low, _, high in ranges for number in range(int(low), int(high or low) + 1)}


# Of the kernel's own tables (unistd_64.h, asm-generic/unistd.h): the calls that are allowed whatever their arguments.
ALWAYS = {
    "x86_64": "0-1 3-15 17-28 32-39 60-61 63 73-75 77 79-81 83 85 89 95-100 102 104 107-108 110-111 115 118 120-121 "
    "124-125 127-128 130-131 137-138 140 143 145-147 158 186 201-202 204 213 217-219 221 228-233 237-239 258 262 267 "
    "269-271 273-274 281 284-285 290-293 295-296 309 318 324 326 332 334 439 441 449",
    "aarch64": "17 19-24 32 34 43-44 46-50 57 59 61-70 72-73 78-80 82-83 90 93-94 96 98-103 113-115 120-121 123-126 "
    "128 132-137 139 141 148 150 153 155-156 158 160 163 165-166 168-169 172-179 214-216 222-223 226-227 232-233 "
    "235-237 260 278 283 285 291 293 439 441 449",
}
# unlinkat, renameat, renameat2, rename, rmdir, unlink.
REMOVING = {"x86_64": "82 84 87 263 264 316", "aarch64": "35 38 276"}
# mlock, munlock.
FOR_A_GPU = {"x86_64": "149 150", "aarch64": "228 229"}
# sched_setaffinity, bind, listen, memfd_create, seccomp, landlock_*.
FOR_ITS_START = {"x86_64": "203 49 50 317 319 444-446", "aarch64": "122 200 201 277 279 444-446"}
SET_AFFINITY = {"x86_64": 203, "aarch64": 122}
# What the next calls find in each argument: no value that any of them permits.
ODD = (0x400003,) * 6
# Call -> its number for each processor, the argument that decides, and the values of it that are permitted.
BY_ARGUMENT = {
    "fcntl": ((72, 25), 1, {0, 1, 2, 3, 4, 5, 6, 7, 1030, 1034}),
    "ioctl": ((16, 29), 1, {0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451}),
    "prctl": ((157, 167), 0, {3, 15, 16, 21, 39, 0x53564D41}),
    "prlimit64": ((302, 261), 0, {0}),
    "kill": ((62, 129), 0, {7}),
    "tgkill": ((234, 131), 0, {7}),
}
O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE, O_CLOEXEC = 1, 2, 0o100, 0o1000, 0o2000, 0o20200000, 0o2000000


def runs(code: bytes, number: int, arguments: tuple[int, ...] = (), machine: str = "x86_64") -> int:
    """Return what a filter says of a system call: its program, run step by step as the kernel does (seccomp(2))."""
    steps = [struct.unpack("<HBBI", code[at : at + 8]) for at in range(0, len(code), 8)]
    given = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, ARCHITECTURES[machine], 0, *given)
    at = word = 0
    while True:
        operation, yes, no, value = steps[at]
        at += 1
        match operation:
            case 0x20:  # load a word
                assert value % 4 == 0, "the kernel refuses a load that is not aligned"
                word = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                word &= value
            case 0x15:
                at += yes if word == value else no
            case 0x35:
                at += yes if word >= value else no
            case 0x45:
                at += yes if word & value else no
            case 0x06:
                return value
            case _:
                raise AssertionError(f"operation {operation:#x}")


def lasting(machine: str = "x86_64", gpu: bool = False, removing: bool = False, **more: bool) -> bytes:
    return seccomp.filter_program(machine, 7, gpu, removing, **more)


@machines
@pytest.mark.parametrize(
    ("form", "also"),
    [
        ({}, ()),
        ({"removing": True}, (REMOVING,)),
        ({"gpu": True}, (FOR_A_GPU,)),
        ({"gpu": True, "removing": True, "starting": True}, (REMOVING, FOR_A_GPU, FOR_ITS_START)),
    ],
)
def test_no_other_call_than_those_of_the_table_is_allowed(machine, form, also):
    code = lasting(machine, **form)
    allowed = numbers(" ".join(each[machine] for each in (ALWAYS, *also)))
    verdicts = {number: runs(code, number, ODD, machine) for number in range(600)}
    assert verdicts.pop(435) == MISSING  # clone3
    if form == {"gpu": True}:
        assert verdicts.pop(SET_AFFINITY[machine]) == SKIP
    assert {number for number, verdict in verdicts.items() if verdict == ALLOW} == allowed
    assert {verdict for number, verdict in verdicts.items() if number not in allowed} == {DENY}


@machines
@pytest.mark.parametrize("name", BY_ARGUMENT)
def test_a_call_that_can_do_harm_is_allowed_by_the_value_of_one_argument(machine, name):
    both, position, permitted = BY_ARGUMENT[name]
    number, code = both[machine == "aarch64"], lasting(machine)
    tried = {*range(64), *range(1024, 1040), *range(0x5400, 0x5460), 0x53564D40, 0x53564D41, 0x53564D42}

    def said(value: int) -> int:
        return runs(code, number, (*ODD[:position], value, *ODD[position + 1 :]), machine)

    assert {value for value in tried if said(value) == ALLOW} == permitted
    assert {said(value) for value in tried - permitted} == {DENY}


@machines
def test_on_a_gpu_no_other_process_is_bound_to_processors(machine):
    code, number = lasting(machine, gpu=True), SET_AFFINITY[machine]
    assert [runs(code, number, (process,), machine) for process in (0, 7, 8, 1)] == [ALLOW, ALLOW, SKIP, SKIP]


@machines
def test_threads_are_allowed_and_processes_are_not(machine):
    clone = {"x86_64": 56, "aarch64": 220}[machine]
    thread = 0x3D0F00  # what the C library asks for
    assert runs(lasting(machine), clone, (thread,), machine) == ALLOW
    assert runs(lasting(machine), clone, (thread & ~0x10000,), machine) == DENY
    assert runs(lasting(machine), clone, (17,), machine) == DENY  # fork


@machines
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (0, ALLOW),
        (O_CLOEXEC, ALLOW),
        (O_WRONLY | O_CREAT | O_TRUNC, ALLOW),
        (O_RDWR | O_APPEND, ALLOW),
        (O_RDWR | O_TRUNC, ALLOW),
        (O_TRUNC, DENY),
        (3, DENY),
        (3 | O_TRUNC, DENY),
        (O_TMPFILE | O_RDWR, DENY),
    ],
)
def test_ways_of_opening_that_landlock_does_not_see_are_denied(machine, flags, said):
    places = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}[machine]
    for number, position in places.items():
        assert runs(lasting(machine), number, (0,) * position + (flags,), machine) == said


def test_a_call_of_another_processor_ends_the_process():
    assert runs(lasting("x86_64"), 0, machine="aarch64") == KILL
    assert runs(lasting("aarch64"), 63, machine="x86_64") == KILL


def test_numbers_that_go_round_the_table_are_denied():
    """The x32 calls: those of x86_64 with a bit of their own."""
    assert {runs(lasting(), 0x40000000 | number) for number in range(520)} == {DENY}


@machines
def test_the_filter_of_a_start_allows_a_unix_socket_and_no_other(machine):
    start = lasting(machine, gpu=True, removing=True, starting=True)
    number = {"x86_64": 41, "aarch64": 198}[machine]
    verdicts = {family: runs(start, number, (family, 5), machine) for family in range(46)}
    assert {family for family, each in verdicts.items() if each == ALLOW} == {1}
    assert runs(lasting(machine, gpu=True), number, (1, 5), machine) == DENY


@machines
def test_only_a_start_may_make_the_process_one_that_cannot_be_dumped(machine):
    number = BY_ARGUMENT["prctl"][0][machine == "aarch64"]
    start = lasting(machine, gpu=True, removing=True, starting=True)
    assert runs(start, number, (4, 0), machine) == ALLOW
    assert runs(lasting(machine, gpu=True), number, (4, 1), machine) == DENY


# Of the driver, as gVisor publishes them: /dev/nvidia* by type F and number, of any size; /dev/nvidia-uvm whole.
DRIVER = (0x27, 0x29, 0x2A, 0x2B, 0x34, 0x35, 0x4A, 0x4E, 0x4F, 0x5E, 200, 201, 206, 207, 210, 212, 214, 215, 218)
MEMORY = numbers("23-31 33 34 37-39 42-47 51 53 65 66 68 70-75")


@machines
def test_calls_of_a_gpus_driver_that_computing_needs_are_allowed(machine):
    ioctl = BY_ARGUMENT["ioctl"][0][machine == "aarch64"]
    code = lasting(machine, gpu=True)
    families = {0xC0200000 | ord("F") << 8 | number for number in range(256)}
    tried = {*range(128), 0x30000001, 0x30000002, 0x30000003, *families, 0x5401, 0x5412, 0x541C, 0x125D}
    allowed = {value for value in tried if runs(code, ioctl, (3, value), machine) == ALLOW}
    assert allowed == {0xC0200000 | ord("F") << 8 | number for number in DRIVER} | MEMORY | {
        0x30000001,
        0x30000002,
        0x5401,
    }
    assert not {value for value in allowed - {0x5401} if runs(lasting(machine), ioctl, (3, value), machine) == ALLOW}


@pytest.mark.parametrize("number", [62, 63, 0xC0204654, 0xC020472A, 0x125D])
def test_other_calls_of_a_driver_are_refused_or_by_choice_logged(number):
    assert runs(lasting(gpu=True), 16, (3, number)) == DENY
    assert runs(lasting(gpu=True, log_unlisted=True), 16, (3, number)) == LOG


@pytest.mark.parametrize("number", [0x5412, 0x541C])  # TIOCSTI, TIOCLINUX
def test_nobody_types_into_a_terminal_even_where_calls_are_logged(number):
    assert runs(lasting(gpu=True, log_unlisted=True), 16, (3, number)) == DENY


def test_a_processor_without_a_table_has_no_filter(monkeypatch):
    assert seccomp.supported()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not seccomp.supported()


REFUSED = """
from archloop.sandbox import seccomp
seccomp.filter_program = lambda *_: bytes(8)  # a program that does not end in an answer
try:
    seccomp.install(gpu=False, removing=False)
except OSError as error:
    print(error)
"""
INSTALLED = """
import ctypes, fcntl, os, threading
from archloop.sandbox import seccomp
told, done = threading.Event(), []
def other():
    told.wait()
    try:
        fcntl.ioctl(0, 0x5412, b"x")
    except OSError as error:
        done.append(error.errno)
thread = threading.Thread(target=other)
thread.start()
seccomp.install(gpu=True, removing=False)
told.set()
thread.join()
print(done, ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))
for step in (os.fork, lambda: os.kill(1, 0), lambda: os.unlink("/nowhere")):
    try:
        step()
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [(REFUSED, "[Errno 22] seccomp refuses the filter\n"), (INSTALLED, "[1] 1\n" + "1\n" * 3)],
)
def test_the_kernel_takes_the_filter_for_all_threads_or_an_error_says_that_it_does_not(root, code, says):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PYTHONPATH": str(root / "scripts")},
    )
    assert done.stdout == says, done.stderr


@pytest.mark.parametrize(
    ("result", "number", "takes"), [(-1, errno.EFAULT, True), (-1, errno.EINVAL, False), (0, errno.EFAULT, False)]
)
def test_a_kernel_takes_filters_where_it_looks_for_the_program(monkeypatch, result, number, takes):
    asked = []
    monkeypatch.setattr(seccomp, "prctl", lambda *given: asked.append(given) or result)
    monkeypatch.setattr(seccomp.ctypes, "get_errno", lambda: number)
    assert seccomp.supported() is takes
    assert asked == [(22, 2, None)]  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
