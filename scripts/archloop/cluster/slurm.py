"""What SLURM says of itself: accounts, partitions, nodes, whether it takes a request, and a tiny job on a node.

Everything is asked of SLURM's own commands and given back as plain values; nothing here judges.
"""

import contextlib
import os
import pwd
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from archloop.errors import InputError
from archloop.progress import duration
from archloop.python_command import run_module

JOB_NAME = "archloop-preflight"
ASK_S = 60
SAY_EVERY_S = 60.0
# Where SLURM and sbatch are configured; all else that a job inherits tells of that job and would lead others astray.
KEPT = ("SLURM_CONF",)
# GB of the smallest card of a model, by a part of the name that a site gives it; the first that fits counts.
GPU_GB = {
    **{
        "h200": 141,
        "h100": 80,
        "a100.*80|80.*a100": 80,
        "a100": 40,
        "gh200": 96,
        "b200": 180,
        "mi300": 192,
    },
    **{
        "mi250": 64,
        "l40": 48,
        "a40": 48,
        "a6000|rtx_?6000": 48,
        "a5000|a30": 24,
        "a10": 24,
        "l4": 24,
        "l20": 48,
    },
    **{
        "v100.*32": 32,
        "v100": 16,
        "p100": 12,
        "t4": 16,
        "4090|3090": 24,
        "3080": 10,
        "2080": 11,
        "1080": 8,
        "k80": 12,
    },
}


@dataclass(frozen=True)
class Answer:
    """What a command said; `why` is its last line of complaint."""

    ok: bool
    text: str
    why: str


@dataclass(frozen=True)
class Partition:
    """One partition. limit_min is None without a limit; gres as SLURM writes it, such as gpu:a100:2."""

    name: str
    state: str
    limit_min: int | None
    gres: tuple[str, ...]
    nodes: int
    nodes_up: int


def ask(*command: str, timeout_s: float = ASK_S) -> Answer:
    """Run one of SLURM's commands and return its answer; one that is missing or silent is an answer, too."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=clean(),
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return Answer(False, "", f"{command[0]} is not installed here")
    except subprocess.TimeoutExpired:
        return Answer(False, "", f"{command[0]} did not answer in {timeout_s:.0f} s")
    why = _complaint(done.stderr or done.stdout)  # scontrol's are on stdout
    return Answer(
        done.returncode == 0,
        done.stdout,
        why or f"{command[0]} ended with status {done.returncode}",
    )


def _complaint(text: str) -> str:
    """Return the last line, and the name of the limit that is met, without the name of the command that says it."""
    lines = [
        line for line in text.splitlines() if line.strip() and "queued and waiting" not in line
    ]
    limits = re.findall(r"^\w+: error: (\w+Limit)$", text, re.MULTILINE)
    return (
        ": ".join([*limits[-1:], re.sub(r"^\w+: (error: )?", "", lines[-1].strip())])
        if lines
        else ""
    )


def clean() -> dict[str, str]:
    """Return the environment without what a job around this process set: there, srun would only start a step of it.

    A user's own defaults go, too: SQUEUE_STATES=R would hide the jobs that still wait, and start later.
    """
    foreign = ("SQUEUE_", "SCANCEL_", *(("SLURM_",) if "SLURM_JOB_ID" in os.environ else ()))
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(foreign) or key in KEPT
    }


def user_name() -> str:
    """Return the name of the user, empty where there is none; $USER may be that of who started it."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return ""


def accounts() -> tuple[list[str], str | None]:
    """Return (the accounts of the user, None), or ([], why accounting does not say)."""
    if not user_name():
        return [], "this user has no name here"
    answer = ask("sacctmgr", "-nP", "show", "assoc", f"user={user_name()}", "format=account")
    return (sorted(set(answer.text.split())), None) if answer.ok else ([], answer.why)


def limits(account: str, qos: str) -> list[tuple[str, str, int]]:
    """Return (whose, which limit, value) of what accounting allows this user; minutes for MaxWall.

    account, qos: as asked for; empty takes the defaults. Nothing where accounting does not say.
    """
    fields = ("Account", "DefaultQOS", "QOS", "MaxSubmit", "GrpSubmit", "MaxWall")
    found = []
    for row in _accounting("assoc", fields, f"user={user_name()}"):
        if account and row["Account"] != account.lower():
            continue
        found += [(f"account {row['Account']}", name, row[name]) for name in fields[3:]]
        only = row["QOS"] if "," not in row["QOS"] else ""
        qos = qos or row["DefaultQOS"] or only
    if qos:
        fields = ("Name", "MaxSubmitPU", "MaxSubmitPA", "GrpSubmit", "MaxWall")
        for row in _accounting("qos", fields, f"name={qos}"):
            found += [(f"QOS {row['Name']}", name, row[name]) for name in fields[1:]]
    values = [
        (whose, name, minutes(text) if name == "MaxWall" else text)
        for whose, name, text in found
        if text
    ]
    return [(whose, name, int(value)) for whose, name, value in values if value is not None]


def _accounting(what: str, fields: tuple[str, ...], which: str) -> list[dict[str, str]]:
    answer = ask("sacctmgr", "-nP", "show", what, which, f"format={','.join(fields)}")
    rows = [line.split("|") for line in answer.text.splitlines()] if answer.ok else []
    return [dict(zip(fields, row)) for row in rows if len(row) == len(fields)]


