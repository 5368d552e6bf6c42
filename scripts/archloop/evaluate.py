"""Judge the candidates of a shard: each in a process of its own, scored here, where the labels are.

An evaluation is a function of program, protocol, data set and seed. Its record is kept in a store under that key, so a
job that was cut goes on where it was, and a program that appears again is not trained again.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from archloop.datasets import read_facts, read_split
from archloop.errors import InputError
from archloop.files import read_json, sha256_file, sha256_text, write_json
from archloop.models import choose_device
from archloop.progress import Progress
from archloop.seeds import derive
from archloop.static_checks import check_program

FIELDS = ("outcome", "detail", "parameters", "multiply_adds", "accuracy", "losses", "graph")
# What a candidate may be told to have: its limits do not change what an honest one scores.
LIMITS = ("timeout_s", "memory_mb")


def evaluate(
    candidates: list[dict], dataset: Path, settings: dict, seed: int, store: Path, device: str
) -> tuple[list[dict], dict]:
    """Return (records in the order of the candidates, run record)."""
    device = choose_device(device)
    facts = read_facts(dataset)
    seed = derive(seed, "evaluate")
    protocol = sha256_text(json.dumps([settings, sha256_file(dataset), seed], sort_keys=True))
    records, seconds, reused = {}, {}, 0
    started = time.monotonic()
    with Server(dataset, facts) as server, Progress(len(candidates), "candidate", "evaluate") as progress:
        for row in candidates:
            key = sha256_text(f"{protocol} {row['program']}")
            kept = store / key[:2] / f"{key}.json"
            record = _known(kept)
            reused += record is not None
            if record is None:
                request = {"program": row["program"], "settings": settings, "seed": seed, "device": device}
                record = judge(request, server)
                write_json(kept, record)
            records[row["id"]] = {"id": row["id"], "key": key} | {name: record.get(name) for name in FIELDS}
            seconds[row["id"]] = record.get("seconds", {}) | {"peak_mb": record.get("peak_mb")}
            progress.step(note=f"{row['id']} {record['outcome']}")
    whole = round(time.monotonic() - started, 2)
    run_record = {"device": device, "reused": reused, "seconds": whole, "candidates": seconds, "isolation": "process"}
    return [records[row["id"]] for row in candidates], run_record


def judge(request: dict, server: "Server") -> dict:
    """Return the record of one program: refused unread, or run by the server and scored here."""
    refused = check_program(request["program"])
    if refused:
        return {"outcome": refused[0], "detail": plain_line(refused[1])}
    facts, predictions = server.ask(request)
    record = facts | {"detail": plain_line(facts.get("detail", "")), "accuracy": None}
    if facts["outcome"] == "trained":
        if len(predictions) == len(server.labels):
            record["accuracy"] = float((np.frombuffer(predictions, np.uint8) == server.labels).mean())
        else:
            record |= {"outcome": "crashed", "detail": "the predictions have the wrong size"}
    return record


class Server:
    """The process that judges, started at the first question and again whenever it has died."""

    def __init__(self, dataset: Path, facts: dict):
        self.dataset, self.facts = dataset, facts
        self.labels = read_split(dataset, "validation")[1].numpy().astype(np.uint8)
        self.process = None

    def __enter__(self) -> "Server":
        self.folder = tempfile.TemporaryDirectory(prefix="archloop-")
        return self

    def __exit__(self, *_) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def ask(self, request: dict) -> tuple[dict, bytes]:
        """Return (facts, predictions) for one request."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        header = self.process.stdout.readline()
        if not header:
            self.process.wait()
            return {"outcome": "crashed", "detail": "it took the judge's own process with it"}, b""
        facts = json.loads(header)
        return facts, self.process.stdout.read(facts.pop("bytes"))

    def _start(self) -> None:
        folder = Path(self.folder.name)
        images, labels = read_split(self.dataset, "train")
        shown = read_split(self.dataset, "validation")[0]
        save_file({"train_images": images, "train_labels": labels, "images": shown}, folder / "data.safetensors")
        write_json(folder / "facts.json", {name: self.facts[name] for name in ("mean", "std", "classes")})
        arguments = ["-m", "archloop.judge_server", str(folder / "data.safetensors"), str(folder / "facts.json")]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), "HOME": str(folder)}
        environment["OMP_NUM_THREADS"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=folder
        )


def plain_line(text: str, length: int = 300) -> str:
    """Return text from a candidate as one line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:length].strip()


def _known(path: Path) -> dict | None:
    """Return the record kept under a key, None when there is none; a torn one counts as none."""
    try:
        return read_json(path) if path.is_file() else None
    except InputError:
        return None
