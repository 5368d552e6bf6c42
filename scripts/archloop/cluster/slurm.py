"""What SLURM says of accounts, partitions and nodes, and whether it takes a request.

Everything is asked of SLURM's own commands and given back as plain values; nothing here judges.
"""

import contextlib
import os
import pwd
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from archloop.errors import InputError

JOB_NAME = "archloop-preflight"
ASK_S = 60
# Where SLURM and sbatch are configured; all else that a job inherits tells of that job and would
# lead others astray.
KEPT = ("SLURM_CONF",)
# GB of the smallest card of a model, by a part of the name that a site gives it; the first that
# fits counts.
GPU_GB = {
    "h200": 141,
    "h100": 80,
    "a100.*80|80.*a100": 80,
    "a100": 40,
    "gh200": 96,
    "b200": 180,
    "mi300": 192,
    "mi250": 64,
    "l40": 48,
    "a40": 48,
    "a6000|rtx_?6000": 48,
    "a5000|a30": 24,
    "a10": 24,
    "l4": 24,
    "l20": 48,
    "v100.*32": 32,
    "v100": 16,
    "p100": 12,
    "t4": 16,
    "4090|3090": 24,
    "3080": 10,
    "2080": 11,
    "1080": 8,
    "k80": 12,
}
# Accounting's name for the limit on time, in the fields of an association and of a QOS.
MAX_WALL = "MaxWall"
OF_ACCOUNT = ("MaxSubmit", "GrpSubmit", MAX_WALL)
OF_QOS = ("MaxSubmitPU", "MaxSubmitPA", "GrpSubmit", MAX_WALL)
# States in which sinfo shows a node that runs jobs or will take some.
UP = re.compile("idle|mix|alloc|comp|plnd|resv")
# What the executor plugin passes on -> sbatch's option for it.
OPTIONS = {
    "slurm_account": "-A",
    "slurm_partition": "-p",
    "runtime": "-t",
    "constraint": "-C",
}
# The first of them that a job asks for.
MEMORY_OPTIONS = {"mem_mb_per_cpu": "--mem-per-cpu", "mem_mb": "--mem"}


# Field -> what accounting says in it, empty for nothing.
AccountingRow = Mapping[str, str]


class JobRequest(TypedDict, total=False):
    """What a job asks for: of a rule's resources, those that SLURM is told of.

    The names are those of Snakemake and of its executor plugin. mem_mb, mem_mb_per_cpu: megabytes.
    runtime: minutes.
    """

    threads: int
    cpus_per_task: int
    cpus_per_gpu: int
    mem_mb: int
    mem_mb_per_cpu: int
    runtime: int
    gpu: int
    gpu_model: str
    gres: str
    constraint: str
    qos: str
    slurm_account: str
    slurm_partition: str
    slurm_extra: str


@dataclass(frozen=True)
class Reply:
    """What a command said; `why` is its last line of complaint."""

    ok: bool
    text: str
    why: str


@dataclass(frozen=True)
class Partition:
    """One partition.

    limit_min: None without a limit. gres: as SLURM writes it, such as gpu:a100:2.
    """

    name: str
    state: str
    limit_min: int | None
    gres: tuple[str, ...]
    nodes: int
    nodes_up: int


@dataclass(frozen=True)
class Limit:
    """What accounting allows a user. owner: the account or QOS. value: minutes for MAX_WALL."""

    owner: str
    name: str
    value: int


def ask(*command: str, timeout_s: float = ASK_S) -> Reply:
    """Run one of SLURM's commands and return its answer.

    That it is missing or silent is an answer, too.
    """
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
        return Reply(False, "", f"{command[0]} is not installed here")
    except subprocess.TimeoutExpired:
        return Reply(False, "", f"{command[0]} did not answer in {timeout_s:.0f} s")

    why = complaint(done.stderr or done.stdout)  # scontrol's are on stdout
    if not why:
        why = f"{command[0]} ended with status {done.returncode}"
    return Reply(done.returncode == 0, done.stdout, why)


def complaint(text: str) -> str:
    """Return the last line, after the name of the limit that is met where one is named.

    The name of the command that complains is left out.
    """
    lines = []
    for line in text.splitlines():
        if line.strip() and "queued and waiting" not in line:
            lines.append(line.strip())
    if not lines:
        return ""

    last = re.sub(r"^\w+: (error: )?", "", lines[-1])
    limits = re.findall(r"^\w+: error: (\w+Limit)$", text, re.MULTILINE)
    return f"{limits[-1]}: {last}" if limits else last


def clean() -> dict[str, str]:
    """Return the environment without what a job around this process set.

    There, srun would only start a step of that job. A user's own defaults go, too: SQUEUE_STATES=R
    would hide the jobs that still wait, and start later.
    """
    foreign = ["SQUEUE_", "SCANCEL_"]
    if "SLURM_JOB_ID" in os.environ:
        foreign.append("SLURM_")

    kept = {}
    for key, value in os.environ.items():
        if key in KEPT or not key.startswith(tuple(foreign)):
            kept[key] = value
    return kept


def user_name() -> str:
    """Return the name of the user, empty where there is none.

    $USER may be that of another, who started this process.
    """
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return ""


def accounts() -> tuple[list[str], str | None]:
    """Return (the accounts of the user, None), or ([], why accounting does not say)."""
    if not user_name():
        return [], "this user has no name here"
    answer = ask("sacctmgr", "-nP", "show", "assoc", f"user={user_name()}", "format=account")
    if not answer.ok:
        return [], answer.why
    return sorted(set(answer.text.split())), None


