"""Files that are whole or not there: atomic writes, deterministic bytes, and reading that names what is wrong."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from archloop.errors import InputError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; when the block ends well, it takes the place of `path`.

    The bytes reach the disk before the name does, so a crash or a full disk leaves the old file or none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: str | Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: str | Path, value: object) -> None:
    """Write `value` with sorted keys; equal values give equal bytes. NaN is refused: it is no JSON."""
    write_text(path, json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[dict]) -> None:
    """Write one object a line, keys sorted."""
    write_text(path, "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows))


def read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None


def read_json(path: str | Path, *keys: str) -> object:
    """Read one JSON value, an object with `keys` where some are given.

    Raises InputError naming the file when it is missing, truncated, no JSON or lacks a key.
    """
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not whole JSON ({error}); delete the file and run again") from None
    return has_keys(value, keys, path) if keys else value


def has_keys(value: object, keys: Iterable[str], where: str | Path) -> dict:
    """Return the value, an object with these keys; raise InputError otherwise."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: no JSON object; delete the file and run again")
    missing = [key for key in keys if key not in value]
    if missing:
        raise InputError(f"{where}: lacks {missing[0]}; delete the file and run again")
    return value


def read_jsonl(path: str | Path, *keys: str) -> list[dict]:
    """Read one object with `keys` a line; raise InputError naming file and line of a broken or cut one."""
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise InputError(f"{path}: the last line is cut off; delete the file and run again")
    rows = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            rows.append(has_keys(json.loads(line), keys, f"{path}, line {number}"))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error}); delete the file and run again") from None
    return rows


def remove_tree(folder: str | Path) -> None:
    """Delete a folder with all that is in it, however deep, long of name or closed to its owner it is.

    Folders are moved up before they are emptied, so nothing here depends on depth.
    """
    folder = os.fspath(folder)
    todo = [folder]
    for number, place in enumerate(todo):
        os.chmod(place, 0o700)  # noqa: PTH101
        with os.scandir(place) as entries:
            found = list(entries)
        for at, entry in enumerate(found):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)  # noqa: PTH108
                continue
            os.chmod(entry.path, 0o700)  # noqa: PTH101
            todo.append(os.path.join(folder, f".{number}-{at}.removed"))  # noqa: PTH118
            os.rename(entry.path, todo[-1])  # noqa: PTH104
    for place in reversed(todo):
        os.rmdir(place)  # noqa: PTH106


def sha256_file(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    try:
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def sha256_text(text: str) -> str:
    """Return the sha256 of the UTF-8 bytes of `text`, in hexadecimal (lone surrogates are escaped)."""
    return hashlib.sha256(text.encode("utf-8", errors="backslashreplace")).hexdigest()
