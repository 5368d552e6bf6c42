"""What the machine does not give is no verdict on a program, and nothing that a program does ends its judge."""

import contextlib
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from linear_net import net
from plain_user import ROOT, as_plain_user

from archloop.errors import InputError
from archloop.evaluation.judge import Judge
from archloop.sandbox import isolation, supervisor
from archloop.sandbox.bounds import Bounds, bounds
from archloop.sandbox.orders import Order
from archloop.sandbox.readable_files import readable_paths
from archloop.settings.sections import Evaluation

HONEST = net()
AN_ORDER = Order(
    level="namespaces", bounds=bounds(60, 100, 2), readable=[], hidden=[], grants="", base="", scratch="", device="cpu",
    gpu=False, device_files=[], log_unlisted=False,
)  # fmt: skip
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, or changes control groups")


@pytest.fixture(scope="module")
def settings(settings):
    return replace(settings, threads=2)


@pytest.fixture(scope="module")
def judge(digits):
    with Judge(digits, "cpu", "namespaces") as opened:
        opened.ready_server()
        yield opened


UNDER_A_LIMIT = """
import resource, sys
from archloop import site_limits
from archloop.sandbox import isolation
from archloop.sandbox.bounds import Bounds
resource.setrlimit(getattr(resource, sys.argv[1]), (int(sys.argv[2]),) * 2)
promised = isolation.candidate_limits(Bounds(60, 130, 7000, 2), "namespaces", gpu=False)
print("; ".join(site_limits.shortfalls(promised)))
"""


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RLIMIT_CPU", 15, "allows 15 s of processor time, a candidate is promised 130: raise it (ulimit -t"),
        ("RLIMIT_CPU", 130, ""),
        ("RLIMIT_AS", 4 * 2**30, "allows 4096 MB of address space, a candidate is promised 70"),
        ("RLIMIT_DATA", 3 * 2**30, "allows 3072 MB of data, a candidate is promised 70"),
        ("RLIMIT_NOFILE", 128, "allows 128 open files, a candidate is promised 256: raise it (ulimit -n"),
        ("RLIMIT_FSIZE", 20 * 1024, "allows 0.02 MB a file, a candidate is promised 16: raise it (ulimit -f"),
        ("RLIMIT_STACK", 2**20, "allows 1 MB of stack, a candidate is promised 8: raise it (ulimit -s"),
        ("RLIMIT_NPROC", 20, ""),
    ],
)
def test_a_limit_below_what_is_promised_is_named_with_what_to_do(root, name, value, says):
    command = [sys.executable, "-c", UNDER_A_LIMIT, name, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{name} {says}" if says else "\n") and len(done.stdout.splitlines()) == 1


LARGE_STACK = """
import resource, subprocess
from archloop import site_limits
resource.setrlimit(resource.RLIMIT_STACK, (2**32, resource.getrlimit(resource.RLIMIT_STACK)[1]))
with site_limits.usual_stack():
    subprocess.run(["sh", "-c", "ulimit -s"])
subprocess.run(["sh", "-c", "ulimit -s"])
"""


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_STACK)[1] != resource.RLIM_INFINITY, reason="a bounded stack")
def test_the_stack_that_a_shell_hands_on_is_none_of_the_judges(root):
    """One of 4 GB for each thread would fill the address space of a candidate, whose threads then fail."""
    environment = {"PYTHONPATH": str(root / "scripts"), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", LARGE_STACK], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["8192", str(2**22)], done.stderr


def test_a_judge_that_cannot_write_its_copy_of_the_images_says_so(monkeypatch, digits):
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (20 * 2**20, 20 * 2**20))
    isolation.check_file_size(10 * 2**20)
    with pytest.raises(InputError, match=r"RLIMIT_FSIZE allows 20 MB a file, the judge needs 30: raise it .ulimit -f"):
        isolation.check_file_size(30 * 2**20)