def accounting_limits(account: str, qos: str) -> list[Limit]:
    """Return what accounting allows this user.

    account, qos: as asked for; empty takes the defaults. Nothing where accounting does not say.
    """
    granted: list[Limit] = []
    fields = ("Account", "DefaultQOS", "QOS", *OF_ACCOUNT)
    for row in _accounting("assoc", fields, f"user={user_name()}"):
        if account and row["Account"] != account.lower():
            continue
        granted += _limits_in(row, f"account {row['Account']}", OF_ACCOUNT)

        only = row["QOS"] if "," not in row["QOS"] else ""
        qos = qos or row["DefaultQOS"] or only

    if qos:
        for row in _accounting("qos", ("Name", *OF_QOS), f"name={qos}"):
            granted += _limits_in(row, f"QOS {row['Name']}", OF_QOS)
    return granted


def _limits_in(row: AccountingRow, owner: str, names: tuple[str, ...]) -> list[Limit]:
    """Return the limits of one row of accounting's; an empty field is none."""
    row_limits = []
    for name in names:
        if row[name]:
            value = minutes(row[name]) if name == MAX_WALL else int(row[name])
            if value is not None:
                row_limits.append(Limit(owner, name, value))
    return row_limits


def _accounting(what: str, fields: tuple[str, ...], which: str) -> list[AccountingRow]:
    answer = ask("sacctmgr", "-nP", "show", what, which, f"format={','.join(fields)}")
    if not answer.ok:
        return []
    rows: list[AccountingRow] = []
    for line in answer.text.splitlines():
        values = line.split("|")
        if len(values) == len(fields):
            rows.append(dict(zip(fields, values)))
    return rows


def partition(name: str) -> Partition:
    """Return what SLURM says of a partition.

    Raises InputError when there is none of that name, or SLURM does not answer.
    """
    answer = ask("scontrol", "-o", "show", "partition", name)
    if not answer.ok:
        raise InputError(answer.why)
    entries = {}
    for part in answer.text.split():
        key, _, value = part.partition("=")
        entries[key] = value

    nodes, up, resources = 0, 0, set()
    for line in ask("sinfo", "-h", "-N", "-p", name, "-o", "%n|%t|%G").text.splitlines():
        fields = line.split("|")
        if len(fields) == 3:
            nodes += 1
            up += bool(UP.match(fields[1]))
            resources.update(_generic_resources(fields[2]))
    return Partition(
        name=name,
        state=entries.get("State", "?"),
        limit_min=minutes(entries.get("MaxTime", "")),
        gres=tuple(sorted(resources)),
        nodes=nodes,
        nodes_up=up,
    )


def _generic_resources(text: str) -> list[str]:
    """Return what a node declares, such as gpu:a100:4(S:0-1),lustre:1, without parentheses."""
    resources = []
    for part in re.split(r",(?![^(]*\))", text):
        if part not in ("", "(null)"):
            resources.append(re.sub(r"\(.*?\)", "", part))
    return resources


def minutes(limit: str) -> int | None:
    """Return SLURM's time in minutes; None for no limit.

    It has the form minutes, hours:minutes:seconds or days-hours:minutes:seconds.

    >>> minutes("1-02:30:00")
    1590
    """
    if not re.fullmatch(r"[\d:-]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]

    # What follows days begins with hours; a single number is minutes.
    if days:
        hours, more = (parts + [0, 0])[:2]
        return int(days) * 1440 + hours * 60 + more
    if len(parts) == 3:
        return parts[0] * 60 + parts[1]
    return parts[0]


def gpu_types(gres: tuple[str, ...]) -> dict[str, int]:
    """Return model of GPU -> how many a node has at most. gres: what nodes declare.

    The name is empty where no model is declared.
    """
    types: dict[str, int] = {}
    for part in gres:
        kind, *rest = part.split(":")
        if kind != "gpu":
            continue

        count, model = 1, ""
        if rest and rest[-1].isdecimal():
            count = int(rest[-1])
        if rest and not rest[0].isdecimal():
            model = rest[0]
        types[model] = max(types.get(model, 0), count)
    return types


def gpu_bytes(model: str) -> int | None:
    """Return the memory of a model's smallest card, None when the name says nothing."""
    for part, size in GPU_GB.items():
        if re.search(part, model.lower()):
            return size * 10**9
    return None


def sbatch_options(request: JobRequest) -> list[str]:
    """Return what the executor plugin passes to sbatch of a job's resources."""
    resources: Mapping[str, object] = request
    options = []
    for key, option in OPTIONS.items():
        if resources.get(key):
            options += [option, str(resources[key])]
    if request.get("qos"):
        options.append(f"--qos={request['qos']}")
    for key, option in MEMORY_OPTIONS.items():
        if resources.get(key):
            options += [option, str(resources[key])]
            break

    gpus = request.get("gpu")
    if request.get("gres"):
        options.append(f"--gres={request['gres']}")
    if request.get("gpu_model"):
        options.append(f"--gpus={request['gpu_model']}:{request.get('gpu', 1)}")
    elif gpus:
        options.append(f"--gpus={gpus}")

    threads = request.get("cpus_per_task", request.get("threads", 1))
    if gpus and request.get("cpus_per_gpu"):
        options.append(f"--cpus-per-gpu={request['cpus_per_gpu']}")
    elif threads > 0:
        options.append(f"--cpus-per-task={threads}")
    return options + shlex.split(request.get("slurm_extra") or "")


def would_take(request: JobRequest) -> Reply:
    """Ask sbatch whether it would take a job with these resources; nothing is queued."""
    return ask("sbatch", "--test-only", "-J", JOB_NAME, *sbatch_options(request), "--wrap", "true")
