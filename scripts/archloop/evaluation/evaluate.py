"""Judge the candidates of a shard: each in a process of its own in a sandbox, scored here, where
the labels are.

An evaluation is a function of program, protocol, data set and seed. Its record is kept in a store
under that key, so a job that was cut goes on where it was, and a program that appears again is not
trained again. One key has one score: where two jobs judge a program at once, both take that of the
first to finish.
"""

import itertools
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypedDict, cast

from archloop.allocation import choose_workers, memory_mb, processors
from archloop.errors import InputError
from archloop.evaluation.cache_key import protocol_digest, score_key
from archloop.evaluation.devices import dealt_out
from archloop.evaluation.judge import Judge
from archloop.evaluation.machine_check import FAILURES, judge_fairly, prove
from archloop.evaluation.records import FIELDS, Record
from archloop.evaluation.score_store import ScoreStore
from archloop.files import read_json, read_jsonl, sha256_file, write_json
from archloop.logs import get_logger
from archloop.progress import Progress
from archloop.random_seeds import derive
from archloop.sandbox.gpu_memory import shares
from archloop.settings.sections import Evaluation
from archloop.workflow.provenance import Extras

# What a run record says of each candidate.
MEASURED = ("seconds", "cpu_s", "peak_mb", "limits", "isolation", "device", "format", "versions")

logger = get_logger("evaluate")


@dataclass(frozen=True)
class JobResources:
    """What a job has to judge with: settings of section execution, and what bounds it."""

    device: str = "auto"
    gpus: int = 1
    isolation: str = "auto"
    driver_calls: str = "refuse"
    workers: int | str = "auto"
    cores: int | None = None  # None: no rule bounds it
    memory_mb: int | None = None  # None: SLURM bounds it to none
    # A file for timeouts, which are not kept for good: this job, cut and started again, need not
    # wait for them twice.
    pending: Path | None = None


@dataclass(frozen=True)
class ShardFiles:
    """The files of a shard's job. store: a folder of stored scores; the last two are written."""

    candidates: Path
    dataset: Path
    store: Path
    output: Path
    run_record: Path


@dataclass(frozen=True)
class _Evaluated:
    """The record of one program. known: it was not judged now, but before."""

    key: str
    record: Record
    known: bool


class ProgramRow(TypedDict):
    """What is read of a candidate."""

    id: str
    program: str | None


class CandidateRecord(Record):
    """The record of a candidate: its id, the key of its score, and FIELDS."""

    id: str
    key: str


class ShardRunRecord(TypedDict):
    """How a shard was judged. candidates: id -> MEASURED of its record."""

    device: str
    cpu: str
    devices: int
    isolation: str
    workers: int
    reused: int  # candidates of which nothing was judged now
    seconds: float
    versions: dict[str, str]
    candidates: dict[str, Record]


def evaluate_shard(
    files: ShardFiles, settings: Evaluation, seed: int, resources: JobResources
) -> Extras:
    """Judge the candidates of a shard, write its records and its run record.

    Return what its provenance says besides: the class of machine, and the file of work under way.
    """
    pending = files.output.with_name(f".{files.output.name}.pending")
    rows = cast(list[ProgramRow], read_jsonl(files.candidates, "id", "program"))
    records, run_record = evaluate(
        rows, files.dataset, settings, seed, files.store, replace(resources, pending=pending)
    )

    write_json(files.run_record, run_record)
    write_json(files.output, {"protocol": asdict(settings), "records": records})
    host = {"device": run_record["device"]}
    if run_record["device"] == "cpu":
        host["cpu"] = run_record["cpu"]
    return {"spent": pending, "host": host}


def evaluate(
    candidates: list[ProgramRow],
    dataset: Path,
    settings: Evaluation,
    seed: int,
    store: Path,
    resources: JobResources,
) -> tuple[list[CandidateRecord], ShardRunRecord]:
    """Return (records in the order of the candidates, run record).

    store: folder of stored scores. Raises InputError when the machine fails: no candidate has an
    outcome for that.
    """
    seed = derive(seed, "evaluate")
    started = time.monotonic()
    # Equal programs are judged once.
    programs = list(dict.fromkeys(row["program"] for row in candidates))

    judge = Judge(dataset, resources.device, resources.isolation, resources.driver_calls)
    with judge, PendingTimeouts(resources.pending) as waiting:
        settings = judge.settled(settings)
        devices = dealt_out(judge.device, resources.gpus)
        gpus = 0 if judge.device == "cpu" else len(devices)
        workers = _workers(resources, settings, gpus)
        judge.shares = shares(devices, workers)
        protocol = protocol_digest(
            asdict(settings), sha256_file(dataset), seed, judge.device_name, judge.versions
        )

        shard = _Shard(judge, settings, seed, protocol, ScoreStore(store), waiting)
        evaluated = shard.judge_all(programs, devices, workers)
        # While the judge is at work, for a sound program may have to be tried.
        _check_machine(judge, settings, devices[0], list(evaluated.values()))

    known = sum(evaluation.known for evaluation in evaluated.values())
    repeated = len(candidates) - len(programs)
    run_record: ShardRunRecord = {
        "device": judge.device_name,
        "cpu": judge.cpu,
        "devices": len(devices),
        "isolation": judge.level,
        "workers": workers,
        "reused": known + repeated,
        "seconds": round(time.monotonic() - started, 2),
        "versions": judge.versions,
        "candidates": {
            row["id"]: _part(evaluated[row["program"]].record, MEASURED) for row in candidates
        },
    }
    return _records(candidates, evaluated), run_record