@needs_root
@pytest.mark.parametrize(("room", "says"), [(0, "starts no process more"), (3, "refuses the 16 threads of")])
def test_a_control_group_that_is_full_is_no_crash(judge, settings, room, says):
    groups = [Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    root = next((folder for folder in groups if (folder / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("no control groups")
    before = Path(f"/proc/{judge.server.process.pid}/cgroup").read_text().splitlines()
    group = root / f"archloop-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(1 + room))
        (group / "cgroup.procs").write_text(str(judge.server.process.pid))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"control groups cannot be changed here ({error})")
    try:
        with pytest.raises(InputError, match=f"{says} .*pids.max {1 + room}"):
            judge.judge(HONEST, replace(settings, threads=16), 1)
    finally:
        back = next(line.split(":", 2)[2] for line in before if "pids" in line.split(":")[1] or line.startswith("0::"))
        (root / back.lstrip("/") / "cgroup.procs").write_text(str(judge.server.process.pid))
        group.rmdir()
    assert judge.judge(HONEST, settings, 1)["outcome"] == "trained"


ELSEWHERE = """
import json, sys, tempfile
from pathlib import Path
from archloop.evaluation.judge import Judge
from archloop.settings.sections import Evaluation
from small_data import write_few_digits
level, settings, programs = json.loads(sys.argv[1])
settings = Evaluation(**settings)
with tempfile.TemporaryDirectory() as place, Judge(write_few_digits(Path(place) / "d"), "cpu", level) as judge:
    for program in programs:
        try:
            record = judge.judge(program, settings, 1, static=False)
            print(json.dumps([record["outcome"], record["detail"]]))
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error)]))
"""
MODULES = {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'tests' / 'helpers'}", "PATH": os.environ["PATH"]}


def judged(prepared: str, level: str, settings: Evaluation, programs: list[str], tmp_path: Path) -> list:
    """Return (outcome, detail) of programs that a plain user judges; prepared: lines of shell that root runs before."""
    arguments = [sys.executable, "-B", "-c", ELSEWHERE, json.dumps([level, asdict(settings), programs])]
    command = as_plain_user(arguments, tmp_path)
    command[-1] = command[-1].replace("exec setpriv", f"{prepared}\nexec setpriv")
    done = subprocess.run(command, capture_output=True, text=True, env=MODULES, cwd="/")
    if not done.stdout:
        pytest.skip(f"a plain user cannot judge here: {done.stderr[-300:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


MANY_THREADS = (
    "import threading, time\n        for _ in range(80): threading.Thread(target=time.sleep, args=(9,)).start()"
)


@needs_root
def test_a_supervisor_watches_where_proc_hides_the_candidate_from_it(settings, tmp_path):
    programs = [HONEST, net(MANY_THREADS + "\n        time.sleep(9)")]
    hidden = "mount -t proc -o hidepid=2 proc /proc"
    trained, crashed = judged(hidden, "landlock", settings, programs, tmp_path)
    assert trained == ["trained", ""]
    assert crashed == ["crashed", "more than 64 threads"]


@needs_root
def test_a_limit_on_the_users_processes_is_no_crash(settings, tmp_path):
    more = replace(settings, threads=8)
    output = judged("prlimit --pid $$ --nproc=9", "landlock", more, [HONEST], tmp_path)
    assert (
        output[0][0] == "InputError" and "refuses the 8 threads of evaluation.threads (RLIMIT_NPROC 9" in output[0][1]
    )


OLD_KERNEL = """
import ctypes, errno, json, os, struct, sys
absent = (434, 435, 442, 444, 445, 446)  # pidfd_open, clone3, mount_setattr, Landlock
code = [(0x20, 0, 0, 0)]
for number in absent:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.ENOSYS)]
code.append((0x06, 0, 0, 0x7FFF0000))
text = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in code))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(Program(len(code), ctypes.addressof(text))), 0, 0) == 0
"""


def test_a_kernel_without_descriptors_of_processes_and_without_landlock_judges(settings):
    given = json.dumps(["auto", asdict(settings), [HONEST, "raise SystemExit"]])
    command = [sys.executable, "-c", OLD_KERNEL + ELSEWHERE, given]
    done = subprocess.run(command, capture_output=True, text=True, env=MODULES)
    assert [json.loads(line)[0] for line in done.stdout.splitlines()] == ["trained", "construct"], done.stderr


def test_a_supervisor_that_fails_once_the_sandbox_stands_is_an_outcome_of_its_candidate(judge, settings, monkeypatch):
    real = Order.to_json

    def without_a_time(order: Order) -> bytes:
        return real(replace(order, bounds=replace(order.bounds, timeout_s="x")))

    monkeypatch.setattr(Order, "to_json", without_a_time)
    record = judge.judge(HONEST, settings, 1)
    assert record["outcome"] == "crashed" and "could not be watched any longer (TypeError" in record["detail"]


@pytest.mark.parametrize(
    ("name", "threads", "outcome"),
    [
        (b"\xff\xfe", 1, None),
        (b"x\nThreads:\t99", 1, None),
        (b"\nVmSwap: x kB", 1, None),
        (b"\nRssAnon: 9e9", 1, None),
        (b"x\nThreads:\t1", 99, "crashed"),
    ],
)
def test_a_process_is_watched_whatever_it_calls_itself(tmp_path, name, threads, outcome):
    path = tmp_path / "status"
    path.write_bytes(b"Name:\t" + name + b"\nVmSize:\t9 kB\nRssAnon:\t 1000 kB\nThreads:\t%d\n" % threads)
    with open(path, "rb", buffering=0) as status:
        broken = supervisor.broken_limit(status, lambda: None, AN_ORDER, float("inf"))
    assert (broken and broken[0]) == outcome


NO_NAME = "import getpass, os; os.setuid(54321); assert getpass.getuser() == 'archloop'"


@needs_root
def test_libraries_find_a_user_and_a_folder_for_their_caches_where_there_is_no_name(judge):
    environment = Path(f"/proc/{judge.server.process.pid}/environ").read_bytes().decode().split("\0")
    variables = dict(entry.partition("=")[::2] for entry in environment if entry)
    done = subprocess.run([sys.executable, "-c", NO_NAME], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        variables["TORCHINDUCTOR_CACHE_DIR"]
        and variables["TRITON_CACHE_DIR"]
        and variables["HOME"] == str(judge.folder / "home")
    )


# All modules first, for the Python may lie in a folder that nobody else can enter.
UNNAMED = "import getpass, os; from archloop import python_command; os.setuid(54321); python_command.name_the_user(); "
UNNAMED += "print(getpass.getuser())"


@needs_root
@pytest.mark.parametrize(("given", "name"), [({}, "user54321"), ({"LOGNAME": "ada"}, "ada")])
def test_a_script_runs_for_a_user_without_a_name(root, given, name):
    environment = {"PYTHONPATH": str(root / "scripts")} | given
    done = subprocess.run([sys.executable, "-c", UNNAMED], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == name, done.stderr


def test_a_trial_that_cannot_run_is_no_fault_of_the_kernel(monkeypatch):
    monkeypatch.setattr(isolation.python_command, "LIBRARY", Path("/nowhere"))
    isolation.obstacle.cache_clear()
    with pytest.raises(InputError, match=r"cannot try the sandbox \(.*No module named 'archloop'"):
        isolation.obstacle("namespaces")
    isolation.obstacle.cache_clear()


def test_a_colon_in_the_path_of_the_library_weakens_nothing_of_the_sandbox(tmp_path, root, monkeypatch):
    folder = tmp_path / "run_12:30"
    folder.symlink_to(root / "scripts")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from archloop.sandbox import isolation; "
        "print(isolation.obstacle('namespaces'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.stdout.strip() == str(isolation.obstacle("namespaces")), done.stderr


def test_the_limits_that_hold_are_reported_and_one_that_is_too_low_fails_the_job(digits, settings):
    """A judge of its own: its server's limits are lowered, as a site would have done, and stay so."""
    with Judge(digits, "cpu", "namespaces") as judge:
        assert judge.judge(HONEST, settings, 1)["limits"]["RLIMIT_NPROC"] == isolation.MAXIMUM_THREADS
        resource.prlimit(judge.server.process.pid, resource.RLIMIT_NPROC, (40, 40))
        limits = judge.judge(HONEST, settings, 1)["limits"]
        assert (limits["RLIMIT_NPROC"], limits["RLIMIT_CPU"], limits["RLIMIT_NOFILE"]) == (40, 130, 256)
        resource.prlimit(judge.server.process.pid, resource.RLIMIT_CPU, (15, 15))
        with pytest.raises(InputError, match="cannot judge at level namespaces: RLIMIT_CPU allows 15 s") as caught:
            judge.judge(HONEST, settings, 1)
    assert "\n" not in str(caught.value)


def test_what_a_training_may_take_follows_from_the_settings():
    assert bounds(4.7, 100, 2) == Bounds(timeout_s=4.7, cpu_s=19, memory_mb=100, threads=2)


def test_a_candidate_has_these_limits(monkeypatch):
    monkeypatch.setattr(isolation, "kernel", lambda: (5, 14))
    promised = bounds(4.5, 100, 2)
    limits = isolation.candidate_limits(promised, "namespaces", gpu=False)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    assert abs(limits.pop(resource.RLIMIT_AS) - mapped - 100 * 2**20) < 16 * 2**20
    files = {resource.RLIMIT_FSIZE: 2**24, resource.RLIMIT_NOFILE: 256, resource.RLIMIT_STACK: 2**23}
    assert limits == files | {resource.RLIMIT_CPU: 19, resource.RLIMIT_NPROC: 64}
    gpu = isolation.candidate_limits(promised, "namespaces", gpu=True)
    assert gpu == files | {resource.RLIMIT_CPU: 19, resource.RLIMIT_NPROC: 64}
    assert resource.RLIMIT_NPROC not in isolation.candidate_limits(promised, "landlock", gpu=False)
    monkeypatch.setattr(isolation, "kernel", lambda: (5, 13))
    assert resource.RLIMIT_NPROC not in isolation.candidate_limits(promised, "namespaces", gpu=False)


def test_a_scratch_folder_has_these_bounds():
    assert (isolation.SCRATCH_MB, isolation.SCRATCH_FILES, isolation.SCRATCH_DEPTH) == (16, 1024, 32)
    assert (isolation.MAXIMUM_THREADS, isolation.OPEN_FILES) == (64, 256)
    assert isolation.LEVELS == ("namespaces", "bubblewrap", "landlock")


def test_the_version_of_the_kernel_is_its_first_two_numbers(monkeypatch):
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.18.44-rc7", "", "x86_64")))
    assert isolation.kernel() == (6, 18)


@pytest.mark.parametrize(
    ("status", "said", "found"),
    [(0, "", None), (3, "no user namespaces", "no user namespaces"), (1, "Traceback", InputError)],
)
def test_a_trial_of_namespaces_tells_the_machine_from_the_installation(monkeypatch, status, said, found):
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, status, "", said)

    monkeypatch.setattr(subprocess, "run", run)
    if found is InputError:
        with pytest.raises(InputError, match=r"cannot try namespaces \(Traceback\); fix the environment"):
            isolation.obstacle.__wrapped__("namespaces")
    else:
        assert isolation.obstacle.__wrapped__("namespaces") == found
    isolation.obstacle.__wrapped__("landlock")
    assert [command[-2:] for command in asked] == [[isolation.scratch_base(), ""]]


REFUSED = """
from archloop.sandbox import isolation, namespaces

def refuse(*given, **named):
    raise OSError("no namespaces")

namespaces.{step} = refuse
isolation.try_namespaces("/nowhere/at/all", "")
"""


@pytest.mark.parametrize("step", ["leave", "build_root"])
def test_a_trial_that_the_machine_refuses_ends_with_a_status_of_its_own_and_says_why(root, step):
    code = REFUSED.format(step=step)
    if step == "build_root":  # in the child, whose status the trial passes on
        code = code.replace("isolation.try", "namespaces.leave = lambda: None\nisolation.try")
    command, environment = [sys.executable, "-c", code], {"PYTHONPATH": str(root / "scripts")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "no namespaces\n")


def test_a_trial_mounts_on_the_folder_of_temporary_files_that_links_lead_to(monkeypatch, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "link"))
    assert isolation.scratch_base() == str(tmp_path / "real")
    monkeypatch.delenv("TMPDIR")
    assert isolation.scratch_base() == os.path.realpath("/tmp")
    for there_is_none in ("", str(tmp_path / "nowhere")):
        monkeypatch.setenv("TMPDIR", there_is_none)
        assert isolation.scratch_base() == os.path.realpath("/tmp")


def test_landlock_works_where_the_kernel_has_it(monkeypatch):
    for version, reason in ((0, "the kernel has no Landlock"), (1, None)):
        monkeypatch.setattr(isolation.landlock, "abi", lambda version=version: version)
        assert isolation.obstacle.__wrapped__("landlock") == reason


def test_levels_are_tried_from_the_strongest_on(monkeypatch):
    asked = []
    monkeypatch.setattr(isolation, "obstacle", lambda level, gpu: asked.append((level, gpu)) or f"no {level}")
    for wanted, levels in (
        ("auto", isolation.LEVELS),
        ("namespaces", isolation.LEVELS[:2]),
        ("bubblewrap", ("bubblewrap",)),
    ):
        asked.clear()
        reasons = "; ".join(f"{level}: no {level}" for level in levels)
        with pytest.raises(
            InputError, match=rf"execution.isolation: {wanted} does not work on .*\({reasons}\), so nothing"
        ):
            isolation.choose_level(wanted, gpu=True)
        assert asked == [(level, True) for level in levels]
    assert isolation.choose_level("none") == "none"


CONFINED = """
import json, os, resource, signal, sys, tempfile
from archloop.sandbox import isolation
from archloop.sandbox.bounds import bounds
from archloop.sandbox.orders import Order
scratch, grants = sys.argv[1:]
tempfile.gettempdir()
os.environ.update(SECRET="x", CUDA_VISIBLE_DEVICES="2", CUDA_DEVICE_ORDER="PCI_BUS_ID")
order = Order(
    level="none", bounds=bounds(20, 500, 1), readable=[], hidden=[], grants=grants, base="/", scratch=scratch,
    device="cpu", gpu=False, device_files=[], log_unlisted=False,
)
isolation.confine(order)()
names = ("CPU", "FSIZE", "NOFILE", "CORE", "MEMLOCK", "MSGQUEUE", "RTPRIO")
limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names}
ignored = signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
print(json.dumps([dict(os.environ), limits, ignored, tempfile.gettempdir()]))
"""


def test_a_candidate_has_this_environment_and_these_limits(tmp_path, root):
    (tmp_path / "grants").write_text("[[], []]")
    command = [sys.executable, "-c", CONFINED, str(tmp_path), str(tmp_path / "grants")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    environment, limits, ignored, temporary = json.loads(done.stdout or done.stderr)
    caches = ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
    assert environment == {
        "PATH": "/usr/bin:/bin",
        "TMPDIR": str(tmp_path),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "USER": "archloop",
        "LOGNAME": "archloop",
        "HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "2",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    } | dict.fromkeys(caches, f"{tmp_path}/cache")
    nothing = {name: [0, 0] for name in ("CORE", "MEMLOCK", "MSGQUEUE", "RTPRIO")}
    assert limits == nothing | {"CPU": [30, 30], "FSIZE": [2**24, 2**24], "NOFILE": [256, 256]}
    assert ignored and temporary == str(tmp_path)


def test_a_limit_that_is_lower_already_stays(root):
    code = "import resource; from archloop.sandbox import isolation; "
    code += "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); "
    code += "isolation.set_limits({resource.RLIMIT_NOFILE: 256}); print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")}
    )
    assert done.stdout == "(100, 100)\n", done.stderr


def test_the_gpus_of_a_machine_are_its_files(monkeypatch, tmp_path):
    for name in ("nvidia0", "nvidiactl", "null", "nvidia-uvm"):
        (tmp_path / name).touch()
    real = Path
    monkeypatch.setattr(isolation, "Path", lambda place: tmp_path if place == "/dev" else real(place))
    assert isolation.gpu_devices() == [str(tmp_path / name) for name in ("nvidia-uvm", "nvidia0", "nvidiactl")]


BEHIND = """
import ctypes, json, os, sys
from archloop.sandbox import isolation
from archloop.sandbox.bounds import bounds
from archloop.sandbox.orders import Order
kind, scratch, grants = sys.argv[1:]
prctl = ctypes.CDLL(None).prctl
order = Order(
    level="landlock", bounds=bounds(20, 500, 1), readable=[], hidden=[], grants=grants, base="/", scratch=scratch,
    device="cpu", gpu=kind == "gpu", device_files=[], log_unlisted=False,
)

def removes():
    open(scratch + "/file", "w").close()
    try:
        os.unlink(scratch + "/file")
    except OSError:
        return False
    return True

close = isolation.confine(order)
found = []
for step in (close, close):
    found.append([prctl(3, 0, 0, 0, 0), prctl(39, 0, 0, 0, 0), removes()])
    if len(found) == 1:
        close()
print(json.dumps(found))
"""


def seen_in_the_sandbox(root, tmp_path, kind: str) -> list[list]:
    """Return (may be dumped, has no new privileges, may remove a file) after the start and in the closed sandbox."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "grants").write_text("[[], []]")
    command = [sys.executable, "-c", BEHIND, kind, str(tmp_path / "scratch"), str(tmp_path / "grants")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nobody_reads_the_memory_of_a_candidate_and_it_hides_no_file(root, tmp_path):
    assert seen_in_the_sandbox(root, tmp_path, "cpu") == [[0, 1, False], [0, 1, False]]


def test_the_start_of_a_gpu_has_a_wider_sandbox_that_is_closed_behind_it(root, tmp_path):
    assert seen_in_the_sandbox(root, tmp_path, "gpu") == [[1, 1, True], [0, 1, False]]


GRANTED = """
import errno, json, os, sys
from archloop.sandbox import isolation
from archloop.sandbox.bounds import bounds
from archloop.sandbox.orders import Order
place, grants = sys.argv[1:]
order = Order(
    level="landlock", bounds=bounds(20, 500, 1), readable=[], hidden=[], grants=grants, base="/",
    scratch=place + "/scratch", device="cpu", gpu=False, device_files=[], log_unlisted=False,
)

def outcome(step, *given):
    try:
        return step(*given)
    except OSError as error:
        return errno.errorcode[error.errno]

def read(path):
    with open(path) as opened:
        return opened.read()

def write(path):
    with open(path, "w") as opened:
        return opened.write("new")

isolation.confine(order)()
found = {}
for name in ("readable", "listed", "other", "scratch"):
    folder = f"{place}/{name}"
    found[name] = [outcome(step, given) for step, given in ((os.listdir, folder), (read, f"{folder}/file"))]
    found[name].append(outcome(write, f"{folder}/file"))
found["device"] = outcome(write, "/dev/null")
print(json.dumps(found))
"""


def test_landlock_leaves_what_may_be_read_what_may_be_listed_and_the_scratch_folder(root, tmp_path):
    if isolation.obstacle("landlock") is not None:
        pytest.skip("no Landlock here")
    for name in ("readable", "listed", "other", "scratch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("kept")
    (tmp_path / "grants").write_text(json.dumps([[str(tmp_path / "readable")], [str(tmp_path / "listed")]]))
    command = [sys.executable, "-c", GRANTED, str(tmp_path), str(tmp_path / "grants")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "readable": [["file"], "kept", "EACCES"],
        "listed": [["file"], "EACCES", "EACCES"],
        "other": ["EACCES", "EACCES", "EACCES"],
        "scratch": [["file"], "kept", 3],
        "device": 3,
    }


def test_a_scratch_folder_in_memory_may_be_emptied_for_its_size_is_bounded(judge, settings):
    removing = "import os; open('/scratch/x', 'w').close(); os.remove('/scratch/x')"
    assert judge.judge(net(removing), settings, 1, static=False)["outcome"] == "trained"


def test_a_candidate_with_too_many_threads_is_ended_where_no_limit_counts_them(judge, settings, monkeypatch):
    monkeypatch.setattr(judge, "level", "landlock")
    record = judge.judge(net(MANY_THREADS + "\n        time.sleep(9)"), settings, 1, static=False)
    assert (record["outcome"], record["detail"]) == ("crashed", "more than 64 threads")


def test_a_candidate_may_read_the_folders_of_the_dynamic_linker(monkeypatch, tmp_path):
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:/nowhere/at/all:relative")
    paths = readable_paths()
    assert str(tmp_path) in paths and len(paths) == len(set(paths)) and all(os.path.lexists(path) for path in paths)


def test_a_trial_runs_with_the_libraries_of_the_judge_and_nothing_of_the_users(monkeypatch):
    environments = []

    def run(command, env, **_):
        environments.append(env)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/libraries")
    assert isolation.obstacle.__wrapped__("namespaces") is None
    monkeypatch.delenv("LD_LIBRARY_PATH")
    isolation.obstacle.__wrapped__("namespaces")
    plain = {"PATH": os.defpath} | isolation.identity("/nonexistent")
    assert environments == [plain | {"LD_LIBRARY_PATH": "/libraries"}, plain]


ORPHAN = """
import ctypes
from archloop.sandbox import isolation
isolation.die_with_parent()
signal = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(signal), 0, 0, 0)  # PR_GET_PDEATHSIG
print(signal.value)
"""


def test_a_process_ends_with_its_parent(root):
    command, environment = [sys.executable, "-c", ORPHAN], {"PYTHONPATH": str(root / "scripts")}
    assert subprocess.run(command, capture_output=True, text=True, env=environment).stdout == "9\n"


IN_A_ROOT = """
import errno, json, os, sys
from archloop.sandbox import isolation, namespaces
from archloop.sandbox.bounds import bounds
from archloop.sandbox.orders import Order
from archloop.sandbox.readable_files import readable_paths
kind, base, grants = sys.argv[1:]
order = Order(
    level="namespaces", bounds=bounds(20, 2000, 1), readable=readable_paths(), hidden=[], grants=grants, base=base,
    scratch="", device="cpu", gpu=kind == "gpu", device_files=[], log_unlisted=False,
)

def outcome(step):
    try:
        step()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def name():
    with open("/proc/self/comm", "w") as opened:
        opened.write("own")

namespaces.leave()
if os.fork() == 0:
    close = isolation.confine(order)
    found = [outcome(name), outcome(lambda: os.waitpid(-1, os.WNOHANG))]
    close()
    held = []
    if order.gpu:
        with open("/proc/self/status") as status:
            held = sorted({line.split()[1] for line in status if line.startswith("Cap")})
    print(json.dumps([*found, outcome(name), held]), flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.parametrize(
    ("kind", "found"),
    [("cpu", ["ENOENT", "ECHILD", "ENOENT", []]), ("gpu", ["done", "done", "EROFS", ["0" * 16]])],
)
def test_the_own_folder_in_proc_is_there_for_the_start_of_a_gpu_and_closed_behind_it(root, tmp_path, kind, found):
    """A child closes it, which a process without a GPU has not. Of capabilities none is left."""
    if isolation.obstacle("namespaces", True) is not None:
        pytest.skip("no namespaces with a /proc of their own here")
    (tmp_path / "base").mkdir()
    (tmp_path / "grants").write_text("[[], []]")
    command = [sys.executable, "-c", IN_A_ROOT, kind, str(tmp_path / "base"), str(tmp_path / "grants")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    assert done.stdout == json.dumps(found) + "\n", done.stderr
