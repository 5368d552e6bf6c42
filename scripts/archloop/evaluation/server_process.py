"""The fork server as the judge has it: its process, started with nothing of the user's, and what
comes back from it.
"""

import contextlib
import os
import selectors
import site
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from archloop import python_command, site_limits
from archloop.allocation import PATIENT
from archloop.errors import InputError
from archloop.evaluation.score import plain_line
from archloop.sandbox import isolation

START_S = 300  # how long each step of its start may take
# Files of its folder: tensors, and mean, std and number of classes.
DATA, METADATA = "data.safetensors", "metadata.json"
HOME = "home"  # in the folder for temporary files: what libraries keep, until the judge ends


@dataclass
class Server:
    """A fork server that has been started. instructions: those that PyTorch's kernels for
    processors are chosen by there.
    """

    process: subprocess.Popen[bytes]
    channel: socket.socket
    messages: IO[bytes]  # what it and the supervisors wrote on their standard error
    instructions: str = ""
    is_ready: bool = False  # it has said so

    def await_instructions(self) -> None:
        self.instructions = self._next_word()

    def await_ready(self) -> None:
        """Wait until it takes orders; raise InputError where it does not."""
        if not self.is_ready:
            self.is_ready = self._next_word() == "ready"

    def _next_word(self) -> str:
        """Return the next word of its start; where none comes, end it and raise InputError."""
        self.channel.settimeout(START_S)
        try:
            word = self.channel.recv(1 << 12).decode()
        except TimeoutError:
            self._give_up(f"nothing came from it for {START_S} s; {self.last_words()}")
        if not word:  # it has ended
            self.process.wait()
            self._give_up(self.last_words())
        self.channel.settimeout(None)
        return word

    def _give_up(self, why: str) -> NoReturn:
        self.end()
        # The libraries of tensors want gigabytes of addresses at once.
        bound = site_limits.of_memory()
        more = f"; {bound}" if bound else ""
        raise InputError(f"the judge's own process could not start ({why}){more}")

    def last_words(self) -> str:
        """Return the last line that it wrote.

        Without any, or when it was stopped before, its status.
        """
        written = b""
        if not self.messages.closed:
            # Without a seek, which would move the position at which the process writes.
            written = os.pread(self.messages.fileno(), 2**20, 0)
        lines = written.decode("utf-8", "replace").splitlines()
        if lines:
            return plain_line(lines[-1])
        return f"status {self.process.poll()}"

    def end(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()
        self.messages.close()


def start_server(code: str, data: Path, temporary: Path, around: list[str]) -> Server:
    """Return a new server, which has torch and is getting warm; raise InputError where it cannot
    start.

    code: what its Python runs. data: its folder with DATA and METADATA. temporary: folder for its
    temporary files. around: the command line that it is run by, up to itself; none runs it
    directly.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = [str(data / DATA), str(data / METADATA), str(theirs.fileno())]
    command = python_command.run_code(code, *arguments)
    if around:
        command = [*around, "--", *command]

    messages = tempfile.TemporaryFile(dir=temporary)  # noqa: SIM115 (it stays open)
    with site_limits.usual_stack():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=messages,
            env=_environment(temporary),
            cwd=data,
            pass_fds=[theirs.fileno()],
        )
    theirs.close()  # open here, it would hide that the server has ended

    server = Server(process, ours, messages)
    server.await_instructions()
    return server


def _environment(temporary: Path) -> dict[str, str]:
    """Return the variables of a server, of the user's only what Python and a GPU need.

    temporary: folder for its temporary files.
    """
    # A site's own packages.
    modules = []
    for path in os.environ.get("PYTHONPATH", "").split(":"):
        if os.path.isabs(path):  # noqa: PTH117
            modules.append(path)

    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": ":".join(modules),
        "PYTHONUSERBASE": site.getuserbase(),  # torch may be installed there
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # the same order of sets in every process
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # One for each thread would use up the addresses that a candidate may map.
        "MALLOC_ARENA_MAX": "2",
        "LANG": "C.UTF-8",
        "TMPDIR": str(temporary),
    }

    # On a GPU torch makes a folder for its cache when it is imported.
    home = temporary / HOME
    home.mkdir(mode=0o700, exist_ok=True)
    environment |= isolation.identity(str(home))
    environment |= PATIENT  # candidates share the processors

    for name in ("LD_LIBRARY_PATH", "CUDA_HOME", *isolation.GPU_VARIABLES):
        if name in os.environ:
            environment[name] = os.environ[name]
    return environment


def read_all(
    descriptors: Mapping[str, int], limits: Mapping[str, int], deadline: float
) -> dict[str, bytes]:
    """Return what comes from each descriptor until its end or the deadline, and close them.

    limits: bytes of each; what is over is read, so that nobody blocks, and dropped. deadline: on
    the clock of time.monotonic.
    """
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
                room = limits[ready.data] - len(parts[ready.data])
                parts[ready.data] += part[: max(0, room)]
    return {name: bytes(part) for name, part in parts.items()}