def _records(
    candidates: list[ProgramRow], evaluated: Mapping[str | None, _Evaluated]
) -> list[CandidateRecord]:
    records: list[CandidateRecord] = []
    for row in candidates:
        evaluation = evaluated[row["program"]]
        records.append({"id": row["id"], "key": evaluation.key, **_part(evaluation.record, FIELDS)})
    return records


def _part(record: Record, names: tuple[str, ...]) -> Record:
    """Return some values of a record, None for those that it lacks."""
    part = {name: record.get(name) for name in names}
    return cast(Record, part)


@dataclass(frozen=True)
class _Shard:
    """What judging the programs of a shard goes by."""

    judge: Judge
    settings: Evaluation
    seed: int
    protocol: str  # its digest, part of the key of a score
    store: ScoreStore
    pending: "PendingTimeouts"

    def judge_all(
        self, programs: list[str | None], devices: list[str], workers: int
    ) -> Mapping[str | None, _Evaluated]:
        """Return program -> its record, judged by so many threads on these devices."""
        # As many entries as workers, so that each of them finds a device that is free.
        free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for device in itertools.islice(itertools.cycle(devices), workers):
            free.put(device)

        with (
            Progress(len(programs), "program", "evaluate") as progress,
            ThreadPoolExecutor(workers) as pool,
        ):

            def judge_one(program: str | None) -> _Evaluated:
                evaluated = self._judge_one(program, free)
                progress.step(note=evaluated.record["outcome"])
                return evaluated

            return dict(zip(programs, pool.map(judge_one, programs)))

    def _judge_one(self, program: str | None, free: "queue.SimpleQueue[str]") -> _Evaluated:
        key = score_key(self.protocol, program)
        known = self.store.get(key) or self.pending.get(key)
        if known is not None:
            return _Evaluated(key, known, known=True)

        device = free.get()
        try:
            record, lasting = judge_fairly(self.judge, program, self.settings, self.seed, device)
        finally:
            free.put(device)
        kept = self.store if lasting else self.pending
        return _Evaluated(key, kept.put(key, record), known=False)


def _check_machine(
    judge: Judge, settings: Evaluation, device: str, evaluated: list[_Evaluated]
) -> None:
    """Raise InputError where all programs that ran failed and a sound one fails, too."""
    outcomes = []
    for evaluation in evaluated:
        has_run = bool(evaluation.record.get("isolation"))
        if has_run and not evaluation.known:
            outcomes.append(evaluation.record["outcome"])
    if outcomes and all(outcome in FAILURES for outcome in outcomes):
        prove(judge, settings, device)


class PendingTimeouts:
    """Timeouts in a file of one job, which need not wait for them twice.

    Other passing outcomes are kept nowhere.
    """

    def __init__(self, path: Path | None):
        self.path, self.lock = path, threading.Lock()
        self.records: dict[str, Record] = {}
        if path is not None and path.is_file():
            self.records = _read_whole(path)

    def __enter__(self) -> "PendingTimeouts":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Of a machine that fails no timeout counts either.
        if kind is InputError and self.path:
            self.path.unlink(missing_ok=True)

    def get(self, key: str) -> Record | None:
        return self.records.get(key)

    def put(self, key: str, record: Record) -> Record:
        if record["outcome"] == "timeout" and self.path:
            with self.lock:
                self.records[key] = record
                write_json(self.path, self.records)
        return record


def _read_whole(path: Path) -> dict[str, Record]:
    """Return the records of a file; a torn one has none."""
    try:
        records = read_json(path)
    except InputError:
        return {}
    return records if isinstance(records, dict) else {}


def _workers(resources: JobResources, settings: Evaluation, gpus: int) -> int:
    """Return how many candidates are judged at once.

    Say so where they are more than the job's processors carry.
    """
    cores, memory = processors(resources.cores), memory_mb(resources.memory_mb)
    threads = settings.threads
    workers = choose_workers(resources.workers, threads, settings.memory_mb, cores, memory, gpus)

    if not gpus and workers * threads > cores:
        logger.warning(
            "%d workers of %d threads (execution.workers, evaluation.threads) are more than the"
            " job's %d processors",
            workers,
            threads,
            cores,
        )
    return workers
