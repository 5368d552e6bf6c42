"""What `snakemake -n` plans, as sets of jobs: `generate main/1/0`, `admit main/2`, `report`.

As a program it reads [[folder, arguments], ...] from its input and writes what it found: Snakemake is imported once,
and so is the library where all plans are of one clone; each plan is made in a forked child, two at a time.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from warm_snakemake import load_snakemake


@dataclass(frozen=True)
class Plan:
    jobs: frozenset[str]
    status: int
    text: str


def plans(wanted: list[tuple[Path, list[str]]]) -> list[Plan]:
    """Return the plan of each (folder of a clone, arguments): the jobs, the exit status and what was printed."""
    asked = json.dumps([[str(folder), arguments] for folder, arguments in wanted])
    done = subprocess.run([sys.executable, __file__], input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [Plan(frozenset(jobs), status, text) for jobs, status, text in json.loads(done.stdout)]


def _plan(folder: str, arguments: list[str]) -> tuple[list[str], int, str]:
    with tempfile.TemporaryDirectory() as place:
        told, jobs = Path(place) / "told", Path(place) / "jobs"
        child = os.fork()
        if not child:
            status = 1
            try:
                status = _in_child(folder, arguments, told, jobs)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        found = json.loads(jobs.read_text()) if jobs.is_file() else []
        return found, os.waitstatus_to_exitcode(status), told.read_text()


def _in_child(folder: str, arguments: list[str], told: Path, jobs: Path) -> int:
    import snakemake.logging
    from snakemake.cli import main

    with open(told, "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    found = []

    def collect(record) -> bool:
        if getattr(record, "rule_name", "all") != "all" and hasattr(record, "jobid"):
            found.append(" ".join([record.rule_name, "/".join(map(str, (record.wildcards or {}).values()))]).strip())
        return True

    snakemake.logging.logger.addFilter(collect)
    os.chdir(folder)
    common = ["--profile", "profiles/local", "--configfile", "small.yaml", "--dry-run"]
    try:
        main([*common, *arguments])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    jobs.write_text(json.dumps(sorted(found)))
    return status


def _read_code_once(clone: Path) -> None:
    """Do what every plan of this clone begins with: its children find the digests of its code, by file and time."""
    sys.path.insert(0, str(clone / "scripts"))
    from archloop import files, random_seeds  # noqa: F401 (what the Snakefile imports)
    from archloop.settings import chains, complete  # noqa: F401 (what the Snakefile imports)
    from archloop.settings.schema import schema
    from archloop.workflow.code_digest import code_digest

    schema()
    for script in clone.glob("scripts/*.py"):
        code_digest(script)


if __name__ == "__main__":
    load_snakemake()
    wanted = json.load(sys.stdin)
    clones = {folder for folder, _ in wanted}
    if len(clones) == 1:
        _read_code_once(Path(clones.pop()))

    gc.freeze()
    with ThreadPoolExecutor(2) as pool:
        print(json.dumps(list(pool.map(lambda each: _plan(*each), wanted))))
