"""Judges hostile programs by one judge, and looks whether anything happened outside its sandbox.

A program prints BREACH when the kernel granted what the sandbox must deny; everything else is seen from outside: canary
files, listeners, processes, leftovers, secrets. Run as a program it is the same bench for another user: it reads
requests, one line of JSON each ([method, name]), and answers with one line each.
"""

import contextlib
import json
import os
import pwd
import re
import signal
import socket
import sys
import sysconfig
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import stand_in
import yaml
from canaries import Canaries
from catalogue import Hostile, honest_programs, hostile_programs

from archloop.errors import InputError
from archloop.evaluation import judge
from archloop.evaluation.judge import Judge
from archloop.settings.complete import complete
from archloop.settings.sections import Evaluation

ROOT = Path(__file__).parents[2]
SETTINGS = {"batch_size": 16, "learning_rate": 0.01, "momentum": 0.9, "epochs": 1, "dropout": 0.2, "gradient_clip": 3.0}
SETTINGS |= {"parameter_budget": 300_000, "threads": 1, "timeout_s": 60, "memory_mb": 1500, "protocol": "native"}
METHODS = ("run", "run_honest", "refuse", "finish")
HONEST_EVERY = 10
# Longest time beside a program's own: the start of a process, the end of a namespace, on a busy machine.
GRACE_S = 20
# 64 KB are kept; an escaped byte takes up to ten characters.
LONGEST_LOG, LONGEST_DETAIL = 10 * 64 * 1024, 1000
BREACH = re.compile(r"(?:^|\n|\\n)[ \t]*(BREACH[^\n]*)")
SERVER = judge.SERVER
SYSTEM_V_KEYS = {str(0x41524348), str(0x41524349)}
# What other judges, their canaries and torch's launcher leave in a folder for temporary files while they work.
OF_OTHERS = re.compile(r"archloop-(canary-.*|[a-z0-9_]{8})|torchelastic_.*")
SUSPECT = ("archloop", "breach", "torch", "sitecustomize", "usercustomize")


