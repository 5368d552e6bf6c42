"""What hostile programs aim at: files, secrets, listeners. Each says afterwards whether anything touched it."""

import hashlib
import os
import secrets
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from small_data import write_few_digits

# The names that stand in the programs.
FOLDER, PORT, ABSTRACT = "/tmp/archloop-canary", "45671", "archloop-canary-abstract"
VARIABLE = "ARCHLOOP_CANARY_SECRET"


class Canaries:
    """A folder that everybody may write to, secrets in it and in the environment, and open ears. A context manager."""

    def __enter__(self) -> "Canaries":
        suffix = f"{os.geteuid()}-{os.getpid()}"
        self.folder = Path(tempfile.gettempdir()) / f"archloop-canary-{suffix}"
        self.folder.mkdir()
        self.abstract = f"{ABSTRACT}-{suffix}"
        self.secrets = [secrets.token_hex(16) for _ in range(3)]
        os.environ[VARIABLE] = self.secrets[0]
        for name, content in {
            "target.txt": "untouched\n",
            "secret.txt": self.secrets[1],
            "home/.ssh/id_ed25519": self.secrets[2],
            "open/kept.txt": "kept\n",
        }.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(content)
        (self.folder / "data").mkdir()
        self.dataset = self.folder / "data" / "digits.safetensors"
        write_few_digits(self.dataset, 640)
        self._listen()
        for path in (self.folder / "open", self.folder / "target.txt"):
            path.chmod(0o777)  # nothing but the sandbox protects them
        self.planted = self._state()
        return self

    def __exit__(self, *_) -> None:
        os.environ.pop(VARIABLE, None)
        for ear in self.ears.values():
            ear.close()
        shutil.rmtree(self.folder)

    def aimed(self, program: str) -> str:
        """Return the program with these canaries in the place of the fixed names."""
        for name, value in ((FOLDER, str(self.folder)), (PORT, str(self.port)), (ABSTRACT, self.abstract)):
            program = program.replace(name, value)
        return program

    def problems(self) -> list[str]:
        """Return what happened to files and listeners since the last call, one line each."""
        now = self._state()
        problems = [f"{path} changed" for path in sorted(self.planted | now) if self.planted.get(path) != now.get(path)]
        self.planted = now
        for name, ear in self.ears.items():
            try:
                ear.recv(100) if ear.type == socket.SOCK_DGRAM else ear.accept()[0].close()
                problems.append(f"somebody called the {name} listener")
            except BlockingIOError:
                continue
        return problems

    def _listen(self) -> None:
        self.ears = {"tcp": socket.create_server(("127.0.0.1", 0))}
        self.port = self.ears["tcp"].getsockname()[1]
        self.ears["udp"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ears["udp"].bind(("127.0.0.1", self.port))
        for name, address in (("unix", str(self.folder / "listen.sock")), ("abstract", f"\0{self.abstract}")):
            self.ears[name] = socket.socket(socket.AF_UNIX)
            self.ears[name].bind(address)
            self.ears[name].listen()
        for ear in self.ears.values():
            ear.setblocking(False)

    def _state(self) -> dict[str, tuple]:
        """Return path -> (kind and mode, owner, links, size, change of content, extended attributes, digest)."""
        state = {}
        for path in (self.folder, *self.folder.rglob("*")):
            status = path.lstat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
            known = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_size, status.st_mtime_ns)
            state[str(path)] = (*known, tuple(os.listxattr(path, follow_symlinks=False)), digest)
        return state
