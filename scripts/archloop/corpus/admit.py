"""The verdict on every candidate of a cycle, and the shard of the corpus that it admits."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl

from archloop.corpus.candidate_rows import (
    CandidateRow,
    join,
    program_of,
    read_candidates_of_shards,
    read_evaluations,
    remedy,
)
from archloop.corpus.tables import CANDIDATES, CORPUS, frame_of, read_candidates, read_corpus
from archloop.data.dataset_file import DatasetMetadata, read_metadata
from archloop.errors import InputError
from archloop.layout import Cell
from archloop.novelty.gate import Gate, Match, known_corpus
from archloop.novelty.neighbours import with_signatures
from archloop.novelty.repeats import COLUMNS, repeats
from archloop.novelty.tokens import text_digest
from archloop.settings.sections import Admission, Novelty

# What admission needs of the corpus: reading no more saves half of the memory.
KNOWN_COLUMNS = ("id", "chain", "program", "signature", "shingle_tokens", "graph_digest")
NO_CANDIDATES = pl.DataFrame(schema={name: CANDIDATES[name] for name in COLUMNS})


@dataclass(frozen=True)
class CycleFiles:
    """What the admission of a cycle reads.

    generated, evaluated: a file of each shard. corpus: the seed corpus, earlier shards, and those
    of the chains whose adapter this one goes on from. candidates: what this admission writes, in
    the folder of its cycle; the candidates of earlier cycles lie in folders beside it.
    """

    generated: list[Path]
    evaluated: list[Path]
    corpus: list[Path]
    dataset: Path
    cycle: int
    candidates: Path

    def earlier(self) -> list[Path]:
        """Return the candidates of the cycles before, the first one's first."""
        chain, name = self.candidates.parents[1], self.candidates.name
        cells = [Cell(chain.name, cycle) for cycle in range(1, self.cycle)]
        return [cell.folder(chain.parent) / name for cell in cells]


def admit_cycle(
    files: CycleFiles, admission: Admission, novelty: Novelty
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what `admit` does for the files of a cycle."""
    candidates = read_candidates_of_shards(files.generated)
    evaluations = read_evaluations(files.evaluated)
    return admit(
        join(candidates, evaluations),
        read_corpus(files.corpus, KNOWN_COLUMNS),
        read_metadata(files.dataset),
        admission,
        novelty,
        read_candidates(files.earlier(), COLUMNS),
    )


def admit(
    rows: list[CandidateRow],
    corpus: pl.DataFrame,
    dataset: DatasetMetadata,
    admission: Admission,
    novelty: Novelty,
    earlier: pl.DataFrame = NO_CANDIDATES,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (all candidates with their verdicts, the admitted ones as corpus rows).

    Both are in the order of the indices. rows: the candidates with their evaluations. corpus: the
    seed corpus, earlier shards, and those of the chains whose adapter this one goes on from, at
    least KNOWN_COLUMNS. earlier: the candidates of earlier cycles (repeats.COLUMNS), which no
    verdict depends on. Better candidates are judged first, ties by id, and join what the next ones
    are compared with, so of two duplicates the better is admitted and the other is its near-copy.
    """
    rows = [cast(CandidateRow, {**row, "dataset": dataset.name}) for row in rows]
    trained = [row for row in rows if row["outcome"] == "trained"]
    for row in trained:
        row["score"] = score(row, admission)
    # Of two copies the better is judged, and so admitted, first; of equal ones the smaller id.
    trained.sort(key=lambda row: (-row["score"], row["id"]))

    gate = _gate(trained, corpus, novelty)
    _give_verdicts(trained, gate, dataset, admission)
    for row, repeat in zip(trained, repeats(gate, earlier, novelty)):
        row["repeat_of"] = repeat.of
        row["repeat_similarity"] = repeat.similarity

    rows.sort(key=lambda row: (row["index"], row["id"]))
    table = frame_of(rows, CANDIDATES)
    admitted = table.filter(pl.col("outcome") == "admitted")
    return table, admitted.select(list(CORPUS))


def score(row: CandidateRow, admission: Admission) -> float:
    """Return what admission compares with its threshold; raise InputError where it is missing."""
    value = row[admission.measure]
    if value is None:
        raise InputError(f"{row['id']}: trained, but without a {admission.measure}{remedy(row)}")
    return value


def _gate(trained: list[CandidateRow], corpus: pl.DataFrame, novelty: Novelty) -> Gate:
    """Return the gate of the trained candidates, in their order."""
    size = novelty.shingle_tokens
    ids = [row["id"] for row in trained]
    texts = [program_of(row) for row in trained]
    graphs = [row["graph_digest"] for row in trained]
    chain = "main"
    if trained:
        chain = trained[0].get("chain", chain)

    programs = with_signatures(ids, texts, size)
    known = known_corpus(corpus, chain, graphs, size)
    return Gate(programs, graphs, novelty, known)


def _give_verdicts(
    trained: list[CandidateRow], gate: Gate, dataset: DatasetMetadata, admission: Admission
) -> None:
    """Write into each row its outcome and what it resembles, the best candidate first."""
    threshold = accuracy_threshold(admission, dataset)
    # Below minimum_admitted less is enough, down to fill_accuracy.
    floor = threshold
    if admission.fill_accuracy is not None:
        floor = accuracy_threshold(admission, dataset, admission.fill_accuracy)

    admitted: list[int] = []
    for position, row in enumerate(trained):
        match = gate.match(position, admitted)
        _describe(row, gate, position, match)

        room = len(admitted) < admission.minimum_admitted
        enough = min(floor, threshold) if room else threshold

        if row["score"] < enough:
            row["outcome"] = "below_threshold"
        elif match.is_copy(gate.novelty):
            row["outcome"] = "near_copy"
        else:
            row["outcome"] = "admitted"
            admitted.append(position)


def _describe(row: CandidateRow, gate: Gate, position: int, match: Match) -> None:
    """Write into a row its signature and what it resembles."""
    row["text_digest"] = text_digest(program_of(row))
    row["signature"] = gate.programs.signatures[position]
    row["shingle_tokens"] = gate.novelty.shingle_tokens
    row["graph_match_id"] = match.graph_match_id
    if match.nearest is not None:
        row["nearest_id"] = match.nearest.id
        row["nearest_similarity"] = match.nearest.similarity
        row["nearest_exact"] = match.nearest.exact
        row["nearest_source"] = match.nearest.source


def accuracy_threshold(
    admission: Admission, dataset: DatasetMetadata, share: float | None = None
) -> float:
    """Return the score (0 to 1) by `measure` that admits; share: None takes the threshold.

    A relative one counts from chance (0) to perfect (1). Whoever always answers one class scores
    chance by accuracy, and 1 / classes by balanced accuracy.
    """
    if share is None:
        share = admission.threshold
    if not admission.relative_to_chance:
        return share
    chance = dataset.chance if admission.measure == "accuracy" else 1 / dataset.classes
    return chance + share * (1 - chance)
