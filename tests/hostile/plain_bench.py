"""The bench of a user without privileges, driven by root."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from plain_user import ROOT, as_plain_user

# Whether it is there to be read; to import it takes seconds.
READS_TORCH = "import importlib.util; open(importlib.util.find_spec('torch').origin).read()"


class Unavailable(Exception):
    """This machine cannot run the battery as another user, or has no sandbox of this level for it."""


class PlainBench:
    """The same methods as bench.Bench, answered by a driver that runs as the plain user. A context manager."""

    def __init__(self, level: str, stage: Path):
        self.level, self.stage = level, stage

    def __enter__(self) -> "PlainBench":
        missing = [tool for tool in ("unshare", "setpriv", "mount") if not shutil.which(tool)]
        if missing:
            raise Unavailable(f"{missing[0]} is not installed")
        probe = subprocess.run(
            as_plain_user([sys.executable, "-B", "-c", READS_TORCH], self.stage),
            cwd="/",
            capture_output=True,
            text=True,
        )
        if probe.returncode:
            raise Unavailable(f"a plain user cannot run this Python here: {' '.join(probe.stderr.splitlines()[-1:])}")
        driver = [sys.executable, "-B", str(Path(__file__).with_name("bench.py")), self.level]
        modules = os.pathsep.join(map(str, (ROOT / "scripts", ROOT / "tests" / "helpers", Path(__file__).parent)))
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
