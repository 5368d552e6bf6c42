"""What candidates must not see of the folders that they may read: copies of the images and labels that score them.

scikit-learn brings `digits` along, labels and all, in the same site-packages as the libraries that a program needs;
Debian's package has Fashion-MNIST below /usr. Sources that a user names are refused where they could be read.
"""

import os
from collections.abc import Iterable
from pathlib import Path

# Folders of sources, as they lie below a prefix of Python, a folder of packages, or /usr.
PACKAGES = ("python*/site-packages", "python*/dist-packages")
SOURCES = ("sklearn/datasets", "share/datasets/fashion-mnist")


def hidden_folders(readable: Iterable[str]) -> list[str]:
    """Return the folders with sources of data sets below readable ones, as these are spelled; links are no folders."""
    above = (
        "",
        *PACKAGES,
        *(f"{library}/{place}" for library in ("lib*", "local/lib*") for place in PACKAGES),
    )
    patterns = [os.path.join(place, source) for place in above for source in SOURCES]  # noqa: PTH118
    found = []
    for folder in readable:
        if os.path.islink(folder):  # noqa: PTH114 (what it leads to is readable by its own name, too)
            continue
        for path in (path for pattern in patterns for path in Path(folder).glob(pattern)):
            inside = os.path.relpath(path, folder)
            without_links = os.path.join(os.path.realpath(folder), inside)  # noqa: PTH118
            if path.is_dir() and os.path.realpath(path) == without_links:
                found.append(str(path))
    return sorted(set(found))


def without(readable: Iterable[str], hidden: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return (paths that may be read, folders that may be listed): what is readable but for the hidden folders.

    For walls where a right on a folder holds for all below: one with a hidden folder in it is replaced by what else it
    holds. It can still be listed, for Python looks for modules so. Links are followed: a right belongs to a place.
    """
    places = {os.path.realpath(path) for path in hidden}
    todo, kept, listed = [os.path.realpath(path) for path in readable], [], []
    while todo:
        path = todo.pop(0)
        if any(_within(path, place) for place in places):
            continue
        if any(_within(place, path) for place in places):
            listed.append(path)
            todo += sorted(os.path.realpath(entry.path) for entry in os.scandir(path))
        else:
            kept.append(path)
    return sorted(set(kept)), sorted(set(listed))


def _within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")
