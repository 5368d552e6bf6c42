"""A user without privileges who can read this interpreter and this repository, wherever they lie.

The interpreter may live in a folder that others cannot enter (pyenv in the home of root). No permission is changed for
that: in a mount namespace of its own the closed folder is covered by an empty one that shows the needed trees alone, at
their own paths.
"""

import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
USER = 65534
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def as_plain_user(arguments: list[str], stage: Path) -> list[str]:
    """Return the command that runs `arguments` as the plain user, able to read the interpreter and the repository.

    stage: an empty folder that the namespace uses as a place to hold mounts.
    """
    lines = ["set -e", "umask 022", *opening(stage), f"exec {shlex.join([*AS_USER, *arguments])}"]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]


def opening(stage: Path) -> list[str]:
    """Return the lines of shell that, in a mount namespace, let others read the interpreter and the repository."""
    hold = stage / "trees"
    hold.mkdir(exist_ok=True)
    lines = [shlex.join(["mount", "-t", "tmpfs", "tmpfs", str(hold)])]
    closed: dict[Path, list[Path]] = {}
    for tree in sorted({Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), ROOT}):
        if (folder := closed_folder(tree)) is not None:
            closed.setdefault(folder, []).append(tree)
    for number, (folder, trees) in enumerate(closed.items()):
        kept = [(tree, hold / f"{number}-{index}") for index, tree in enumerate(trees)]
        for tree, place in kept:
            lines += [shlex.join(["mkdir", str(place)]), shlex.join(["mount", "--rbind", str(tree), str(place)])]
        lines.append(shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder)]))
        for tree, place in kept:
            lines += [shlex.join(["mkdir", "-p", str(tree)]), shlex.join(["mount", "--rbind", str(place), str(tree)])]
    return lines


def closed_folder(path: Path) -> Path | None:
    """Return the outermost folder above `path` that others may not enter, None when there is none."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)
