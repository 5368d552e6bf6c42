"""The judge: a server process that runs programs behind walls, and the labels that score them, which stay here."""

import contextlib
import fcntl
import json
import os
import platform
import secrets
import selectors
import site
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from safetensors.numpy import save_file

from archloop import python_command, site_limits
from archloop.allocation import PATIENT
from archloop.data.dataset_file import read_metadata, read_split
from archloop.errors import InputError
from archloop.evaluation.devices import device_name, judging_device, resolved_precision
from archloop.evaluation.score import (
    FIELDS,
    MAXIMUM_HEADER,
    merged,
    plain_line,
    plain_text,
    read_result,
    scored,
)
from archloop.evaluation.static_checks import check_program, without_unused
from archloop.files import remove_tree, write_json
from archloop.model.loading import versions
from archloop.progress import get_logger
from archloop.random_seeds import derive
from archloop.sandbox import isolation as walls
from archloop.sandbox.hidden_files import hidden_folders, without

MAXIMUM_LOG, MAXIMUM_REPORT = 64 * 2**10, 2**16
PREFIX, LOCK = "archloop-", "lock"
# The code of the server, which python_command starts.
SERVER = "from archloop.evaluation import fork_server; fork_server.main()"
# How long the keeper may take beside the candidate's own time (fork_server.START_S is part of it), and the server to
# start, in seconds.
GRACE_S, START_S = 240, 300

logger = get_logger("evaluate")