def partition(name: str) -> Partition:
    """Return the facts of a partition; raise InputError when there is none of that name, or SLURM does not answer."""
    answer = ask("scontrol", "-o", "show", "partition", name)
    if not answer.ok:
        raise InputError(answer.why)
    facts = dict(part.partition("=")[::2] for part in answer.text.split())
    nodes = ask("sinfo", "-h", "-N", "-p", name, "-o", "%n|%t|%G")
    rows = [line.split("|") for line in nodes.text.splitlines() if line.count("|") == 2]
    gres = {
        part
        for row in rows
        for part in re.split(r",(?![^(]*\))", row[2])
        if part not in ("", "(null)")
    }
    up = sum(1 for row in rows if re.match("idle|mix|alloc|comp|plnd|resv", row[1]))
    gres = sorted({re.sub(r"\(.*?\)", "", part) for part in gres})
    return Partition(
        name, facts.get("State", "?"), minutes(facts.get("MaxTime", "")), tuple(gres), len(rows), up
    )


def minutes(limit: str) -> int | None:
    """Return SLURM's time (minutes, hours:minutes:seconds, days-hours:...) in minutes; None for no limit.

    >>> minutes("1-02:30:00")
    1590
    """
    if not re.fullmatch(r"[\d:-]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        hours, more = (parts + [0, 0])[:2]
        return int(days) * 1440 + hours * 60 + more
    return parts[0] * 60 + parts[1] if len(parts) == 3 else parts[0]


def gpu_types(gres: tuple[str, ...]) -> dict[str, int]:
    """Return the model of GPU -> how many a node has at most, from the resources that nodes declare; `` is no model."""
    found: dict[str, int] = {}
    for part in gres:
        kind, *rest = part.split(":")
        if kind == "gpu":
            count = int(rest[-1]) if rest and rest[-1].isdecimal() else 1
            model = rest[0] if rest and not rest[0].isdecimal() else ""
            found[model] = max(found.get(model, 0), count)
    return found


def gpu_bytes(model: str) -> int | None:
    """Return the memory of a model of GPU (of its smallest card), None when the name says nothing."""
    plain = model.lower()
    return next((size * 10**9 for part, size in GPU_GB.items() if re.search(part, plain)), None)


def sbatch_options(request: dict) -> list[str]:
    """Return what the executor plugin passes to sbatch for a job with these resources, for place, time and size."""
    options = []
    for key, option in (
        ("slurm_account", "-A"),
        ("slurm_partition", "-p"),
        ("runtime", "-t"),
        ("constraint", "-C"),
    ):
        options += [option, str(request[key])] if request.get(key) else []
    options += [f"--qos={request['qos']}"] if request.get("qos") else []
    memory = {"mem_mb_per_cpu": "--mem-per-cpu", "mem_mb": "--mem"}
    options += next(
        ([option, str(request[key])] for key, option in memory.items() if request.get(key)), []
    )
    if request.get("gres"):
        options.append(f"--gres={request['gres']}")
    if request.get("gpu_model"):
        options.append(f"--gpus={request['gpu_model']}:{request.get('gpu', 1)}")
    elif request.get("gpu"):
        options.append(f"--gpus={request['gpu']}")
    threads = request.get("cpus_per_task", request.get("threads", 1))
    if request.get("gpu") and request.get("cpus_per_gpu"):
        options.append(f"--cpus-per-gpu={request['cpus_per_gpu']}")
    elif threads > 0:
        options.append(f"--cpus-per-task={threads}")
    return options + shlex.split(request.get("slurm_extra") or "")


def would_take(request: dict) -> Answer:
    """Ask sbatch whether it would take a job with these resources; nothing is queued."""
    return ask("sbatch", "--test-only", "-J", JOB_NAME, *sbatch_options(request), "--wrap", "true")


def run_on_node(
    request: dict,
    command: list[str],
    wait_s: float,
    run_s: float = 60,
    say: Callable[[str], None] = lambda text: None,
) -> Answer:
    """Run a command on a node that such a job would get and return its output.

    It asks for one GPU where the job wants any, one processor, and memory for one trial of the judge.
    It waits in the queue for about `wait_s`; then it is taken back, and `why` says so. say: is told every minute how
    long it has been waiting.
    """
    small = {
        key: value
        for key, value in request.items()
        if key not in ("mem_mb_per_cpu", "cpus_per_gpu")
    }
    small |= {"gpu": 1} if request.get("gpu") else {}
    small |= {
        "mem_mb": 2500,
        "threads": 1,
        "cpus_per_task": 1,
        "runtime": max(1, round(run_s / 60)),
    }
    answer = _srun(
        [
            "srun",
            "-J",
            JOB_NAME,
            "--comment=rule_preflight",
            "-n",
            "1",
            *sbatch_options(small),
            *command,
        ],
        wait_s + run_s,
        say,
    )
    return answer or Answer(False, "", f"the queue gave no place in {duration(wait_s)}")


def _srun(command: list[str], timeout_s: float, say: Callable[[str], None]) -> Answer | None:
    environment = clean() | {"PYTHONDONTWRITEBYTECODE": "1"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    begun, answer = time.monotonic(), None
    with subprocess.Popen(
        command, **pipes, text=True, errors="replace", env=environment
    ) as started:
        try:
            while answer is None:
                waited = time.monotonic() - begun
                if waited >= timeout_s:
                    return None
                if waited >= SAY_EVERY_S:
                    say(
                        f"no word from a node after {duration(waited)}; waiting up to {duration(timeout_s)}"
                    )
                with contextlib.suppress(subprocess.TimeoutExpired):
                    answer = started.communicate(timeout=min(SAY_EVERY_S, timeout_s - waited))
        finally:
            if started.poll() is None:
                started.terminate()  # srun takes its request back
                with contextlib.suppress(subprocess.TimeoutExpired):
                    started.wait(timeout=10)
                started.kill()
    return Answer(started.returncode == 0, answer[0], _complaint(answer[1]))


def probe_command(*arguments: str) -> list[str]:
    """Return the command of the tiny job: the head's Python and code, as all jobs have them."""
    return run_module("archloop.preflight.node_probe", *arguments)
