"""Judge the candidates of a shard: each in a process of its own behind walls, scored here, where the labels are.

An evaluation is a function of program, protocol, data set and seed. Its record is kept in a store under that key, so a
job that was cut goes on where it was, and a program that appears again is not trained again.
"""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import secrets
import selectors
import site
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
from safetensors.torch import save_file

from archloop import walls
from archloop.datasets import read_facts, read_split
from archloop.errors import InputError
from archloop.files import read_json, remove_tree, sha256_file, write_json
from archloop.keys import protocol_digest, score_key
from archloop.models import choose_device, versions
from archloop.own_python import run_module
from archloop.progress import Progress, get_logger
from archloop.result import FIELDS, MAXIMUM_HEADER, plain_line, plain_text, read_result, scored
from archloop.seeds import derive
from archloop.static_checks import check_program

MEASURED = ("seconds", "cpu_s", "peak_mb", "isolation", "device", "versions")
MAXIMUM_LOG, MAXIMUM_REPORT = 64 * 2**10, 2**16
PREFIX, LOCK = "archloop-", "lock"
# How long the keeper may take to report after the candidate's own time is up, and the server to start, in seconds.
GRACE_S, START_S = 30, 300
# Outcomes that another try on another day may not have: they are not kept for good.
TRANSIENT = ("timeout", "out_of_memory")

logger = get_logger("evaluate")


def evaluate(
    candidates: list[dict], dataset: Path, settings: dict, seed: int, store: Path, run: dict
) -> tuple[list[dict], dict]:
    """Return (records in the order of the candidates, run record).

    candidates: rows with id and program. settings: section evaluation. run: device, isolation and workers.
    """
    seed = derive(seed, "evaluate")
    started = time.monotonic()
    with Judge(dataset, run["device"], run["isolation"]) as judge:
        protocol = protocol_digest(settings, sha256_file(dataset), seed, judge.device_name, versions("torch"))
        programs = list(dict.fromkeys(row["program"] for row in candidates))

        def one(program: str | None) -> tuple[dict, bool]:
            key = score_key(protocol, program)
            kept = store / key[:2] / f"{key}.json"
            record = known = _known(kept)
            if record is None:
                record = judge.judge(program, settings, seed)
                if record["outcome"] not in TRANSIENT:
                    write_json(kept, record)
            progress.step(note=record["outcome"])
            return record | {"key": key}, known is not None

        with (
            Progress(len(programs), "program", "evaluate") as progress,
            concurrent.futures.ThreadPoolExecutor(run["workers"]) as pool,
        ):
            found = dict(zip(programs, pool.map(one, programs)))
        run_record = {
            "device": judge.device_name,
            "isolation": judge.level,
            "reused": sum(known for _, known in found.values()) + len(candidates) - len(programs),
            "seconds": round(time.monotonic() - started, 2),
            "versions": versions("torch"),
            "candidates": {
                row["id"]: {name: found[row["program"]][0].get(name) for name in MEASURED} for row in candidates
            },
        }
    records = []
    for row in candidates:
        record, _ = found[row["program"]]
        records.append({"id": row["id"], "key": record["key"]} | {name: record.get(name) for name in FIELDS})
    return records, run_record