@dataclass(frozen=True)
class Server:
    """A server at work. instructions: those that PyTorch's kernels for processors are chosen by there."""

    process: subprocess.Popen
    channel: socket.socket
    messages: IO[bytes]  # what it and the keepers wrote on their standard error
    instructions: str = ""

    def last_words(self) -> str:
        """Return the last line that it wrote; without any, or when it was stopped before, its status."""
        # Without a seek, which would move the place where the process writes.
        written = b"" if self.messages.closed else os.pread(self.messages.fileno(), 2**20, 0)
        said = written.decode("utf-8", "replace").splitlines()
        return plain_line(said[-1]) if said else f"status {self.process.poll()}"

    def end(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()
        self.messages.close()


class Judge:
    """A server process that judges programs behind walls, and the labels, which stay here.

    It is started again when it has died. Threads may ask at the same time. Raises InputError when the isolation level
    or the device that is asked for is not to be had, or the server cannot start.
    """

    def __init__(
        self,
        dataset: Path,
        device: str = "auto",
        isolation: str = "auto",
        driver_calls: str = "refuse",
    ) -> None:
        self.metadata, self.dataset = read_metadata(dataset), dataset
        self.device = judging_device(device)
        self.device_name = device_name(self.device)
        self.sound = False
        self.gpu, self.log_unlisted = self.device != "cpu", driver_calls == "log"
        labels = {split: read_split(dataset, split)[1] for split in ("validation", "test")}
        self.shares: dict[
            str, dict
        ] = {}  # of a card, for each device on which candidates share one
        self.labels = {split: values.astype(np.uint8) for split, values in labels.items()}
        self.level = walls.choose_level(isolation, self.gpu)
        if self.level == "none":
            logger.warning(
                "isolation: none. Generated programs run with your rights and see your files."
            )
        else:
            walls.check_hidden(dataset)
            walls.check_hidden(tempfile.gettempdir())
        self.readable = walls.readable_paths()
        self.hidden = hidden_folders(self.readable)
        self.lock: threading.Lock = threading.Lock()
        self.server: Server | None = None

    def __enter__(self) -> "Judge":
        walls.check_file_size(self.dataset.stat().st_size)
        _sweep(Path(tempfile.gettempdir()))
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.held = _hold(self.folder)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        train, labels = read_split(self.dataset, "train")
        shown = {
            f"{split}_images": read_split(self.dataset, split)[0]
            for split in ("validation", "test")
        }
        save_file(
            {"train_images": train, "train_labels": labels, **shown}, self.data / "data.safetensors"
        )
        # By a file, for these may be many.
        self.grants = str(self.data / "grants.json")
        apart = self.level == "landlock"  # elsewhere empty folders lie over the hidden ones
        write_json(
            self.grants, without(self.readable, self.hidden) if apart else [self.readable, []]
        )
        write_json(
            self.data / "facts.json",
            {name: getattr(self.metadata, name) for name in ("mean", "std", "classes")},
        )
        try:
            self.server = self._start()
        except BaseException:
            self.__exit__()
            raise
        # What a score depends on beside settings, data and device.
        kind = f"{platform.machine()} {self.server.instructions}"
        self.versions = versions("torch", "torchvision", "numpy") | {"cpu": kind}
        if self.level == "bubblewrap":  # each program has a server of its own
            self._stop()
        return self

    def __exit__(self, *_) -> None:
        self._stop()
        remove_tree(self.folder)
        self.held.close()

    def settled(self, settings: dict) -> dict:
        """Return the settings as they hold here: the key of a score names the precision, not `auto`."""
        return settings | {
            "precision": resolved_precision(settings.get("precision", "auto"), self.device)
        }

    def judge(
        self,
        program: str | None,
        settings: dict,
        seed: int,
        static: bool = True,
        device: str | None = None,
    ) -> dict:
        """Return the record of one program: refused unread, or run behind the walls and scored here.

        settings: section evaluation. static: refuse by the static checks first. Raises InputError when the machine does
        not give what a candidate is promised, RuntimeError when the judge itself fails: no outcome of a candidate.
        """
        settings = self.settled(settings)
        refused = check_program(program) if static or program is None else None
        if refused:
            record = dict.fromkeys(FIELDS) | {
                "outcome": refused[0],
                "detail": plain_line(refused[1]),
            }
        else:
            shown = without_unused(program) if static else program
            record = self._repeated(shown, settings, seed, device or self.device)
        facts = {
            "protocol": settings,
            "seed": seed,
            "device": self.device_name,
            "versions": self.versions,
        }
        return record | facts

    def _repeated(self, program: str, settings: dict, seed: int, device: str) -> dict:
        """Return the record of all repeats, each in a process of its own: nothing passes from one to the next."""
        records = []
        for repeat in range(settings["repeats"]):
            own_seed = derive(seed, "repeat", repeat) if repeat else seed
            records.append(self.train_once(program, settings | {"repeats": 1}, own_seed, device))
            if records[-1]["outcome"] != "trained":
                break
        return merged(records)

    def train_once(
        self, program: str, settings: dict, seed: int, device: str, images: int | None = None
    ) -> dict:
        """Return the record of one training behind the walls. images: of each split, the first; None takes all."""
        nonce = secrets.token_bytes(16)
        request = {
            "program": program,
            "settings": settings,
            "seed": seed,
            "device": device,
            "nonce": nonce.hex(),
        }
        request["images"] = images
        labels = {split: values[:images] for split, values in self.labels.items()}
        place = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.folder))
        scratch, base = place / "scratch", place / "root"
        try:
            scratch.mkdir(mode=0o700)
            base.mkdir()
            order = {
                "level": self.level,
                "readable": self.readable,
                "base": str(base),
                "scratch": str(scratch),
            }
            order |= walls.bounds(settings) | {
                "gpu": self.gpu,
                "device": device,
                "log_unlisted": self.log_unlisted,
            }
            order |= {
                "devices": walls.gpu_devices() if self.gpu else [],
                "hidden": self.hidden,
                "grants": self.grants,
            }
            order["card"] = self.shares.get(device)
            predictions = settings["repeats"] * (
                settings["epochs"] * len(labels["validation"]) + len(labels["test"])
            )
            result, log, report = self._ask(order, json.dumps(request).encode(), predictions)
        finally:
            remove_tree(place)
        if report["error"]:
            raise InputError(
                f"{os.uname().nodename} cannot judge at level {self.level}: {report['error']}"
            )
        record = scored(read_result(report, result, nonce), labels, settings)
        record["log"] = plain_text(log)
        measured = {name: report[name] for name in ("cpu_s", "peak_mb", "limits")}
        return record | measured | {"isolation": self.level}

    def _ask(self, order: dict, request: bytes, predictions: int) -> tuple[bytes, bytes, dict]:
        """Return (what the candidate wrote as result, what it printed, the keeper's report).

        Raises RuntimeError where the server or the keeper ended without one.
        """
        limits = {
            "result": 20 + MAXIMUM_HEADER + predictions + 1,
            "log": MAXIMUM_LOG,
            "report": MAXIMUM_REPORT,
        }
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
                socket.send_fds(own.channel, [message], given)
            else:
                with self.lock:
                    own = self._ready()
                    socket.send_fds(own.channel, [message], given)
        finally:
            for descriptor in (asked, *(pipe[1] for pipe in pipes.values())):
                os.close(descriptor)
        deadline = time.monotonic() + order["timeout_s"] + GRACE_S
        parts = _drain({name: pipe[0] for name, pipe in pipes.items()}, limits, deadline)
        try:
            return parts["result"], parts["log"], json.loads(parts["report"])
        except ValueError:
            with self.lock:
                why = own.last_words()
                if self.server is own:
                    self._stop()
            raise RuntimeError(f"the judge's own process ended ({why})") from None
        finally:
            if self.level == "bubblewrap":
                own.end()

    def _ready(self) -> Server:
        """Return the server; start it if none is at work. Called with the lock held."""
        if self.server is None or self.server.process.poll() is not None:
            self._stop()
            self.server = self._start()
        return self.server

    def _start(self, writable: tuple[str, ...] = ()) -> Server:
        """Return a new server. writable: what bubblewrap lets it write to."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [str(self.data / "data.safetensors"), str(self.data / "facts.json")]
        command = python_command.run_code(SERVER, *files, str(theirs.fileno()))
        modules = filter(
            os.path.isabs, os.environ.get("PYTHONPATH", "").split(":")
        )  # a site's own packages
        environment = {"PATH": os.defpath, "PYTHONPATH": ":".join(modules)} | walls.identity(
            "/nonexistent"
        )
        environment |= {"PYTHONUSERBASE": site.getuserbase()}  # torch may be installed there
        environment |= dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"), "1"
        )
        environment |= {
            "PYTHONHASHSEED": "0",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.folder),
            "MALLOC_ARENA_MAX": "2",
        }
        environment |= PATIENT  # candidates share the processors
        passed = ("LD_LIBRARY_PATH", "CUDA_HOME", *walls.GPU_VARIABLES)
        environment |= {name: os.environ[name] for name in passed if name in os.environ}
        if self.level == "bubblewrap":
            shown = [*self.readable, str(self.data)]
            command = [
                *walls.bubblewrap_command(shown, writable, self.gpu, self.hidden),
                "--",
                *command,
            ]
        messages = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 (it stays open)
        streams = {"stdin": subprocess.DEVNULL, "stderr": messages}
        with site_limits.usual_stack():
            process = subprocess.Popen(
                command, **streams, env=environment, cwd=self.data, pass_fds=[theirs.fileno()]
            )
        theirs.close()
        ours.settimeout(START_S)
        word, _, instructions = ours.recv(1 << 12).decode().partition(" ")
        server = Server(process, ours, messages, instructions)
        if word != "ready":
            process.wait()
            why = server.last_words()
            server.end()
            # The libraries of tensors want gigabytes of addresses at once.
            bound = site_limits.of_memory()
            raise InputError(
                f"the judge's own process could not start ({why})" + (f"; {bound}" if bound else "")
            )
        ours.settimeout(None)
        return server

    def _stop(self) -> None:
        if self.server is not None:
            self.server.end()
            self.server = None


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


def _drain(
    descriptors: dict[str, int], limits: dict[str, int], deadline: float
) -> dict[str, bytes]:
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
