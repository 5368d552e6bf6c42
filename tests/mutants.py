"""Changes lines of a module, one at a time, and runs its tests with each: what none of them notices is printed.

    python tests/mutants.py PACKAGE/MODULE... [--seed N] [--count 20] [--jobs 1] [--line N]

The modules' tests stand in tests/mutants.toml: fast ones alone, so that a module takes a minute or a few. A survivor is
a change that no test would notice: a test is missing, or nothing that matters changes. Those of another seed are other
changes. All happens in copies of the repository. Needs Linux.
"""

import argparse
import contextlib
import dataclasses
import gc
import json
import multiprocessing
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = Path("scripts") / "archloop"
# Imported once, before the children are forked, for they take longest.
HEAVY = ("torch", "transformers", "peft", "polars", "scipy.stats", "sklearn.datasets", "jsonschema", "jinja2", "yaml")
HEAVY += ("pytest", "click", "PIL.Image", "_pytest.assertion.rewrite", "transformers.models.llama.modeling_llama")
ALWAYS = [
    "-p",
    "no:cacheprovider",
    "-x",
    "-q",
    "--tb=short",
    "--no-header",
    "-m",
    "not (workflow or slurm or gpu or hostile)",
]
# A test with a change in it may go on without an end: so many times what all take without one, and at least so long.
PATIENCE, LEAST_S = 4, 20
NOTHING = "no change"


def table() -> dict[str, dict[str, str]]:
    """Return tests/mutants.toml: the arguments for pytest of each module's tests, and why others have none."""
    return tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())


class Reached:
    """A plugin for pytest that writes down of each test its seconds and which lines of a module it runs."""

    def __init__(self, module: Path, notes: Path):
        self.module, self.notes = str(module), notes
        self.found: dict[str, tuple[float, list[int]]] = {}

    def pytest_runtest_logstart(self):
        self.started, self.seen = time.monotonic(), set()
        seen = self.seen

        def line(frame, event, _):
            seen.add(frame.f_lineno)
            return line

        sys.settrace(lambda frame, *_: line if frame.f_code.co_filename == self.module else None)

    def pytest_runtest_logfinish(self, nodeid):
        sys.settrace(None)
        self.found[nodeid] = time.monotonic() - self.started, sorted(self.seen)

    def pytest_sessionfinish(self):
        self.notes.write_text(json.dumps(self.found))


class ReachedFirst:
    """A plugin for pytest that has those tests go first that run a line, the fastest of them before all."""

    def __init__(self, line: int, notes: Path):
        self.line, self.notes = line, notes

    def pytest_collection_modifyitems(self, items):
        found = json.loads(self.notes.read_text())

        def rank(item) -> tuple[bool, float]:
            seconds, lines = found.get(item.nodeid, (0.0, ()))
            return self.line not in lines, seconds

        items.sort(key=rank)


def run_tests(copy: Path, arguments: list[str], plugin: object, limit_s: float) -> tuple[int | None, str]:
    """Run pytest in a forked child; return (its exit status, None where the time ran out, what it said)."""
    scratch = copy.parent / "tmp"
    scratch.mkdir()
    said = copy.parent / "said"
    child = os.fork()
    if not child:
        _become_pytest(copy, arguments, plugin, scratch, said)
    watched = os.pidfd_open(child)
    in_time, _, _ = select.select([watched], [], [], limit_s)
    os.close(watched)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # the group that the child opened: itself and what its tests left
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    subprocess.run(["chmod", "-R", "u+rwx", scratch], stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", scratch], check=True)
    return (status if in_time else None), said.read_text(errors="replace")


def _become_pytest(copy: Path, arguments: list[str], plugin: object, scratch: Path, said: Path) -> None:
    status = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        target = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.chdir(copy)
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        sys.path[:] = [place for place in sys.path if not Path(place).is_relative_to(ROOT / "tests")]
        import pytest

        status = pytest.main([*ALWAYS, *arguments], plugins=[plugin])
        sys.stdout.flush()
    finally:
        os._exit(int(status))


def make_copy(folder: Path) -> Path:
    """Return a copy of the repository as it is, what git ignores left out but for links to the language models."""
    copy = folder / "copy"
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    (copy / "resources" / "models").mkdir(parents=True)
    for model in (ROOT / "resources" / "models").glob("*"):
        (copy / "resources" / "models" / model.name).symlink_to(model)
    return copy


def try_mutants(module: str, found: list, jobs: int) -> list:
    """Return what no test noticed, as mutants; raise SystemExit where the tests fail on the module as it is."""
    tests = table()["tests"][module]
    arguments = [f"tests/{word}" if word.endswith(".py") else word for word in shlex.split(tests)]
    with contextlib.ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mut-"))) for _ in range(jobs)]
        for folder in folders:
            folder.chmod(0o755)  # some tests look at files as another user
        copies = [make_copy(folder) for folder in folders]
        notes = folders[0] / "notes"
        started = time.monotonic()
        plain = Reached(copies[0] / LIBRARY / f"{module}.py", notes)
        status, said = run_tests(copies[0], arguments, plain, 1800)
        if status:
            sys.exit(f"{module}: its tests fail without any change:\n{said[-3000:]}")
        limit_s = max(LEAST_S, PATIENCE * (time.monotonic() - started))
        shares = [
            (copy / LIBRARY / f"{module}.py", arguments, notes, limit_s, found[at::jobs])
            for at, copy in enumerate(copies)
        ]
        # These processes may start others, as tests do: those of multiprocessing.Pool may not.
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
            unnoticed = [each for share in pool.map(_try_share, *zip(*shares)) for each in share]
        if sum(each.kind == NOTHING for each in unnoticed) < sum(bool(share[-1]) for share in shares):
            sys.exit(f"{module}: its tests fail without any change where those of one line go first")
        return sorted((each for each in unnoticed if each.kind != NOTHING), key=lambda each: each.line)


def _try_share(path: Path, arguments: list[str], notes: Path, limit_s: float, share: list) -> list:
    survivors, plain = [], path.read_text()
    # First the module as it is: tests that fail here as well would seem to notice every change.
    unchanged = [dataclasses.replace(each, kind=NOTHING, text=plain) for each in share[:1]]
    for number, each in enumerate([*unchanged, *share], start=1):
        path.write_text(each.text)
        # Python keeps what it compiled until the time in seconds, or the size, differs.
        os.utime(path, (number, number))
        status, _ = run_tests(
            next(each for each in path.parents if each.name == "copy"),
            arguments,
            ReachedFirst(each.line, notes),
            limit_s,
        )
        path.write_text(plain)
        survivors += [each] if status == 0 else []
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", metavar="MODULE", choices=table()["tests"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20, help="Changes a module.")
    parser.add_argument("--jobs", type=int, default=1, help="Changes that are tried at the same time.")
    parser.add_argument("--line", type=int, help="Changes in this line alone, all of them.")
    options = parser.parse_args()
    from mutations import mutants

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the copies are deleted
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in HEAVY:
        __import__(name)
    gc.freeze()  # pytest collects garbage at its end, and need not look at all this
    for module in options.modules:
        started = time.monotonic()
        found = mutants(ROOT / LIBRARY / f"{module}.py", options.count, options.seed, options.line)
        survivors = try_mutants(module, found, options.jobs)
        for each in survivors:
            print(f"{LIBRARY / module}.py:{each.line} ({each.kind})\n    - {each.before}\n    + {each.after}")
        noticed = len(found) - len(survivors)
        print(f"{module}: {noticed} of {len(found)} noticed, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
