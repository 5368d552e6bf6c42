"""The verdict on every candidate of a cycle, and the shard of the corpus that it admits."""

from typing import cast

import polars as pl

from archloop.corpus.candidates import CandidateRow, program_of, remedy
from archloop.corpus.tables import CANDIDATES, CORPUS, frame_of
from archloop.data.dataset_file import DatasetMetadata
from archloop.errors import InputError
from archloop.novelty.gate import Gate, Match, known_corpus
from archloop.novelty.neighbours import with_signatures
from archloop.novelty.repeats import COLUMNS, repeats
from archloop.novelty.tokens import text_digest
from archloop.settings.sections import Admission, Novelty

# What admission needs of the corpus: reading no more saves half of the memory.
KNOWN_COLUMNS = ("id", "chain", "program", "signature", "shingle_tokens", "graph_digest")
NO_CANDIDATES = pl.DataFrame(schema={name: CANDIDATES[name] for name in COLUMNS})


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
    trained.sort(key=lambda row: (-row["score"], row["id"]))

    gate = _gate(trained, corpus, novelty)
    _give_verdicts(trained, gate, dataset, admission)
    for row, repeat in zip(trained, repeats(gate, earlier, novelty)):
        row["repeat_of"] = repeat.of
        row["repeat_similarity"] = repeat.similarity

    rows.sort(key=lambda row: (row["index"], row["id"]))
    table = frame_of(rows, CANDIDATES)
    return table, table.filter(pl.col("outcome") == "admitted").select(list(CORPUS))


def score(row: CandidateRow, admission: Admission) -> float:
    """Return what admission compares with its threshold; raise InputError where it is missing."""
    value = row[admission.measure]
    if value is None:
        raise InputError(f"{row['id']}: trained, but without a {admission.measure}{remedy(row)}")
    return value


def _gate(trained: list[CandidateRow], corpus: pl.DataFrame, novelty: Novelty) -> Gate:
    """Return the gate of the trained candidates, in their order."""
    size = novelty.shingle_tokens
    graphs = [row["graph_digest"] for row in trained]
    chain = trained[0].get("chain", "main") if trained else "main"
    programs = with_signatures(
        [row["id"] for row in trained], [program_of(row) for row in trained], size
    )
    return Gate(programs, graphs, novelty, known_corpus(corpus, chain, graphs, size))


def _give_verdicts(
    trained: list[CandidateRow], gate: Gate, dataset: DatasetMetadata, admission: Admission
) -> None:
    """Write into each row its outcome and what it resembles, the best candidate first."""
    threshold = accuracy_threshold(admission, dataset)
    # While there is room to fill, less is enough.
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
