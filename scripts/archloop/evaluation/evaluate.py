"""Judge the candidates of a shard: each in a process of its own behind walls, scored here, where the labels are.

An evaluation is a function of program, protocol, data set and seed. Its record is kept in a store under that key, so a
job that was cut goes on where it was, and a program that appears again is not trained again. One key has one score:
where two jobs judge a program at once, both take that of the first to finish.
"""

import concurrent.futures
import itertools
import queue
import threading
import time
from pathlib import Path

from archloop.allocation import choose_workers, memory_mb, processors
from archloop.errors import InputError
from archloop.evaluation.cache_key import protocol_digest, score_key
from archloop.evaluation.devices import dealt_out
from archloop.evaluation.judge import Judge
from archloop.evaluation.score import FIELDS
from archloop.evaluation.score_store import ScoreStore
from archloop.evaluation.verdicts import FAILURES, judge_fairly, prove
from archloop.files import read_json, sha256_file, write_json
from archloop.progress import Progress, get_logger
from archloop.random_seeds import derive
from archloop.sandbox.gpu_memory import shares

MEASURED = ("seconds", "cpu_s", "peak_mb", "limits", "isolation", "device", "format", "versions")

logger = get_logger("evaluate")


def evaluate(
    candidates: list[dict],
    dataset: Path,
    settings: dict,
    seed: int,
    store: Path,
    run: dict,
    pending: Path | None = None,
) -> tuple[list[dict], dict]:
    """Return (records in the order of the candidates, run record).

    candidates: rows with id and program. settings: section evaluation. run: device, gpus, isolation, workers, by choice
    driver_calls, and of the job its cores (processors) and memory_mb, None where nobody bounds them. pending: a file
    for timeouts, which are not kept for good: this job, cut and started again, need not wait for them twice.
    Raises InputError when the machine fails: no candidate has an outcome for that.
    """
    seed = derive(seed, "evaluate")
    started = time.monotonic()
    own = Judge(dataset, run["device"], run["isolation"], run.get("driver_calls", "refuse"))
    with own as judge, _Pending(pending) as waiting:
        settings, devices = judge.settled(settings), dealt_out(judge.device, run["gpus"])
        protocol = protocol_digest(
            settings, sha256_file(dataset), seed, judge.device_name, judge.versions
        )
        programs = list(dict.fromkeys(row["program"] for row in candidates))
        kept = ScoreStore(store)
        workers = _workers(run, settings, gpus=0 if judge.device == "cpu" else len(devices))
        judge.shares = shares(devices, workers)
        free = queue.SimpleQueue()
        for _, device in zip(range(workers), itertools.cycle(devices)):
            free.put(device)

        def one(program: str | None) -> tuple[dict, bool]:
            key = score_key(protocol, program)
            record = known = kept.get(key) or waiting.get(key)
            if record is None:
                device = free.get()
                try:
                    record, lasting = judge_fairly(judge, program, settings, seed, device)
                finally:
                    free.put(device)
                record = (kept if lasting else waiting).put(key, record)
            progress.step(note=record["outcome"])
            return record | {"key": key}, known is not None

        with (
            Progress(len(programs), "program", "evaluate") as progress,
            concurrent.futures.ThreadPoolExecutor(workers) as pool,
        ):
            found = dict(zip(programs, pool.map(one, programs)))
        ran = [
            record["outcome"]
            for record, known in found.values()
            if not known and record.get("isolation")
        ]
        if ran and all(outcome in FAILURES for outcome in ran):
            prove(judge, settings, devices[0])
        run_record = {
            "device": judge.device_name,
            "devices": len(devices),
            "isolation": judge.level,
            "workers": workers,
            "reused": sum(known for _, known in found.values()) + len(candidates) - len(programs),
            "seconds": round(time.monotonic() - started, 2),
            "versions": judge.versions,
            "candidates": {
                row["id"]: {name: found[row["program"]][0].get(name) for name in MEASURED}
                for row in candidates
            },
        }
    records = []
    for row in candidates:
        record, _ = found[row["program"]]
        records.append(
            {"id": row["id"], "key": record["key"]} | {name: record.get(name) for name in FIELDS}
        )
    return records, run_record


class _Pending:
    """Timeouts in a file of one job, which need not wait for them twice; other passing outcomes are kept nowhere."""

    def __init__(self, path: Path | None):
        self.path, self.lock = path, threading.Lock()
        self.records = (_known(path) if path else None) or {}

    def __enter__(self) -> "_Pending":
        return self

    def __exit__(self, kind, *_) -> None:
        # Of a machine that fails no timeout counts either.
        if kind is InputError and self.path:
            self.path.unlink(missing_ok=True)

    def get(self, key: str) -> dict | None:
        return self.records.get(key)

    def put(self, key: str, record: dict) -> dict:
        if record["outcome"] == "timeout" and self.path:
            with self.lock:
                self.records[key] = record
                write_json(self.path, self.records)
        return record


def _workers(run: dict, settings: dict, gpus: int) -> int:
    """Return how many candidates are judged at once; say so where they are more than the job's processors carry."""
    cores, memory = processors(run["cores"]), memory_mb(run["memory_mb"])
    workers = choose_workers(
        run["workers"], settings["threads"], settings["memory_mb"], cores, memory, gpus
    )
    if not gpus and workers * settings["threads"] > cores:
        logger.warning(
            "%d workers of %d threads (execution.workers, evaluation.threads) are more than the job's %d processors",
            *(workers, settings["threads"], cores),
        )
    return workers


def _known(path: Path) -> dict | None:
    """Return the records of a file, None when there is none; a torn one counts as none."""
    try:
        return read_json(path) if path.is_file() else None
    except InputError:
        return None
