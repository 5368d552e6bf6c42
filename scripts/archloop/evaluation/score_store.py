"""The store of scores: records read by key, each written once, in few files and without locks.

    results/evaluations/ab.000017.jsonl.gz    records whose key begins with ab, after 17 additions

An addition writes the whole file again under the next number and takes that name by a hard link,
which is atomic on network file systems, too: of several writers one gets it, the others read what
it wrote and try the number after. So the first record of a key is the only one. Files with smaller
numbers are deleted once a greater one is there.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from archloop.errors import InputError
from archloop.evaluation.records import Record
from archloop.files import read_json
from archloop.logs import get_logger

NAME = re.compile(r"([0-9a-f]{2})\.(\d{6,})\.jsonl\.gz")
KEY = re.compile(r"[0-9a-f]{64}")
# What a record begins with, its key next.
START = '{"key": "'
# Errors of a file system that has no hard links.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

logger = get_logger("scores")


@dataclass(frozen=True)
class _File:
    """The last file of a prefix of keys. number: 0 where there is none.

    records: key -> its compressed record.
    """

    number: int
    content: bytes
    records: dict[str, bytes]


class ScoreStore:
    """A folder of records by key.

    Threads, processes and machines may read and add at the same time.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock = threading.Lock()
        self.read: dict[str, _File] = {}

    def get(self, key: str) -> Record | None:
        """Return the record that is kept under a key, None when there is none."""
        with self.lock:
            # Only a key that is not in the file as it was read asks the folder again.
            for look_again in (False, True):
                file = self._file(key[:2], look_again)
                if key in file.records:
                    return _record(file.records[key])
        return _of_old_store(self.folder, key)

    def put(self, key: str, record: Record) -> Record:
        """Keep a record under its key and return the one that is kept there: another where somebody
        was first.
        """
        added = _compressed(key, record)
        prefix = key[:2]
        self.folder.mkdir(parents=True, exist_ok=True)

        with self.lock:
            while True:
                file = self._file(prefix, look_again=True)
                if key in file.records:
                    return _record(file.records[key])

                # Compressed records one after another are a compressed file, too.
                number, content = file.number + 1, file.content + added
                if _take(self.folder, prefix, number, content):
                    self.read[prefix] = _File(number, content, file.records | {key: added})
                    return record

    def _file(self, prefix: str, look_again: bool) -> _File:
        """Return the last file of a prefix.

        look_again: look whether the one that was read still is the last.
        """
        if prefix in self.read and not look_again:
            return self.read[prefix]

        while True:
            number = max(_numbers(self.folder, prefix), default=0)
            if prefix in self.read and self.read[prefix].number == number:
                return self.read[prefix]
            if not number:
                return _File(0, b"", {})

            with contextlib.suppress(FileNotFoundError):  # a greater number has come since
                path = _path(self.folder, prefix, number)
                records, whole = members(path)
                if not whole:
                    logger.warning("%s: not whole; what it misses is judged again", path)
                self.read[prefix] = _File(number, b"".join(records.values()), records)
                return self.read[prefix]


def all_records(folder: Path) -> Iterator[tuple[Path, str, Callable[[], object]]]:
    """Yield (file, key, function that reads the record) of a whole store, its old form, a file a
    record, included.

    The function raises InputError for a file that is not whole; what is left of it comes under keys
    of its own.
    """
    for path in _last_files(folder):
        known, whole = members(path)
        for key, part in known.items():
            yield path, key, partial(_record, part)
        if not whole:
            yield path, "", partial(_refuse, path)
    for path in sorted(folder.glob("*/[0-9a-f]*.json")):
        yield path, path.stem, partial(read_json, path)


def _last_files(folder: Path) -> list[Path]:
    """Return the file with the greatest number of each prefix."""
    last: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        name = NAME.fullmatch(path.name)
        if name is None:
            continue

        prefix, number = name[1], int(name[2])
        if prefix not in last or number > last[prefix][0]:
            last[prefix] = number, path
    return [path for _, path in last.values()]


def members(path: Path) -> tuple[dict[str, bytes], bool]:
    """Return (key -> the compressed bytes of its record, whether that is the whole file)."""
    rest = path.read_bytes()
    records: dict[str, bytes] = {}
    while rest:
        reader = zlib.decompressobj(wbits=31)  # of one gzip member, which is one record
        text = b""
        with contextlib.suppress(zlib.error):
            text = reader.decompress(rest)

        key = ""
        if reader.eof:
            key = text[len(START) :][:64].decode("ascii", "replace")

        if not KEY.fullmatch(key):
            return records, False
        records.setdefault(key, rest[: len(rest) - len(reader.unused_data)])
        rest = reader.unused_data
    return records, True


def _refuse(path: Path) -> Record:
    raise InputError(
        f"{path}: not whole; a run judges again what it misses, and writes the file again"
    )


def _compressed(key: str, record: Record) -> bytes:
    """Return a record as it is kept: a line of JSON, its key first.

    Equal records give equal bytes.
    """
    values: dict[str, object] = {"key": key}
    values |= sorted(record.items())
    line = json.dumps(values, allow_nan=False) + "\n"
    return gzip.compress(line.encode(), compresslevel=6, mtime=0)


def _record(part: bytes) -> Record:
    record = json.loads(gzip.decompress(part))
    del record["key"]
    return cast(Record, record)


def _of_old_store(folder: Path, key: str) -> Record | None:
    """Return a record of the time when each had a file of its own; a torn one counts as none."""
    path = folder / key[:2] / f"{key}.json"
    if not path.is_file():
        return None

    try:
        return cast(Record, read_json(path))
    except InputError:
        return None


def _path(folder: Path, prefix: str, number: int) -> Path:
    return folder / f"{prefix}.{number:06d}.jsonl.gz"


def _numbers(folder: Path, prefix: str) -> list[int]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 (thousands of calls)
    except FileNotFoundError:
        return []

    numbers = []
    for name in names:
        match = NAME.fullmatch(name) if name.startswith(prefix) else None
        if match:
            numbers.append(int(match[2]))
    return numbers


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

    # The folder may have been looked at too long ago: then this number was taken, and deleted,
    # before.
    numbers = _numbers(folder, prefix)
    if max(numbers, default=number) > number:
        # Whoever came next has deleted it where it was the last: then what it held is kept.
        path.unlink(missing_ok=True)
        return False
    for old in numbers:
        if old < number:
            # Another user's, in a folder where only the owner deletes.
            with contextlib.suppress(PermissionError):
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
