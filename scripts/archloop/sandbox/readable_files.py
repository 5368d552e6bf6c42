"""What a candidate may read: Python, its libraries, the system's libraries, and nothing of the
user's.
"""

import contextlib
import os
import pwd
import site
import sys
from collections.abc import Iterable
from pathlib import Path

from archloop.errors import InputError

SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/bin",
    "/opt/lib",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
# What belongs to Python below the folder that it is installed in, which may be the home or the
# repository.
PYTHON = ("bin", "lib", "lib64", "pyvenv.cfg")


def readable_paths() -> list[str]:
    """Return what a candidate may read, each path by its own name and by the one without links.

    Of the folder that Python is installed in only what belongs to Python, and no folder that holds
    the home.
    """
    paths = []
    for path in _of_python():
        for spelling in (path, os.path.realpath(path)):
            if not _holds_home(spelling):
                paths.append(spelling)
    for path in SYSTEM:
        paths += [path, os.path.realpath(path)]

    # Each once, in this order.
    once = dict.fromkeys(paths)
    return [path for path in once if os.path.lexists(path)]


def _of_python() -> Iterable[str]:
    """Yield the absolute paths of Python, its packages and the libraries that it was told to look
    for.
    """
    paths = []
    for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix):
        paths += [os.path.join(prefix, name) for name in PYTHON]  # noqa: PTH118

    paths += site.getsitepackages()
    for path in sys.path:
        if "site-packages" in path or "dist-packages" in path:
            paths.append(path)

    paths += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for path in paths:
        if os.path.isabs(path):  # noqa: PTH117
            yield os.path.normpath(path)


def _holds_home(path: str) -> bool:
    homes = {os.environ.get("HOME", "/")}
    with contextlib.suppress(KeyError):  # a user without a name, in a container
        homes.add(pwd.getpwuid(os.getuid()).pw_dir)
    homes |= {os.path.realpath(home) for home in homes}
    return any(is_within(os.path.normpath(home), path) for home in homes)


def is_within(path: str, folder: str) -> bool:
    """Say whether a path is a folder or lies below it, by their names alone."""
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def check_hidden(path: str | Path) -> None:
    """Raise InputError when a candidate could read what lies at a path, for it is below one that it
    may read.
    """
    real = os.path.realpath(path)
    for folder in readable_paths():
        if is_within(real, os.path.realpath(folder)):
            raise InputError(
                f"{path} lies in {folder}, which generated programs may read: "
                "move it, or Python, elsewhere"
            )