class Judge:
    """A server process that judges programs behind walls, and the labels, which stay here.

    Starts with the first program and again when it has died. Threads may ask at the same time. Raises InputError when
    the isolation level or the device that is asked for is not to be had.
    """

    def __init__(self, dataset: Path, device: str = "auto", isolation: str = "auto"):
        self.facts, self.dataset = read_facts(dataset), dataset
        self.device = choose_device(device)
        self.device_name = _device_name(self.device)
        labels = {split: read_split(dataset, split)[1] for split in ("validation", "test")}
        self.labels = {split: values.numpy().astype(np.uint8) for split, values in labels.items()}
        self.level = walls.choose_level(isolation)
        if self.level == "none":
            logger.warning("isolation: none. Generated programs run with your rights and see your files.")
        else:
            walls.check_hidden(dataset)
            walls.check_hidden(tempfile.gettempdir())
        self.readable = walls.readable_paths()
        self.lock, self.server, self.channel = threading.Lock(), None, None

    def __enter__(self) -> "Judge":
        _sweep(Path(tempfile.gettempdir()))
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.held = _hold(self.folder)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        train, labels = read_split(self.dataset, "train")
        shown = {f"{split}_images": read_split(self.dataset, split)[0] for split in ("validation", "test")}
        save_file({"train_images": train, "train_labels": labels, **shown}, self.data / "data.safetensors")
        write_json(self.data / "facts.json", {name: self.facts[name] for name in ("mean", "std", "classes")})
        return self

    def __exit__(self, *_) -> None:
        self._stop()
        remove_tree(self.folder)
        self.held.close()

    def judge(self, program: str | None, settings: dict, seed: int, static: bool = True) -> dict:
        """Return the record of one program: refused unread, or run behind the walls and scored here.

        settings: section evaluation. static: refuse by the static checks first. Raises RuntimeError when the walls
        cannot be built or the judge itself fails: that is no outcome of a candidate.
        """
        refused = check_program(program) if static or program is None else None
        if refused:
            record = dict.fromkeys(FIELDS) | {"outcome": refused[0], "detail": plain_line(refused[1])}
        else:
            record = self._run(program, settings, seed)
        facts = {"protocol": settings, "seed": seed, "device": self.device_name, "versions": versions("torch")}
        return record | facts

    def _run(self, program: str, settings: dict, seed: int) -> dict:
        nonce = secrets.token_bytes(16)
        request = {"program": program, "settings": settings, "seed": seed, "device": self.device, "nonce": nonce.hex()}
        place = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.folder))
        scratch, base = place / "scratch", place / "root"
        try:
            scratch.mkdir(mode=0o700)
            base.mkdir()
            order = {"level": self.level, "readable": self.readable, "base": str(base), "scratch": str(scratch)}
            order |= {"memory_mb": settings["memory_mb"], "threads": settings["threads"], "gpu": self.device != "cpu"}
            order["timeout_s"] = settings["timeout_s"] * settings["repeats"]
            order["cpu_s"] = int(order["timeout_s"] * settings["threads"]) + 10
            predictions = settings["repeats"] * (
                settings["epochs"] * len(self.labels["validation"]) + len(self.labels["test"])
            )
            result, log, report = self._ask(order, json.dumps(request).encode(), predictions)
        finally:
            remove_tree(place)
        if not report or report["error"]:
            why = report["error"] if report else "the judge's own process ended"
            raise RuntimeError(f"the walls around a candidate could not be built at level {self.level}: {why}")
        record = scored(read_result(report, result, nonce), self.labels, settings)
        record["log"] = plain_text(log)
        return record | {"cpu_s": report["cpu_s"], "peak_mb": report["peak_mb"], "isolation": self.level}

    def _ask(self, order: dict, request: bytes, predictions: int) -> tuple[bytes, bytes, dict | None]:
        """Return (what the candidate wrote as result, what it printed, the keeper's report or None)."""
        limits = {"result": 20 + MAXIMUM_HEADER + predictions + 1, "log": MAXIMUM_LOG, "report": MAXIMUM_REPORT}
        pipes = {name: os.pipe() for name in limits}
        asked = os.memfd_create("request", os.MFD_CLOEXEC)
        try:
            with open(asked, "wb", closefd=False) as opened:
                opened.write(request)
            os.lseek(asked, 0, os.SEEK_SET)
            given = [asked, *(pipes[name][1] for name in limits)]
            message = json.dumps(order).encode()
            if self.level == "bubblewrap":
                own = self._start((order["scratch"],))
                socket.send_fds(own[1], [message], given)
            else:
                with self.lock:
                    own = self._ready()
                    socket.send_fds(own[1], [message], given)
        finally:
            for descriptor in (asked, *(pipe[1] for pipe in pipes.values())):
                os.close(descriptor)
        deadline = time.monotonic() + order["timeout_s"] + GRACE_S
        parts = _drain({name: pipe[0] for name, pipe in pipes.items()}, limits, deadline)
        if self.level == "bubblewrap":
            _end(*own)
        try:
            return parts["result"], parts["log"], json.loads(parts["report"])
        except ValueError:
            with self.lock:
                if self.server is own[0]:
                    self._stop()
            return b"", b"", None

    def _ready(self) -> tuple[subprocess.Popen, socket.socket]:
        """Return the server and its socket; start it if none is at work. Called with the lock held."""
        if self.server is None or self.server.poll() is not None:
            self._stop()
            self.server, self.channel = self._start()
        return self.server, self.channel

    def _start(self, writable: tuple[str, ...] = ()) -> tuple[subprocess.Popen, socket.socket]:
        """Return a new server and its socket. writable: what bubblewrap lets it write to."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [str(self.data / "data.safetensors"), str(self.data / "facts.json")]
        command = run_module("archloop.judge_server", *files, str(theirs.fileno()))
        modules = filter(os.path.isabs, os.environ.get("PYTHONPATH", "").split(":"))  # a site's own packages
        environment = {"PATH": os.defpath, "PYTHONPATH": ":".join(modules), "HOME": "/nonexistent"}
        environment |= {"PYTHONUSERBASE": site.getuserbase()}  # torch may be installed there
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"), "1")
        environment |= {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "TMPDIR": str(self.folder), "MALLOC_ARENA_MAX": "2"}
        environment |= {"GOMP_SPINCOUNT": "1000"}  # candidates share the processors; waiting threads sleep soon
        passed = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME")
        environment |= {name: os.environ[name] for name in passed if name in os.environ}
        if self.level == "bubblewrap":
            shown = [*self.readable, str(self.data)]
            command = [*walls.bubblewrap_command(shown, writable, self.device != "cpu"), "--", *command]
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env=environment, cwd=self.data, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        ours.settimeout(START_S)
        if ours.recv(16) != b"ready":
            raise RuntimeError(f"the judge's process could not start (status {server.wait()})")
        ours.settimeout(None)
        return server, ours

    def _stop(self) -> None:
        if self.server is not None:
            _end(self.server, self.channel)
            self.server = None


def _end(server: subprocess.Popen, channel: socket.socket) -> None:
    channel.close()
    server.kill()
    server.wait()


def _hold(folder: Path) -> IO:
    """Return an open file that marks a folder of a judge as in use for as long as this process lives."""
    held = open(folder / f"{LOCK}.new", "w")  # noqa: SIM115 (it stays open)
    fcntl.flock(held, fcntl.LOCK_EX)
    (folder / f"{LOCK}.new").rename(folder / LOCK)
    return held


def _sweep(place: Path) -> None:
    """Delete what judges of this user that were killed have left."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
                continue
            with open(folder / LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)


def _drain(descriptors: dict[str, int], limits: dict[str, int], deadline: float) -> dict[str, bytes]:
    """Read all until their ends or the deadline; what is over a limit is read, so that nobody blocks, and dropped."""
    parts = {name: bytearray() for name in descriptors}
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for name, descriptor in descriptors.items():
            stack.callback(os.close, descriptor)
            selector.register(descriptor, selectors.EVENT_READ, name)
        while selector.get_map() and time.monotonic() < deadline:
            for ready, _ in selector.select(max(0.0, deadline - time.monotonic())):
                part = os.read(ready.fd, 1 << 16)
                if not part:
                    selector.unregister(ready.fd)
                parts[ready.data] += part[: max(0, limits[ready.data] - len(parts[ready.data]))]
    return {name: bytes(part) for name, part in parts.items()}


def _device_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


def _known(path: Path) -> dict | None:
    """Return the record kept under a key, None when there is none; a torn one counts as none."""
    try:
        return read_json(path) if path.is_file() else None
    except InputError:
        return None
