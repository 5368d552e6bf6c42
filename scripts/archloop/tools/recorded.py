"""A candidate on record: what is left of the jobs that made it, and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from archloop.corpus.candidate_rows import CandidateRow
from archloop.corpus.tables import read_candidates
from archloop.errors import InputError
from archloop.layout import CANDIDATES, CORPUS, CYCLE_FOLDER, cells_with
from archloop.settings import schema
from archloop.settings.old_names import section_with_present_names
from archloop.settings.sections import SECTION_NAMES
from archloop.tools.inspect_corpus import did_you_mean
from archloop.workflow.provenance import (
    Options,
    SettingsSlices,
    locate,
    provenance_path,
    read_provenance,
)

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class RecordedJob:
    """A job that is done again: what its provenance says, and the files that it read."""

    script: str
    options: Options
    settings: SettingsSlices
    versions: dict[str, str]
    host: dict[str, str]
    inputs: list[Path]

    def input(self, name: str) -> Path | None:
        """Return the input of this name, None without one."""
        named = [path for path in self.inputs if path.name == name]
        return named[0] if named else None

    def inputs_in(self, folder: str) -> list[Path]:
        """Return the inputs that lie in a folder of this name."""
        return [path for path in self.inputs if path.parent.name == folder]

    def dataset(self) -> Path:
        return self.inputs_in("datasets")[0]

    def corpora(self) -> list[Path]:
        """Return the corpus files in the order of the rules: the seed's, then by cycle."""
        shards = [path for path in self.inputs if path.name == CORPUS]
        return sorted(shards, key=_cycle_of)

    def section(self, kind: type[Kind]) -> Kind:
        """Return a section as the job had it: what it was given, and the defaults of the rest.

        kind: its type. Old names of settings are read as the new ones. Raises InputError when it
        was given what this version does not know.
        """
        name = SECTION_NAMES[kind]
        recorded = section_with_present_names(name, self.settings[name])
        unknown = recorded.keys() - schema.section(name).keys()
        if unknown:
            raise InputError(
                f"{name}.{min(unknown)}: made by another version of the workflow, which has it;"
                " replay with that version"
            )

        values = {}
        for key, rule in schema.section(name).items():
            values[key] = recorded.get(key, rule.get("default"))
        return kind(**values)


@dataclass(frozen=True)
class Recorded:
    """A candidate on record: its row of candidates.parquet, and the folder of its cycle."""

    row: CandidateRow
    cycle_folder: Path
    results: Path

    def job(self, output: str) -> RecordedJob:
        """Return the job that made an output; raise InputError where one of its inputs is gone."""
        provenance = read_provenance(provenance_path(self.cycle_folder / output))
        names = provenance["inputs"]
        inputs = [locate(self.results, name) for name in names]
        for path in inputs:
            if not path.is_file():
                raise InputError(f"{path}: it was made from this file, which is gone")

        return RecordedJob(
            script=provenance["script"],
            options=provenance["options"],
            settings=provenance["settings"],
            versions=provenance["versions"],
            host=provenance["host"],
            inputs=inputs,
        )


def find_candidate(results: Path, identity: str) -> Recorded:
    """Return a candidate on record; raise InputError for an unknown id."""
    known: list[str] = []
    for cell in cells_with(results, CANDIDATES):
        path = cell.folder(results) / CANDIDATES
        table = read_candidates([path])
        rows = table.filter(id=identity)
        if rows.height:
            row = cast(CandidateRow, rows.row(0, named=True))
            return Recorded(row, path.parent, results)
        known += table["id"].to_list()

    question = did_you_mean(identity, known)
    raise InputError(f"{results}: no candidate {identity}{question}")


def _cycle_of(shard: Path) -> int:
    """Return the cycle that a corpus file belongs to, 0 for the seed's."""
    match = CYCLE_FOLDER.fullmatch(shard.parent.name)
    return int(match[1]) if match else 0
