"""What candidates must not see of the folders that they may read: copies of the images and labels
that score them.

scikit-learn brings `digits` along, labels and all, in the same site-packages as the libraries that
a program needs; Debian's package has Fashion-MNIST below /usr. Sources that a user names are
refused where they could be read.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from archloop.sandbox.readable_files import is_within

# Where packages lie below a prefix of Python, or below /usr.
LIBRARIES = ("lib*", "local/lib*")
PACKAGES = ("python*/site-packages", "python*/dist-packages")
# Folders of sources, as they lie below a prefix of Python, a folder of packages, or /usr.
SOURCES = ("sklearn/datasets", "share/datasets/fashion-mnist")


def hidden_folders(readable: Iterable[str]) -> list[str]:
    """Return the folders with sources of data sets below readable ones, as these are spelled.

    Links are no folders.
    """
    hidden = set()
    for folder in readable:
        if os.path.islink(folder):  # noqa: PTH114 (what it leads to is readable by its own name, too)
            continue

        for path in _sources_below(folder):
            inside = os.path.relpath(path, folder)
            without_links = os.path.join(os.path.realpath(folder), inside)  # noqa: PTH118
            if path.is_dir() and os.path.realpath(path) == without_links:
                hidden.add(str(path))
    return sorted(hidden)


def _sources_below(folder: str) -> Iterator[Path]:
    """Yield what lies where sources of data sets lie below a folder."""
    above = ["", *PACKAGES]
    for library in LIBRARIES:
        above += [f"{library}/{packages}" for packages in PACKAGES]

    for prefix in above:
        for source in SOURCES:
            pattern = f"{prefix}/{source}".lstrip("/")
            yield from Path(folder).glob(pattern)


def without(readable: Iterable[str], hidden: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return (paths that may be read, folders that may be listed): what is readable but for the
    hidden folders.

    For Landlock, where a right on a folder holds for all below: a folder with a hidden one in it is
    replaced by what else it holds. It can still be listed, for Python looks for modules so. Links
    are followed: a right belongs to a file, whatever names it has.
    """
    secret = {os.path.realpath(path) for path in hidden}
    to_do = [os.path.realpath(path) for path in readable]
    kept, listed = set(), set()
    while to_do:
        path = to_do.pop(0)
        if any(is_within(path, folder) for folder in secret):
            continue

        holds_secret = any(is_within(folder, path) for folder in secret)
        if not holds_secret:
            kept.add(path)
            continue

        # In its place comes what it holds, each to be looked at.
        listed.add(path)
        inside = [os.path.realpath(entry.path) for entry in os.scandir(path)]
        to_do += sorted(inside)
    return sorted(kept), sorted(listed)
