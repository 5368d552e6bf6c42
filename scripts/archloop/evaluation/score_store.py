"""The store of known scores: records read by key, each written once, in few files and without locks.

    results/evaluations/ab.000017.jsonl.gz    all records whose key begins with ab, after 17 additions

An addition writes the whole file anew under the next number and takes that name by a hard link, which is atomic on
network file systems, too: of several writers one gets it, the others read what it wrote and try the number after. So
the first record of a key is the only one. Files with smaller numbers are deleted once a greater one is there.
"""

import contextlib
import errno
import gzip
import json
import os
import re
import secrets
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json
from archloop.progress import get_logger

NAME = re.compile(r"([0-9a-f]{2})\.(\d{6,})\.jsonl\.gz")
KEY = re.compile(r"[0-9a-f]{64}")
START = '{"key": "'
# Errors of a file system that has no hard links.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

logger = get_logger("scores")


class ScoreStore:
    """A folder of records by key. Threads, processes and machines may read and add at the same time."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock = threading.Lock()
        self.read: dict[str, tuple[int, bytes, dict[str, bytes]]] = {}

    def get(self, key: str) -> dict | None:
        """Return the record that is kept under a key, None when there is none."""
        with self.lock:
            for fresh in (False, True):
                _, _, known = self._part(key[:2], fresh)
                if key in known:
                    return _record(known[key])
        return _of_old_store(self.folder, key)

    def put(self, key: str, record: dict) -> dict:
        """Keep a record under its key and return the one that is kept there: another where somebody was first."""
        line = (
            json.dumps(
                {"key": key} | {name: record[name] for name in sorted(record)}, allow_nan=False
            )
            + "\n"
        )
        added = gzip.compress(line.encode(), compresslevel=6, mtime=0)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock:
            while True:
                number, content, known = self._part(key[:2], fresh=True)
                if key in known:
                    return _record(known[key])
                if _take(self.folder, key[:2], number + 1, content + added):
                    self.read[key[:2]] = (number + 1, content + added, known | {key: added})
                    return record

    def _part(self, prefix: str, fresh: bool) -> tuple[int, bytes, dict[str, bytes]]:
        """Return (number, bytes, key -> its part of them) of the last file; fresh: look whether it still is."""
        if prefix in self.read and not fresh:
            return self.read[prefix]
        while True:
            number = max(_numbers(self.folder, prefix), default=0)
            if prefix in self.read and self.read[prefix][0] == number:
                return self.read[prefix]
            if not number:
                return 0, b"", {}
            with contextlib.suppress(FileNotFoundError):  # a greater number has come since
                path = _path(self.folder, prefix, number)
                known, whole = members(path)
                if not whole:
                    logger.warning("%s: not whole; what it misses is judged again", path)
                self.read[prefix] = (number, b"".join(known.values()), known)
                return self.read[prefix]


def all_records(folder: Path) -> Iterator[tuple[Path, str, Callable[[], dict]]]:
    """Yield (file, key, function that reads the record) of a whole store, its old form, a file a record, included.

    The function raises InputError for a file that is not whole; what is left of it comes under keys of its own.
    """
    last: dict[str, Path] = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        if found := NAME.fullmatch(path.name):
            last[found[1]] = max(
                last.get(found[1], path), path, key=lambda each: int(NAME.fullmatch(each.name)[2])
            )
    for path in last.values():
        known, whole = members(path)
        for key, part in known.items():
            yield path, key, partial(_record, part)
        if not whole:
            yield path, "", partial(_refuse, path)
    for path in sorted(folder.glob("*/[0-9a-f]*.json")):
        yield path, path.stem, partial(read_json, path)


def members(path: Path) -> tuple[dict[str, bytes], bool]:
    """Return (key -> the compressed bytes of its record, whether that is the whole file)."""
    rest, found = path.read_bytes(), {}
    while rest:
        reader = zlib.decompressobj(wbits=31)
        with contextlib.suppress(zlib.error):
            text = reader.decompress(rest)
        key = text[len(START) :][:64].decode("ascii", "replace") if reader.eof else ""
        if not KEY.fullmatch(key):
            return found, False
        found.setdefault(key, rest[: len(rest) - len(reader.unused_data)])
        rest = reader.unused_data
    return found, True


def _refuse(path: Path) -> dict:
    raise InputError(
        f"{path}: not whole; a run judges again what it misses, and writes the file anew"
    )


def _record(part: bytes) -> dict:
    record = json.loads(gzip.decompress(part))
    del record["key"]
    return record


def _of_old_store(folder: Path, key: str) -> dict | None:
    """Return a record of the time when each had a file of its own; a torn one counts as none."""
    path = folder / key[:2] / f"{key}.json"
    try:
        return read_json(path) if path.is_file() else None
    except InputError:
        return None


def _path(folder: Path, prefix: str, number: int) -> Path:
    return folder / f"{prefix}.{number:06d}.jsonl.gz"


def _numbers(folder: Path, prefix: str) -> list[int]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 (thousands of calls)
    except FileNotFoundError:
        return []
    matches = (NAME.fullmatch(name) for name in names if name.startswith(prefix))
    return [int(found[2]) for found in matches if found]


def _take(folder: Path, prefix: str, number: int, content: bytes) -> bool:
    """Write a file under this number, and say whether that was the next one to be taken."""
    path = _path(folder, prefix, number)
    temporary = folder / f".{path.name}.{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        if not _link(temporary, path):
            return False
    finally:
        temporary.unlink(missing_ok=True)
    # The folder may have been looked at too long ago: then this number was taken, and deleted, before.
    numbers = _numbers(folder, prefix)
    if max(numbers, default=number) > number:
        path.unlink()
        return False
    for old in numbers:
        if old < number:
            with contextlib.suppress(
                PermissionError
            ):  # another user's, in a folder where only the owner deletes
                _path(folder, prefix, old).unlink(missing_ok=True)
    return True


def _link(written: Path, path: Path) -> bool:
    try:
        os.link(written, path)
    except FileExistsError:
        # A server's answer that got lost makes a client ask twice.
        return written.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Without hard links two writers at the very same moment could both be first.
        if path.exists():
            return False
        os.replace(written, path)  # noqa: PTH105
    return True
