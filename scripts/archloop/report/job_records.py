"""What each job of a run wrote down of itself: its seconds, its device, and what it worked on."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archloop.files import read_json
from archloop.settings.chains import SEED

CYCLE_FOLDER = re.compile(r"cycle-([1-9]\d*)")
STAGES = {
    "generated": "generate",
    "evaluated": "evaluate",
    "adapter": "finetune",
}


@dataclass(frozen=True)
class JobRecord:
    """One job. What it did not write down is 0, None or empty.

    new_tokens: that a language model wrote. prompt_tokens: that it read for it. trained_tokens: that
    an adapter was trained on. evaluations: candidates judged, of which `reused` had a known score.
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
    cycles = [(0, folder / SEED)] if chain == SEED else []
    for path in (folder / chain).glob("cycle-*"):
        if match := CYCLE_FOLDER.fullmatch(path.name):
            cycles.append((int(match[1]), path))

    records = []
    for cycle, path in sorted(cycles):
        for kind, stage in STAGES.items():
            for file in _files(path / kind):
                records.append(_record(read_json(file, "seconds"), chain, cycle, stage))
    return records


def seconds_of(jobs: Iterable[JobRecord], on_gpu: bool) -> float:
    """Return what the jobs on a GPU took, or the others."""
    return sum((job.seconds for job in jobs if job.on_gpu == on_gpu), 0.0)


def _files(folder: Path) -> list[Path]:
    if folder.name == "adapter":
        path = folder / "run.json"
        return [path] if path.is_file() else []
    return [path for path in sorted(folder.glob("*.run.json")) if path.is_file()]


def _record(values: dict[str, Any], chain: str, cycle: int, stage: str) -> JobRecord:
    versions = values.get("versions")
    if not isinstance(versions, dict):
        versions = {}
    return JobRecord(
        chain=chain,
        cycle=cycle,
        stage=stage,
        seconds=values["seconds"] or 0.0,
        device=values.get("device"),
        isolation=str(values["isolation"]) if values.get("isolation") else None,
        new_tokens=values.get("new_tokens") or 0,
        prompt_tokens=values.get("prompt_tokens") or 0,
        trained_tokens=values.get("tokens") or 0,
        evaluations=len(values.get("candidates") or ()),
        reused=values.get("reused") or 0,
        versions={str(name): str(version) for name, version in versions.items()},
    )
