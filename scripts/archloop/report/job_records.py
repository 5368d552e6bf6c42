"""What each job of a run wrote down of itself: its seconds, its device, and what it worked on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from archloop.files import read_json
from archloop.layout import (
    ADAPTER_RUN_RECORD,
    SEED,
    Cell,
    cells_with,
    evaluated,
    generated,
    run_record,
)

# Stage -> the records of its jobs, below the folder of a cycle.
RUN_RECORDS = {
    "generate": run_record(generated("*")),
    "evaluate": run_record(evaluated("*")),
    "finetune": ADAPTER_RUN_RECORD,
}


class RunRecord(TypedDict, total=False):
    """What is read of the file that a job leaves; which of it, depends on its stage.

    tokens: that an adapter was trained on. candidates: id -> what was measured as it was judged.
    """

    seconds: float | None
    device: str | None
    isolation: str | None
    new_tokens: int | None
    prompt_tokens: int | None
    tokens: int | None
    candidates: Mapping[str, object] | None
    reused: int | None
    versions: object


@dataclass(frozen=True)
class JobRecord:
    """One job. What it did not write down is 0, None or empty.

    new_tokens: that a language model wrote. prompt_tokens: that it read for it. trained_tokens:
    that an adapter was trained on. evaluations: candidates judged, of which `reused` had a stored
    score.
    """

    chain: str
    cycle: int
    stage: str
    seconds: float
    device: str | None
    isolation: str | None
    new_tokens: int
    prompt_tokens: int
    trained_tokens: int
    evaluations: int
    reused: int
    versions: dict[str, str]

    @property
    def tokens(self) -> int:
        return self.new_tokens + self.prompt_tokens + self.trained_tokens

    @property
    def on_gpu(self) -> bool:
        return self.device not in (None, "cpu")


def read_job_records(folder: Path, chain: str) -> list[JobRecord]:
    """Return the records of a chain's jobs, cycle by cycle and stage by stage."""
    cells = [Cell(SEED, 0)] if chain == SEED else []
    cells += cells_with(folder, chain=chain)

    records = []
    for cell in cells:
        for stage, pattern in RUN_RECORDS.items():
            for path in sorted(cell.folder(folder).glob(pattern)):
                written = cast(RunRecord, read_json(path, "seconds"))
                records.append(_record(written, cell, stage))

    return records


def seconds_of(jobs: Iterable[JobRecord], on_gpu: bool) -> float:
    """Return what the jobs on a GPU took, or the others."""
    return sum((job.seconds for job in jobs if job.on_gpu == on_gpu), 0.0)


def _record(written: RunRecord, cell: Cell, stage: str) -> JobRecord:
    versions = written.get("versions")
    if not isinstance(versions, dict):
        versions = {}
    return JobRecord(
        chain=cell.chain,
        cycle=cell.cycle,
        stage=stage,
        seconds=written["seconds"] or 0.0,
        device=written.get("device"),
        isolation=str(written["isolation"]) if written.get("isolation") else None,
        new_tokens=written.get("new_tokens") or 0,
        prompt_tokens=written.get("prompt_tokens") or 0,
        trained_tokens=written.get("tokens") or 0,
        evaluations=len(written.get("candidates") or ()),
        reused=written.get("reused") or 0,
        versions={str(name): str(version) for name, version in versions.items()},
    )
