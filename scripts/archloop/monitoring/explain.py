"""Why a run stopped: for every job that failed, where its log is, what it says, and what to do.

Reads the log that Snakemake keeps of its run, and the logs of the jobs named there. Standard
library only.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from archloop.monitoring.snakemake_log import failed_attempts


class Cause(NamedTuple):
    """What a pattern in a log means, and the remedy; both may name what it found, and the rule."""

    pattern: str
    what: str
    remedy: str


# What SLURM, the kernel or a script writes into a log, and what that means. The first found counts.
CAUSES: list[Cause] = [
    Cause(
        r"oom[-_ ]kill|Out Of Memory|exceeded memory limit|Exceeded job memory limit",
        "it ran out of memory",
        "give {rule} more mem_mb in set-resources of the profile",
    ),
    Cause(
        r"DUE TO TIME LIMIT",
        "it ran out of time",
        "give {rule} more runtime (minutes) in set-resources of the profile",
    ),
    Cause(r"DUE TO NODE FAILURE", "its node failed", "start the run again; what is finished stays"),
    Cause(r"DUE TO PREEMPTION", "it was preempted", "start the run again; what is finished stays"),
    Cause(
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "make room and start the run again",
    ),
    Cause(
        r"Read-only file system",
        "the folder cannot be written",
        "make it writable and start the run again",
    ),
    Cause(
        r"CUDA out of memory|CUDA error: out of memory",
        "the GPU's memory is full",
        "{gpu_memory}",
    ),
    # As start_logging writes it, to the terminal and to the log.
    Cause(r"^(?: {4}|\S+ \S+ ERROR \S+: )error: (.+)$", "{0}", "fix that and start the run again"),
    Cause(
        r"^(?:.*')?sbatch: error: Batch job submission failed: (.+?)'?\.?$",
        "SLURM does not take it: {0}",
        "fix its line in the profile, or ask for what the account allows; preflight.py says more",
    ),
    Cause(r"CANCELLED AT", "it was cancelled", "start the run again; what is finished stays"),
    Cause(
        r"^MemoryError",
        "it ran out of memory",
        "give {rule} more mem_mb in set-resources of the profile",
    ),
    Cause(r"^(?:\w+\.)*(\w+(?:Error|Exception): .+)$", "{0}", "fix that and start the run again"),
]
UNKNOWN = (
    "it ended without a message",
    "look into the log; start the run again, what is finished stays",
)
# What makes a rule need less of a GPU's memory.
LESS_GPU_MEMORY = {
    "generate": "lower execution.cache_mb",
    "evaluate": (
        "lower execution.workers (a smaller evaluation.batch_size is another protocol, by which"
        " every program is evaluated again)"
    ),
    "finetune": (
        "set finetuning.gradient_checkpointing: true, or lower finetuning.batch_size or"
        " max_pair_tokens"
    ),
    "train_model": "lower batch_size in the file that model.reference names",
}
LAST_LINES = 5
TAIL_BYTES = 20_000


@dataclass(frozen=True)
class FailedJob:
    """The last failure of one job, and how often it had failed."""

    rule: str
    attempts: int
    slurm: str | None
    message: str
    logs: list[Path]
    output: str


def explain(log: Path) -> list[str]:
    """Return lines that name every job that failed for good, its log, the cause, and the remedy.

    log: Snakemake's own log of the run. Nothing failed, or no log: no lines.
    """
    lines = []
    for failure in failed_jobs(log.read_text(errors="replace")):
        lines += _describe(failure)
    return lines


def failed_jobs(text: str) -> list[FailedJob]:
    """Return the jobs that failed and that no later attempt finished, in the order of the log."""
    failed: dict[str, FailedJob] = {}
    for attempt in failed_attempts(text):
        # A job comes where its last attempt does.
        before = failed.pop(attempt.job, None)
        if attempt.mended:
            continue
        failed[attempt.job] = FailedJob(
            rule=attempt.rule,
            attempts=before.attempts + 1 if before else 1,
            slurm=attempt.values.get("external_jobid"),
            message=attempt.values.get("message", ""),
            logs=[Path(name) for name in attempt.logs],
            output=_first(attempt.values.get("output", "")),
        )
    return list(failed.values())


def _first(outputs: str) -> str:
    """Return the first of some outputs, as Snakemake lists them."""
    return outputs.split(", ")[0]


def _describe(failure: FailedJob) -> list[str]:
    cause = _cause(failure)
    what, remedy = cause or UNKNOWN
    attempts = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
    if failure.slurm:
        attempts = f"SLURM job {failure.slurm}, {attempts}"
    job = f"{failure.rule}, which makes {failure.output} ({attempts})"

    lines = [f"failed: {job}: {what}"]
    for path in failure.logs:
        if not path.is_file():
            continue
        lines.append(f"  log: {path}")
        if cause is None:
            last_lines = _tail(path).splitlines()[-LAST_LINES:]
            lines += [f"    {line}" for line in last_lines]
    return [*lines, f"  remedy: {remedy}"]


def _cause(failure: FailedJob) -> tuple[str, str] | None:
    """Return (what happened, what to do about it), None where no log says."""
    texts = [*map(_tail, failure.logs), failure.message]
    text = "\n".join(texts)
    less = _less_gpu_memory(failure.rule)
    for cause in CAUSES:
        matches = list(re.finditer(cause.pattern, text, re.MULTILINE))
        if matches:
            last = matches[-1]
            what = cause.what.format(*last.groups())
            remedy = cause.remedy.format(rule=failure.rule, gpu_memory=less)
            return what, remedy
    return None


def _less_gpu_memory(rule: str) -> str:
    """Return what makes a rule need less of a GPU's memory.

    The rule of a workflow that has this one as a module, and those of cycle 0, end or begin with
    its name.
    """
    for name, remedy in LESS_GPU_MEMORY.items():
        if name in rule:
            return remedy
    return "take a GPU with more memory"


def _tail(path: Path) -> str:
    try:
        start = path.stat().st_size - TAIL_BYTES
        with path.open("rb") as file:
            file.seek(max(0, start))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
