"""A results folder under examination: what was read of it, and what was found wrong."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from archloop.errors import InputError
from archloop.files import read_json, sha256_file
from archloop.layout import (
    EXPORT,
    PROVENANCE_SUFFIX,
    SCRIPTS,
    SEED,
    SETTINGS_FILE,
    Cell,
    cell_of,
    resources_beside,
)
from archloop.settings.complete import complete
from archloop.settings.sections import Settings
from archloop.workflow.code_digest import code_digest
from archloop.workflow.provenance import (
    Provenance,
    locate,
    outputs_of,
    provenances,
    read_provenance,
)

# What a reader of a file that is not as it should be may raise, beside InputError.
UNREADABLE = (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError)
# Of the message of such an error.
SHOWN_CHARACTERS = 80

Read = TypeVar("Read")


class ResultsFolder:
    """A results folder with its provenance, the run's settings and what was found.

    jobs: path of a provenance -> what it holds. findings: one line each; counts: how many of each
    kind, and how much was looked at.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.findings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.digests: dict[Path, str | None] = {}
        self.codes: dict[str, str | None] = {}
        self.settings = self._settings()
        self.jobs = self._jobs()

    def _settings(self) -> Settings:
        """Return the run's settings, complete; none where they are missing or broken."""
        path = self.results / SETTINGS_FILE
        if not path.is_file():
            return {}
        return self.read(path, _read_settings) or {}

    def _jobs(self) -> dict[Path, Provenance]:
        """Return the jobs of this folder, and of the resources those that it was made from.

        Other models and data sets may belong to other runs.
        """
        jobs: dict[Path, Provenance] = {}
        for path in provenances(self.results, resources_beside(self.results)):
            provenance = self.read(path, read_provenance)
            if provenance is not None:
                jobs[path] = provenance

        inputs = set()
        for provenance in jobs.values():
            for name in provenance["inputs"]:
                inputs.add(os.path.normpath(locate(self.results, name)))

        used = {}
        for path, provenance in jobs.items():
            outputs = map(os.fspath, outputs_of(path, provenance))
            if self.results in path.parents or not inputs.isdisjoint(outputs):
                used[path] = provenance

        return used

    def say(self, kind: str, path: Path | str, what: str) -> None:
        """Note a finding: missing, altered, stale, broken or wrong."""
        self.counts[kind] += 1
        self.findings.append(f"{kind}: {path}: {what}")

    def read(self, path: Path, reader: Callable[[Path], Read]) -> Read | None:
        """Return what the reader makes of a file; None, and a finding, where it cannot."""
        try:
            return reader(path)
        except InputError as error:
            self.counts["broken"] += 1
            self.findings.append(f"broken: {error}")
        except UNREADABLE as error:
            why = " ".join(repr(error).split())[:SHOWN_CHARACTERS]
            self.say("broken", path, f"not as this workflow writes it ({why})")

        return None

    def digest(self, path: Path) -> str | None:
        """Return the sha256 of a file as it is, None when it is not there; each is read once."""
        path = Path(os.path.normpath(path))
        if path not in self.digests:
            self.digests[path] = sha256_file(path) if path.is_file() else None
        return self.digests[path]

    def input_digest(self, name: str) -> str | None:
        """Return the sha256 of an input of some job as it is now, None when it is not there."""
        return self.digest(locate(self.results, name))

    def code(self, script: str) -> str | None:
        """Return the digest of a script's code today, None where there is no such script."""
        if script not in self.codes:
            path = SCRIPTS / f"{script}.py"
            self.codes[script] = code_digest(path) if path.is_file() else None
        return self.codes[script]

    def cell_of(self, path: Path) -> Cell:
        """Return the chain and cycle that a file belongs to; the seed's 0 for all others."""
        inside = Path(os.path.relpath(path, self.results))
        cell = cell_of(inside)
        if cell is not None:
            return cell
        is_export = len(inside.parts) > 2 and inside.parts[1] == Path(EXPORT).parts[0]
        return Cell(inside.parts[0] if is_export else SEED, 0)


def first_output(provenance_path: Path) -> Path:
    """Return the output that a provenance lies beside."""
    return provenance_path.with_name(provenance_path.name.removesuffix(PROVENANCE_SUFFIX))


def _read_settings(path: Path) -> Settings:
    return complete(read_json(path, "chains", "random_seed"))
