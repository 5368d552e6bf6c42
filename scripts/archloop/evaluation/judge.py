"""The judge: a fork server that runs programs in a sandbox, and the labels that score them, which
stay here.
"""

import contextlib
import fcntl
import os
import platform
import secrets
import socket
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from safetensors.numpy import save_file

from archloop.data.dataset_file import read_metadata, read_split, tensors_written
from archloop.errors import InputError
from archloop.evaluation.devices import judging_device, resolved_precision
from archloop.evaluation.records import Record, TrainingRequest, unjudged
from archloop.evaluation.score import (
    MAXIMUM_HEADER,
    PREAMBLE_BYTES,
    merged,
    plain_line,
    plain_text,
    read_result,
    scored,
)
from archloop.evaluation.server_process import DATA, METADATA, Server, read_all, start_server
from archloop.evaluation.static_checks import check_program, without_unused
from archloop.files import remove_tree, write_json
from archloop.logs import get_logger
from archloop.machine import device_name, versions_with_kernel
from archloop.random_seeds import derive
from archloop.sandbox import isolation
from archloop.sandbox.bounds import bounds
from archloop.sandbox.hidden_files import hidden_folders, without
from archloop.sandbox.orders import CardShare, Order, SupervisorReport
from archloop.sandbox.readable_files import check_hidden, readable_paths
from archloop.settings.sections import Evaluation

MAXIMUM_LOG, MAXIMUM_REPORT = 64 * 2**10, 2**16  # bytes
PREFIX, LOCK = "archloop-", "lock"
# The code of the server, which python_command starts.
SERVER = "from archloop.evaluation import fork_server; fork_server.main()"
# How long the supervisor may take beside the candidate's own time, in seconds; supervisor.START_S
# is part of it.
GRACE_S = 240

logger = get_logger("evaluate")


@dataclass(frozen=True)
class OrderResult:
    """What came of one order: the candidate's result and what it printed, and the supervisor's
    report.
    """

    result: bytes
    log: bytes
    report: SupervisorReport