class Bench:
    """One judge for a whole battery, its canaries, and the state of the machine before. A context manager.

    level: `landlock`, or `landlock+gpu` for the sandbox as it is once a GPU's driver has started in it. Entering raises
    InputError where this machine has no sandbox of this level.
    """

    def __init__(self, level: str):
        self.level, _, form = level.partition("+")
        self.gpu, self.judged, self.broken = form == "gpu", 0, False
        self.programs = {each.name: each for each in hostile_programs()}
        self.honest_programs = honest_programs()
        given = yaml.safe_load((ROOT / "tests" / "test.yaml").read_text(encoding="utf-8"))
        self.settings = Evaluation(**complete(given)["evaluation"] | SETTINGS)

    def __enter__(self) -> "Bench":
        self.stack = contextlib.ExitStack()
        try:
            self.canaries = self.stack.enter_context(Canaries())
            self.places = {place: _names(place) for place in _shared_places()}
            self.free = {place: os.statvfs(place) for place in (tempfile.gettempdir(), "/dev/shm")}
            self.started, self.family_before = time.time(), _family()
            self.judging = contextlib.ExitStack()
            if self.gpu:
                judge.SERVER = stand_in.server("")
            self.judge = self.judging.enter_context(Judge(self.canaries.dataset, "cpu", self.level))
            self.judge.gpu = self.gpu
            self.stack.callback(self.judging.close)
            self.honest = self._honest()
            self.places |= {place: _names(place, deep=True) for place in _code_places()}
            self.children, self.family = _children(), _family()
            self.commands = {_command(pid) for pid in self.family} - {_command(os.getpid()), ()}
            self.machine = _machine()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        judge.SERVER = SERVER
        self.stack.close()

    def run(self, name: str) -> dict:
        """Judge one hostile program by the sandbox alone; return {"record", "problems"}."""
        case, record, problems = self.programs[name], {"outcome": "unjudged"}, []
        if self.broken:
            return {"record": record, "problems": ["not judged: an earlier program had broken the judge"]}
        for _ in range(case.repeat):
            started = time.monotonic()
            try:
                record = self._judge(self.canaries.aimed(case.program), case.timeout_s, static=False)
                problems += self._about(record, case, time.monotonic() - started)
            except Exception as error:
                self.broken = isinstance(error, TimeoutError)
                problems.append(f"the judge raised {type(error).__name__}: {str(error)[:200]}")
            problems += self._outside()
        self.judged += 1
        if self.judged % HONEST_EVERY == 0 and not self.broken:
            problems += self._honest_again()
        return {"record": record, "problems": problems}

    def run_honest(self, name: str) -> dict:
        """Judge one honest program, the static check on."""
        record = self._judge(self.honest_programs[name], self.settings.timeout_s, static=True)
        return {"record": record, "problems": self._outside()}

    def refuse(self, name: str) -> dict:
        """Judge one hostile program, the static check on."""
        case = self.programs[name]
        return {"record": self._judge(self.canaries.aimed(case.program), case.timeout_s, static=True), "problems": []}

    def finish(self, _name: str = "") -> dict:
        """End the judge; return what the battery has left behind in processes, files, memory and the machine."""
        problems = [] if self.broken else self._honest_again() + self._outside()
        with _alarm(60):
            self.judging.close()
        problems += [f"{self.judge.folder} is left"] if self.judge.folder.exists() else []
        if not _soon(lambda: _family() <= self.family_before and not self._orphans()):
            problems.append(f"processes are left: {_described(_family() - self.family_before | self._orphans())}")
        for place, before in self.places.items():
            new = sorted(_names(place, deep=place in _code_places()) - before)
            problems += [f"{place} has {len(new)} new: {new[:5]}"] if new else []
        for place, before in self.free.items():
            now = os.statvfs(place)
            if (before.f_bavail - now.f_bavail) * now.f_frsize > 400 * 2**20 or before.f_favail - now.f_favail > 20_000:
                problems.append(f"{place} has lost space or inodes")
        return {"record": {}, "problems": problems}

    def _judge(self, program: str, timeout_s: float, static: bool) -> dict:
        with _alarm(timeout_s + 3 * GRACE_S):
            return self.judge.judge(program, replace(self.settings, timeout_s=timeout_s), 1, static=static)

    def _honest(self) -> tuple:
        record = self._judge(self.honest_programs["prints_and_catches"], self.settings.timeout_s, static=True)
        if record["outcome"] != "trained" or record["isolation"] != self.level:
            raise AssertionError(f"an honest program ended as {record}")
        return record["outcome"], record["accuracy"], record["parameters"]

    def _honest_again(self) -> list[str]:
        try:
            again = self._honest()
        except Exception as error:
            return [f"an honest program is harmed: {error}"]
        return [] if again == self.honest else [f"an honest program scored {self.honest}, now {again}"]

    def _about(self, record: dict, case: Hostile, seconds: float) -> list[str]:
        """Return what is wrong with a record."""
        log, detail, accuracy = record.get("log") or "", record.get("detail") or "", record.get("accuracy")
        problems = [f"printed {line[:200]}" for line in BREACH.findall(log)[:5]]
        if seconds > case.timeout_s + GRACE_S:
            problems.append(f"took {seconds:.0f} s of {case.timeout_s:g}")
        if record.get("isolation", self.level) != self.level:
            problems.append(f"judged behind {record['isolation']}")
        if not all(c.isprintable() or c in "\n\t" for c in log) or not detail.isprintable():
            problems.append("the log or the detail has characters that are not printable")
        if len(log) > LONGEST_LOG or len(detail) > LONGEST_DETAIL:
            problems.append(f"the log has {len(log)} characters, the detail {len(detail)}")
        if (accuracy is not None) != (record["outcome"] == "trained"):
            problems.append(f"{record['outcome']} with accuracy {accuracy}")
        if accuracy is not None and not 0 <= accuracy <= 1:
            problems.append(f"accuracy {accuracy}")
        if accuracy is not None and case.below is not None and accuracy >= case.below:
            problems.append(f"accuracy {accuracy}, which it has not earned (below {case.below})")
        try:
            text = json.dumps(record, allow_nan=False)
            text.encode()
        except (TypeError, ValueError) as error:
            return problems + [f"the record is no JSON: {error}"]
        return problems + ["a secret is in the record" for secret in self.canaries.secrets if secret in text]

    def _outside(self) -> list[str]:
        """Return what happened outside the sandbox since the last look."""
        problems = self.canaries.problems()
        if not _soon(lambda: len(_family()) <= len(self.family) and not self._orphans()):
            problems.append(f"processes are left: {_described(_family() - self.family | self._orphans())}")
        if _children() != self.children:
            problems.append("the judge's server died or was started again")
            self.children, self.family = _children(), _family()
        for name, value in _machine().items():
            if value != self.machine[name]:
                problems.append(f"the machine's {name} changed")
        self.machine = _machine()
        for place in _shared_places():
            planted = {name for name in _names(place) - self.places[place] if "breach" in name}
            problems += [f"{place} has {sorted(planted)[:5]}"] if planted else []
            self.places[place] |= planted
        return problems

    def _orphans(self) -> set[int]:
        """Return processes that were forked from the judge and belong to nobody now."""
        orphans = set()
        for process in psutil.process_iter(["ppid", "cmdline", "create_time"]):
            seen = process.info
            command = tuple(seen["cmdline"] or ())
            ours = command in self.commands or any(str(self.judge.folder) in word for word in command)
            if ours and seen["ppid"] == 1 and seen["create_time"] >= self.started - 1:
                orphans.add(process.pid)
        return orphans


