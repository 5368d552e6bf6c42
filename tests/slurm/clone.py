"""A clone of the project that belongs to the plain user, with the profile filled in for the test cluster."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml
from cluster import ACCOUNT, Cluster
from plain_user import ROOT, USER
from workflow import contents

NOT_CLONED = (
    ".git",
    ".venv",
    ".snakemake",
    "results",
    "resources",
    "logs",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
)
# What must be the same in two runs with one seed: all results but what they cost.
EQUAL = [
    "results/seed/corpus.parquet",
    "results/seed/*/*[0-9].json*",
    "results/seed/adapter/a*",
    "results/[mo]*/*/prompts.jsonl",
    "results/[mo]*/*/*/[0-9].json*",
    "results/[mo]*/*/*.parquet",
    "results/[mo]*/*/adapter/adapter_*",
    "results/[mo]*/*/summary.json",
    "results/[mo]*/architectures/*",
]
GPU_RULES = {"generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed"}
SNAKEMAKE = ("python", str(ROOT / "tests" / "slurm" / "quick_polls.py"))
# Time to run any of it here; a run that takes longer hangs.
PATIENCE_S = 900


class Clone:
    """A working copy in `folder`; its methods run Snakemake there as the plain user, where the cluster is."""

    def __init__(self, cluster: Cluster, folder: Path, settings: dict, model: Path):
        self.cluster, self.folder = cluster, folder
        shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_CLONED))
        models = folder / "resources" / "models"
        models.mkdir(parents=True)
        shutil.copytree(model, models / settings["model"]["name"])
        self.configure(settings)
        self.profile()
        self.own()

    def configure(self, settings: dict) -> None:
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(settings))

    def profile(self, resources: dict | None = None, **changes) -> None:
        """Fill in profiles/slurm/config.yaml; `resources` holds what rules are given, by rule."""
        profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
        profile["default-resources"] |= {"slurm_account": ACCOUNT}
        for rule, given in profile["set-resources"].items():
            given |= {"mem_mb": "2500 * attempt", "runtime": "10 * attempt", **(resources or {}).get(rule, {})}
            profile["set-resources"][rule] = dict(given)
        # The cluster is small and its file system local: no need to wait.
        profile |= {"slurm-init-seconds-before-status-checks": 2, "max-status-checks-per-second": 1, "latency-wait": 5}
        (self.folder / "profiles" / "slurm" / "config.yaml").write_text(yaml.safe_dump(profile | changes))

    def copy(self, name: str) -> "Clone":
        """Return a clone with the same results and Snakemake's records of them."""
        other = object.__new__(Clone)
        other.cluster, other.folder = self.cluster, self.folder.with_name(name)
        subprocess.run(["cp", "-a", str(self.folder), str(other.folder)], check=True)
        shutil.rmtree(other.folder / "logs")
        (other.folder / "terminal.txt").unlink()
        return other

    def lose(self, *patterns: str) -> None:
        """Delete results, so that the next run makes them again."""
        for pattern in patterns:
            for path in list(self.folder.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def own(self) -> None:
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(self.folder)], check=True)

    def command(self, *arguments: str, profile: str = "slurm") -> list[str]:
        command = [*SNAKEMAKE, *arguments, "--profile", profile, "--configfile", "settings.yaml"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inside = ["env", f"--chdir={self.folder}", f"PATH={path}", f"HOME={self.folder}", *command]
        return self.cluster.command(inside, user=True)

    def snakemake(self, *arguments: str, profile: str = "slurm") -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments, profile=profile),
            **{"env": self.cluster.environment, "stdin": subprocess.DEVNULL, "timeout": PATIENCE_S},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
        )

    def finish(self, *arguments: str, profile: str = "slurm") -> str:
        """Run to the end and return what the terminal showed; fail with the newest logs when it does not get there."""
        done = self.snakemake(*arguments, profile=profile)
        if done.returncode:
            logs = sorted(self.folder.glob("logs/slurm/**/*.log"), key=lambda path: path.stat().st_mtime)[-2:]
            tails = [f"{path}:\n{path.read_text(errors='replace')[-2000:]}" for path in logs]
            raise AssertionError("\n\n".join([done.stdout[-3000:], *tails]))
        return done.stdout

    def terminal(self) -> str:
        return (self.folder / "terminal.txt").read_text()

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake as the leader of a session of its own; terminal.txt gets what it prints."""
        terminal = (self.folder / "terminal.txt").open("a")
        return subprocess.Popen(
            self.command(*arguments),
            **{"env": self.cluster.environment, "stdin": subprocess.DEVNULL, "start_new_session": True},
            **{"stdout": terminal, "stderr": subprocess.STDOUT},
        )

    def results(self) -> dict[str, str]:
        return contents(self.folder, EQUAL)

    def jobs(self) -> list[dict]:
        """Return accounting's records of the rules' jobs in this clone, one for every start, with the rule's name."""
        found = self.cluster.jobs("WorkDir", "Partition")
        jobs = [
            job | {"Rule": job["Comment"].split("_wildcards_")[0].removeprefix("rule_")}
            for job in found
            if job["WorkDir"] == str(self.folder)
        ]
        # What the preflight asks of a node is no rule's work.
        return [job for job in jobs if job["Rule"] != "preflight"]

    def queued(self) -> list[str]:
        """Return the ids of the jobs of this clone that SLURM has not ended."""
        lines = self.cluster.read("squeue -h --format=%A|%Z").splitlines()
        return [line.split("|")[0] for line in lines if line.split("|")[1] == str(self.folder)]

    def running(self, rule: str, where: str = "") -> list[str]:
        """Return the ids of the jobs of a rule that run now; `where` is a part of its wildcards."""
        jobs = [line.split("|", 2) for line in self.cluster.read("squeue -h -t R --format=%A|%Z|%k").splitlines()]
        return [
            job
            for job, place, comment in jobs
            if place == str(self.folder) and comment.split("_wildcards_")[0] == f"rule_{rule}" and where in comment
        ]


def processes_of(folder: Path, script: str) -> list[psutil.Process]:
    """Return the processes that run a script of a clone, wherever SLURM has put them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # of others: gone, or in a folder too deep for a path
            if process.cwd() == str(folder) and any(part.endswith(script) for part in process.cmdline()[1:2]):
                found.append(process)
    return found


def wait_for(what, process: subprocess.Popen | None = None, seconds: float = PATIENCE_S):
    """Return the first true value of what(); fail when the process ends before."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert process is None or process.poll() is None, "the run ended before"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)
    return found
