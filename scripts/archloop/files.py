"""Files that are whole or not there.

Atomic writes, deterministic bytes, and reading that names what is wrong.
"""

import codecs
import contextlib
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, overload

from archloop.errors import InputError

# A file that nobody else has opened, and that no process started meanwhile inherits.
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
AGAIN = "; delete the file and run again"  # the remedy for what the workflow makes itself


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; what is written there takes the place of `path` when the block ends.

    The bytes reach the disk before the name does, so a crash or a full disk leaves the old file or
    none. Raises InputError when the file is another user's and its folder lets nobody else replace
    it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    random_part = secrets.token_hex(4)
    temporary = path.with_name(f".{path.name}.{random_part}")

    # The kernel gives it the mode that the umask, or the folder's access list, wants. A process
    # that reads its umask has to change it, for all of its threads, and some file systems refuse a
    # chmod.
    opened = os.open(temporary, NEW_FILE, 0o666)
    mode = stat.S_IMODE(os.fstat(opened).st_mode)
    os.close(opened)

    try:
        yield temporary
        _sync(temporary, mode)
        _take_place(temporary, path)
    except OSError as error:
        # On a full disk or beyond a quota what fails is a write, which knows no name.
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path, mode: int) -> None:
    """Bring a file to the disk, with this mode: some libraries make theirs their owner's alone."""
    with open(path, "rb") as opened:
        descriptor = opened.fileno()
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            with contextlib.suppress(PermissionError):
                os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def _take_place(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except PermissionError:
        if not _closed_by_sticky_folder(path):
            raise
        raise InputError(
            f"{path}: is another user's, and its folder lets nobody else replace it (sticky);"
            f" its owner has to run this, or take the bit away: chmod -t {path.parent}"
        ) from None


def _closed_by_sticky_folder(path: Path) -> bool:
    folder = path.parent.stat()
    owners = (folder.st_uid, path.lstat().st_uid)
    return bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in owners


def set_time_to_now(path: str | Path) -> None:
    """Set a file's time; raise InputError where not even that is allowed.

    Whoever may write to a file may set its time to now. Any other time is for its owner to set.
    """
    try:
        os.utime(path)
    except PermissionError:  # which names no file
        raise InputError(
            f"{path}: its time cannot be set; its owner has to run this, or to let you write it"
        ) from None


def write_bytes(path: str | Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: str | Path, value: object) -> None:
    """Write `value` with sorted keys: equal values give equal bytes. NaN, no JSON, is refused."""
    write_text(path, json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one object a line, keys sorted."""
    lines = [json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows]
    write_text(path, "".join(lines))


def read_text(path: str | Path) -> str:
    """Return text however it was saved, with a line feed for each end of a line.

    UTF-8, with or without a byte order mark, or UTF-16.
    """
    try:
        text = _decoded(Path(path).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data: bytes) -> str:
    # As some editors, and PowerShell, save what is called Unicode there.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")


# What these give is JSON of any shape: whoever reads a file gives its rows the type that they have.
@overload
def read_json(path: str | Path) -> Any: ...


@overload
def read_json(path: str | Path, *keys: str) -> dict[str, Any]: ...


def read_json(path: str | Path, *keys: str) -> Any:
    """Read one JSON value, an object with `keys` where some are given.

    Raises InputError naming the file when it is missing, truncated, no JSON or lacks a key.
    """
    try:
        value = parse_json(read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: not whole JSON ({error}){AGAIN}") from None
    return has_keys(value, keys, path) if keys else value


@overload
def read_foreign_json(path: str | Path) -> Any: ...


@overload
def read_foreign_json(path: str | Path, *keys: str) -> dict[str, Any]: ...


def read_foreign_json(path: str | Path, *keys: str) -> Any:
    """Read JSON that another project's program wrote, as `read_json` does.

    A number that is none is None. Many write NaN and Infinity, which are no JSON: for a training
    that diverged, or for no limit.
    """
    try:
        value = json.loads(
            read_text(path), parse_constant=lambda _: None, parse_float=_finite_or_none
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not whole JSON ({error})") from None
    return has_keys(value, keys, path, remedy="") if keys else value


def parse_json(text: str | bytes) -> Any:
    """Return a JSON value; raise ValueError for what is none.

    NaN, Infinity and 1e999 are none, though Python takes them.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_number(text)
    return number


def _finite_or_none(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def has_keys(
    value: object, keys: Iterable[str], where: str | Path, remedy: str = AGAIN
) -> dict[str, Any]:
    """Return the value, an object with these keys.

    Raises InputError, which ends with the remedy, otherwise.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: no JSON object{remedy}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise InputError(f"{where}: lacks {missing[0]}{remedy}")
    return value


def read_jsonl(path: str | Path, *keys: str) -> list[dict[str, Any]]:
    """Read one object with `keys` a line.

    Raises InputError naming file and line of a broken or cut one.
    """
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise InputError(f"{path}: the last line is cut off{AGAIN}")

    rows = []
    lines = text.split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            rows.append(has_keys(parse_json(line), keys, where))
        except ValueError as error:
            raise InputError(f"{where}: not JSON ({error}){AGAIN}") from None
    return rows


def remove_tree(folder: str | Path) -> None:
    """Delete a folder with all that is in it, however deep, long of name or closed it is.

    Folders are moved up before they are emptied, so nothing here depends on depth.
    """
    top = os.fspath(folder)
    todo = [top]
    for number, current in enumerate(todo):
        # A closed folder can be neither listed nor emptied, by its owner either.
        os.chmod(current, 0o700)  # noqa: PTH101
        with os.scandir(current) as entries:
            inside = list(entries)
        for index, entry in enumerate(inside):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)  # noqa: PTH108
                continue
            os.chmod(entry.path, 0o700)  # noqa: PTH101
            moved = os.path.join(top, f".{number}-{index}.removed")  # noqa: PTH118
            os.rename(entry.path, moved)  # noqa: PTH104
            todo.append(moved)

    for emptied in reversed(todo):
        os.rmdir(emptied)  # noqa: PTH106


def sha256_file(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    try:
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def sha256_text(text: str) -> str:
    """Return the sha256 of a text in UTF-8, in hexadecimal; lone surrogates are escaped."""
    return hashlib.sha256(text.encode("utf-8", errors="backslashreplace")).hexdigest()
