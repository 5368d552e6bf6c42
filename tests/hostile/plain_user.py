"""The bench of a user without privileges, driven by root.

The interpreter may live in a folder that this user cannot enter (pyenv in the home of root). No permission is changed
for that: the driver starts in a mount namespace of its own, in which the closed folder is covered by an empty one that
shows the needed trees alone, at their own paths.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
USER = 65534


class Unavailable(Exception):
    """This machine cannot run the battery as another user, or has no walls of this level for it."""


class PlainBench:
    """The same methods as bench.Bench, answered by a driver that runs as the plain user. A context manager."""

    def __init__(self, level: str, stage: Path):
        self.level, self.stage = level, stage

    def __enter__(self) -> "PlainBench":
        missing = [tool for tool in ("unshare", "setpriv", "mount") if not shutil.which(tool)]
        if missing:
            raise Unavailable(f"{missing[0]} is not installed")
        probe = subprocess.run(
            as_plain_user([sys.executable, "-B", "-c", "import torch"], self.stage),
            cwd="/",
            capture_output=True,
            text=True,
        )
        if probe.returncode:
            raise Unavailable(f"a plain user cannot run this Python here: {' '.join(probe.stderr.splitlines()[-1:])}")
        driver = [sys.executable, "-B", str(Path(__file__).with_name("bench.py")), self.level]
        modules = os.pathsep.join(map(str, (ROOT / "scripts", ROOT / "tests", Path(__file__).parent)))
        environment = {"PYTHONPATH": modules, "PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
        self.complaints = open(self.stage / "driver.log", "w+b")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.complaints}
        self.process = subprocess.Popen(as_plain_user(driver, self.stage), cwd="/", env=environment, text=True, **pipes)
        state = self._answer()
        if state is None:
            self.process.wait()
            self.complaints.seek(0)
            complaint = self.complaints.read().decode(errors="replace")
            self.__exit__()
            raise AssertionError(f"the driver of the plain user died:\n{complaint}")
        if "unavailable" in state:
            self.__exit__()
            raise Unavailable(state["unavailable"])
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.complaints.close()

    def run(self, name: str) -> dict:
        return self._ask("run", name)

    def run_honest(self, name: str) -> dict:
        return self._ask("run_honest", name)

    def refuse(self, name: str) -> dict:
        return self._ask("refuse", name)

    def finish(self) -> dict:
        return self._ask("finish", "")

    def _ask(self, method: str, name: str) -> dict:
        try:
            self.process.stdin.write(json.dumps([method, name]) + "\n")
            self.process.stdin.flush()
            answer = self._answer()
        except BrokenPipeError:
            answer = None
        return answer or {"record": {"outcome": "unjudged"}, "problems": ["the driver of the plain user has died"]}

    def _answer(self) -> dict | None:
        line = self.process.stdout.readline()
        return json.loads(line) if line else None


def as_plain_user(arguments: list[str], stage: Path) -> list[str]:
    """Return the command that runs `arguments` as the plain user, able to read the interpreter and the repository.

    stage: an empty folder that the namespace uses as a place to hold mounts.
    """
    hold = stage / "trees"
    hold.mkdir(exist_ok=True)
    lines = ["set -e", "umask 022", shlex.join(["mount", "-t", "tmpfs", "tmpfs", str(hold)])]
    closed: dict[Path, list[Path]] = {}
    for tree in sorted({Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), ROOT}):
        if (folder := closed_folder(tree)) is not None:
            closed.setdefault(folder, []).append(tree)
    for number, (folder, trees) in enumerate(closed.items()):
        kept = [(tree, hold / f"{number}-{index}") for index, tree in enumerate(trees)]
        for tree, place in kept:
            lines += [shlex.join(["mkdir", str(place)]), shlex.join(["mount", "--rbind", str(tree), str(place)])]
        lines.append(shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder)]))
        for tree, place in kept:
            lines += [shlex.join(["mkdir", "-p", str(tree)]), shlex.join(["mount", "--rbind", str(place), str(tree)])]
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    lines.append(f"exec {shlex.join([*user, *arguments])}")
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]


def closed_folder(path: Path) -> Path | None:
    """Return the outermost folder above `path` that others may not enter, None when there is none."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)