class Judge:
    """A fork server that judges programs in a sandbox, and the labels, which stay here.

    The server gets warm while programs are checked, and is started again when it has died. Threads
    may ask at the same time. Raises InputError when the isolation level or the device that is asked
    for is not to be had, or the server cannot start.
    """

    def __init__(
        self,
        dataset: Path,
        device: str = "auto",
        level: str = "auto",
        driver_calls: str = "refuse",
    ) -> None:
        self.metadata, self.dataset = read_metadata(dataset), dataset
        self.device = judging_device(device)
        self.device_name = device_name(self.device)
        self.sound = False
        self.gpu, self.log_unlisted = self.device != "cpu", driver_calls == "log"
        # For each device on which candidates share a card.
        self.shares: dict[str, CardShare] = {}

        self.labels: dict[str, np.ndarray] = {}
        for split in ("validation", "test"):
            _, labels = read_split(dataset, split)
            # A byte each, as predictions come.
            self.labels[split] = labels.astype(np.uint8)

        self.level = isolation.choose_level(level, self.gpu)
        if self.level == "none":
            logger.warning(
                "isolation: none. Generated programs run with your rights and see your files."
            )
        else:
            check_hidden(dataset)
            check_hidden(tempfile.gettempdir())
        self.readable = readable_paths()
        self.hidden = hidden_folders(self.readable)
        self.lock = threading.Lock()
        self.server: Server | None = None
        # Why it does not start: the next one would not either.
        self.no_start: InputError | None = None

    def __enter__(self) -> "Judge":
        isolation.check_file_size(self.dataset.stat().st_size)
        _remove_stale(Path(tempfile.gettempdir()))

        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.folder_lock = _lock(self.folder)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)

        try:
            self._write_data()
            self.server = self._start()
        except BaseException:
            # Python calls it only where __enter__ has returned.
            self.__exit__()
            raise

        # What a score depends on beside settings, data and device.
        self.cpu = self.server.instructions
        processor = f"{platform.machine()} {self.cpu}"
        packages = ("torch", "torchvision", "numpy")
        self.versions = versions_with_kernel(packages) | {"cpu": processor}
        if self.level == "bubblewrap":  # each program has a server of its own
            self._stop()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        remove_tree(self.folder)
        self.folder_lock.close()

    def _write_data(self) -> None:
        """Write what the server and its candidates may see of the data set.

        No label that scores is among it.
        """
        train_images, train_labels = read_split(self.dataset, "train")
        tensors = {"train_images": train_images, "train_labels": train_labels}
        for split in ("validation", "test"):
            tensors[f"{split}_images"], _ = read_split(self.dataset, split)
        with tensors_written(self.data / DATA):
            save_file(tensors, self.data / DATA)

        shown = {name: getattr(self.metadata, name) for name in ("mean", "std", "classes")}
        write_json(self.data / METADATA, shown)

        # By a file, for these may be many. But for level landlock, empty folders lie over the
        # hidden ones.
        self.grants = str(self.data / "grants.json")
        readable = self.readable
        listed: list[str] = []
        if self.level == "landlock":
            readable, listed = without(self.readable, self.hidden)
        write_json(self.grants, [readable, listed])

    def settled(self, settings: Evaluation) -> Evaluation:
        """Return the settings as they hold here: the key of a score names the precision, not
        `auto`.
        """
        return replace(settings, precision=resolved_precision(settings.precision, self.device))

    def judge(
        self,
        program: str | None,
        settings: Evaluation,
        seed: int,
        static: bool = True,
        device: str | None = None,
    ) -> Record:
        """Return the record of one program: refused unread, or run in the sandbox and scored here.

        static: refuse by the static checks first. Raises InputError when the machine does not give
        what a candidate is promised, RuntimeError when the judge itself fails: no outcome of a
        candidate.
        """
        settings = self.settled(settings)
        refused = None
        if static or program is None:
            refused = check_program(program)
        if refused:
            record = unjudged(refused[0], plain_line(refused[1]))
        else:
            assert program is not None  # which the static checks refuse
            shown = without_unused(program) if static else program
            record = self._repeated(shown, settings, seed, device or self.device)

        return record | {
            "protocol": asdict(settings),
            "seed": seed,
            "device": self.device_name,
            "versions": self.versions,
        }

    def _repeated(self, program: str, settings: Evaluation, seed: int, device: str) -> Record:
        """Return the record of all repeats, each in a process of its own: nothing passes from one
        to the next.
        """
        records: list[Record] = []
        for repeat in range(settings.repeats):
            # The first repeat is what a run without repeats gives.
            random_seed = derive(seed, "repeat", repeat) if repeat else seed
            once = replace(settings, repeats=1)
            records.append(self.train_once(program, once, random_seed, device))
            if records[-1]["outcome"] != "trained":
                break
        return merged(records)

    def train_once(
        self,
        program: str,
        settings: Evaluation,
        seed: int,
        device: str,
        images: int | None = None,
    ) -> Record:
        """Return the record of one training in the sandbox. images: of each split, the first.

        None takes all.
        """
        nonce = secrets.token_bytes(16)
        request = TrainingRequest(program, settings, seed, device, images, nonce.hex())
        labels = {split: values[:images] for split, values in self.labels.items()}
        # Of validation after every epoch, of test at the end.
        predictions = settings.epochs * len(labels["validation"]) + len(labels["test"])

        folder = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.folder))
        try:
            order = self._order(settings, device, folder)
            answer = self.ask(order, request.to_json(), predictions)
        finally:
            remove_tree(folder)

        # What a candidate is promised was not there: no verdict on its program.
        report = answer.report
        if report.error:
            raise InputError(
                f"{os.uname().nodename} cannot judge at level {self.level}: {report.error}"
            )

        record, predicted = read_result(report, answer.result, nonce)
        return scored(record, predicted, labels, settings) | {
            "log": plain_text(answer.log),
            "cpu_s": report.cpu_s,
            "peak_mb": report.peak_mb,
            "limits": report.limits,
            "isolation": self.level,
        }

    def _order(self, settings: Evaluation, device: str, folder: Path) -> Order:
        """Return the order of one training; makes its folders in an empty one."""
        scratch, base = folder / "scratch", folder / "root"
        scratch.mkdir(mode=0o700)
        base.mkdir()

        return Order(
            level=self.level,
            bounds=bounds(settings.timeout_s, settings.memory_mb, settings.threads),
            readable=self.readable,
            hidden=self.hidden,
            grants=self.grants,
            base=str(base),
            scratch=str(scratch),
            device=device,
            gpu=self.gpu,
            device_files=isolation.gpu_devices() if self.gpu else [],
            log_unlisted=self.log_unlisted,
            card=self.shares.get(device),
        )

    def ask(self, order: Order, request: bytes, predictions: int) -> OrderResult:
        """Have the server carry out an order. predictions: how many there may be.

        Raises RuntimeError where the server or the supervisor ended without a report.
        """
        limits = {
            "result": PREAMBLE_BYTES + MAXIMUM_HEADER + predictions + 1,
            "log": MAXIMUM_LOG,
            "report": MAXIMUM_REPORT,
        }
        pipes = {name: os.pipe() for name in limits}
        reading = {name: pipe[0] for name, pipe in pipes.items()}
        writing = [pipe[1] for pipe in pipes.values()]
        # A file without a name, that no other candidate finds.
        asked = os.memfd_create("request", os.MFD_CLOEXEC)
        try:
            with open(asked, "wb", closefd=False) as opened:
                opened.write(request)
            os.lseek(asked, 0, os.SEEK_SET)
            server = self._send(order, [asked, *writing])
        finally:
            # With one that stays open here no pipe would come to its end.
            for descriptor in (asked, *writing):
                os.close(descriptor)

        deadline = time.monotonic() + order.bounds.timeout_s + GRACE_S
        parts = read_all(reading, limits, deadline)
        try:
            return OrderResult(
                parts["result"], parts["log"], SupervisorReport.from_json(parts["report"])
            )
        except ValueError:
            with self.lock:
                why = server.last_words()
                # Another thread may have started the next one already.
                if self.server is server:
                    self._stop()
            raise RuntimeError(f"the judge's own process ended ({why})") from None
        finally:
            if self.level == "bubblewrap":
                server.end()

    def _send(self, order: Order, descriptors: list[int]) -> Server:
        """Send an order to a server, and return the server."""
        if self.level == "bubblewrap":
            server = self._start((order.scratch,))
            server.await_ready()
            socket.send_fds(server.channel, [order.to_json()], descriptors)
            return server

        with self.lock:
            server = self.ready_server()
            socket.send_fds(server.channel, [order.to_json()], descriptors)
        return server

    def ready_server(self) -> Server:
        """Return the server once it takes orders; start it if none is at work.

        Called with the lock held.
        """
        if self.no_start is not None:
            raise self.no_start
        try:
            if self.server is None or self.server.process.poll() is not None:
                self._stop()
                self.server = self._start()
            self.server.await_ready()
        except InputError as error:
            self.no_start = error
            raise
        return self.server

    def _start(self, writable: tuple[str, ...] = ()) -> Server:
        """Return a new server. writable: what bubblewrap lets it write to."""
        around: list[str] = []
        if self.level == "bubblewrap":
            shown = [*self.readable, str(self.data)]
            around = isolation.bubblewrap_command(shown, writable, self.gpu, self.hidden)
        return start_server(SERVER, self.data, self.folder, around)

    def _stop(self) -> None:
        if self.server is not None:
            self.server.end()
            self.server = None


def _lock(folder: Path) -> IO[str]:
    """Return an open file that marks a folder of a judge as in use for as long as this process
    lives.
    """
    # It gets its name once it is locked: another judge may look for stale folders at any moment.
    lock = open(folder / f"{LOCK}.new", "w")  # noqa: SIM115 (it stays open)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / f"{LOCK}.new").rename(folder / LOCK)
    return lock


def _remove_stale(temporary: Path) -> None:
    """Delete what killed judges of this user have left in the folder for temporary files."""
    for folder in temporary.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is locked, or not yet: its judge is at work
            if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
                continue
            with open(folder / LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