@contextlib.contextmanager
def _alarm(seconds: float):
    """Raise TimeoutError in the block after this many seconds: a judge that waits forever has lost."""

    def ring(*_):
        raise TimeoutError(f"no verdict after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _soon(condition, seconds: float = 5) -> bool:
    """Return whether the condition holds within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


def _family() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def _command(pid: int) -> tuple[str, ...]:
    with contextlib.suppress(psutil.Error):
        return tuple(psutil.Process(pid).cmdline())
    return ()


def _described(pids: set[int]) -> list[str]:
    return [f"{pid} {' '.join(_command(pid))[:80]}" for pid in sorted(pids)][:5]


def _shared_places() -> list[str]:
    """Return folders of the machine where a program might leave files, each looked at on its own level."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    below = ("", ".cache", ".config", ".local", ".torch", ".cache/torch")
    return sorted({tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", *(f"{home}/{name}" for name in below)})


def _code_places() -> list[str]:
    """Return folders with code that later programs would import."""
    paths = sysconfig.get_paths()
    return sorted({paths["purelib"], paths["platlib"], str(ROOT / "scripts")})


def _names(place: str, deep: bool = False) -> set[str]:
    """Return the suspect names in a folder; deep: all names below it, but for bytecode that any import may write."""
    if deep:
        walk = (f"{folder}/{name}" for folder, folders, files in os.walk(place) for name in (*folders, *files))
        return {name for name in walk if "breach" in name or not name.endswith((".pyc", "__pycache__"))}
    try:
        names = os.listdir(place)  # noqa: PTH208
    except OSError:
        return set()
    # The own judge's folder is looked at by name.
    return {name for name in names if any(word in name for word in SUSPECT) and not OF_OTHERS.fullmatch(name)}


def _machine() -> dict[str, object]:
    """Return what programs could change for everybody: mounts, host name, System V objects, own limits."""
    objects = set()
    for kind in ("shm", "sem", "msg"):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
            objects |= {f"{kind} {line.split()[0]}" for line in lines if line.split()[0] in SYSTEM_V_KEYS}
    mounts = sorted(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    mine = psutil.Process()
    return {"mounts": mounts, "host name": socket.gethostname(), "System V objects": objects, "priority": mine.nice()}


def main(level: str) -> None:
    """Answer requests on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(value: dict) -> None:
        print(json.dumps(value), file=answers, flush=True)

    with contextlib.ExitStack() as stack:
        try:
            bench = stack.enter_context(Bench(level))
        except InputError as error:
            return say({"unavailable": str(error)})
        say({"ready": True})
        for line in sys.stdin:
            method, name = json.loads(line)
            if method not in METHODS:
                raise ValueError(method)
            say(getattr(bench, method)(name))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
