"""Questions to the corpus: counts, the best, neighbours, lineage, a diff. Each answer is text."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from archloop.corpus.candidate_rows import CandidateRow
from archloop.corpus.tables import read_candidates, read_corpus
from archloop.errors import InputError
from archloop.layout import CANDIDATES, CORPUS, SEED, Cell, cells_with
from archloop.novelty.minhash import jaccard, shingle_sets, signatures
from archloop.novelty.neighbours import count_matches, low_bytes
from archloop.outcomes import VALID

QUESTIONS = ("counts", "best", "neighbours", "lineage", "diff")
LONGEST_DIFF = 2000  # lines of a program; the time grows with their square
SHOWN = ("id", "accuracy", "parameters", "family", "cycle")
# Of so many times as are asked for, the best by MinHash are compared exactly.
COMPARED = 4
# Where a corpus says nothing of the size of its shingles.
SHINGLE_TOKENS = 10

# A line of an answer's table.
Cells = Sequence[object]


@dataclass(frozen=True)
class Records:
    """What the results hold: all corpus rows, and all candidates with their verdicts."""

    corpus: pl.DataFrame
    candidates: pl.DataFrame


def answer(folder: Path, question: str, identity: str | None, chain: str | None, count: int) -> str:
    """Return the answer to one of the QUESTIONS to a folder of results.

    identity: id of the program that it is about, None for `counts` and `best`. chain: None for all.
    count: of the rows of `best` and `neighbours`. Raises InputError as the functions below do, and
    for a question without its program.
    """
    about_all = question in ("counts", "best")
    if not about_all and not identity:
        raise InputError(
            f"{question} wants the id of a program, as in: inspect_corpus.py {question}"
            " main-01-0003"
        )

    records = read_corpus_records(folder, chain)
    program = identity or ""
    if question == "counts":
        return counts(records)
    if question == "best":
        return best(records, count)
    if question == "neighbours":
        return nearest_programs(records, program, count)
    if question == "lineage":
        return lineage(records, program)
    return difference(records, program)


def read_corpus_records(folder: Path, chain: str | None = None) -> Records:
    """Return the records of a results folder, of one chain and the seed corpus or of all.

    Raises InputError when there are none or a file is broken.
    """
    cycles = cells_with(folder, chain=chain or "*")
    if chain and not cycles:
        chains = sorted({cell.chain for cell in cells_with(folder)})
        known = ", ".join(chains) or "none"
        raise InputError(f"{folder}: there is no chain {chain}; there are {known}")

    shards = _files(folder, [Cell(SEED, 0), *cycles], CORPUS)
    if not shards:
        raise InputError(f"{folder}: no corpus here; run the workflow first")
    candidates = _files(folder, cycles, CANDIDATES)
    return Records(read_corpus(shards), read_candidates(candidates))


def _files(folder: Path, cells: list[Cell], name: str) -> list[Path]:
    """Return the files of this name of those of the cells that have one."""
    paths = [cell.folder(folder) / name for cell in cells]
    return [path for path in paths if path.is_file()]


def counts(records: Records) -> str:
    """Return a line for each cycle: candidates, valid ones, verdicts, the corpus as it grows."""
    seeds = records.corpus.filter(chain=SEED).height
    # Of the seed corpus there are no candidates on record: all of it counts as admitted.
    no_verdicts = [None] * (len(VALID) - 1)
    rows: list[Cells] = [
        ("chain", "cycle", "candidates", "valid", *VALID, "corpus"),
        (SEED, 0, None, None, *no_verdicts, seeds, seeds),
    ]
    size: dict[str, int] = {}
    cells = records.candidates.group_by("chain", "cycle", maintain_order=True)
    for (chain, cycle), candidates in cells:
        outcomes = dict(candidates["outcome"].value_counts().iter_rows())
        verdicts = [outcomes.get(name, 0) for name in VALID]
        before = size.get(chain, seeds)
        size[chain] = before + outcomes.get("admitted", 0)
        valid = sum(verdicts)
        rows.append((chain, cycle, candidates.height, valid, *verdicts, size[chain]))

    return table(rows)


def best(records: Records, count: int) -> str:
    """Return the programs of the corpus with the highest accuracy."""
    ranked = _highest_first(records.corpus, "accuracy").head(count)
    return _table_of(ranked, SHOWN)


def nearest_programs(records: Records, identity: str, count: int) -> str:
    """Return the corpus programs most similar to one, in the order of their exact similarity.

    Those that are compared are the best by MinHash.
    """
    program, row = find_program(records, identity)
    size = row["shingle_tokens"] or SHINGLE_TOKENS
    is_other = pl.col("id") != identity
    others = records.corpus.filter(is_other, shingle_tokens=size)
    others = others.unique("id", maintain_order=True)
    if not others.height:
        return f"the corpus holds nothing beside {identity}"

    (signature,) = signatures([program], size)
    low = low_bytes(others["signature"])
    # Signed, for minus an unsigned number is a large one.
    matches = count_matches(low, signature).astype(int)
    order = np.argsort(-matches, kind="stable").tolist()
    near = others[order[: COMPARED * count]]

    shingles, *others_shingles = shingle_sets([program, *near["program"]], size)
    similarities = [jaccard(shingles, other) for other in others_shingles]
    same_graph = pl.col("graph_digest") == pl.lit(row["graph_digest"])
    compared = near.with_columns(
        similarity=pl.Series(similarities),
        same_graph=same_graph,
    )
    nearest = _highest_first(compared, "similarity").head(count)
    return _table_of(nearest, ("id", "similarity", "same_graph", *SHOWN[1:]))


def _highest_first(programs: pl.DataFrame, column: str) -> pl.DataFrame:
    return programs.sort([column, "id"], descending=[True, False])


def _table_of(programs: pl.DataFrame, columns: Sequence[str]) -> str:
    rows = programs.select(columns).iter_rows()
    return table([columns, *rows])


def lineage(records: Records, identity: str) -> str:
    """Return where a program comes from, and so on for what its prompt showed.

    That is chain, cycle, prompt, adapter and seed.
    """
    return "\n".join(_lineage(records, identity, 0, set()))


def _lineage(records: Records, identity: str, depth: int, seen: set[str]) -> Iterator[str]:
    """Yield the lines of a program's lineage; seen: ids that were described above."""
    margin = "    " * depth
    _, row = find_program(records, identity)
    outcome = row["outcome"]
    accuracy = _accuracy(row["accuracy"])
    parameters = row["parameters"] or "?"
    yield f"{margin}{identity}: {outcome}, {accuracy}, {parameters} parameters"
    if identity in seen:
        yield f"{margin}  (see above)"
        return

    seen.add(identity)
    for line in _origin(row):
        yield f"{margin}  {line}"
    if row["origin"]:
        yield f"{margin}  the same program as"
        yield from _lineage(records, row["origin"], depth + 1, seen)
        return

    for reference in row["references"] or []:
        yield f"{margin}  its prompt showed"
        yield from _lineage(records, reference, depth + 1, seen)


def _origin(row: CandidateRow) -> list[str]:
    """Return the lines that say how a program was made."""
    chain, family, seed = row["chain"], row["family"], row["seed"]
    if chain == SEED:
        return [f"seed corpus, family {family}"]

    position = f"chain {chain}, cycle {row['cycle']}, candidate {row['index']}"
    prompt = row["prompt_id"]
    # Random search draws from the families, and asks no model.
    if prompt is None and family:
        return [position, f"drawn from family {family}, seed {seed}"]
    adapter = row["adapter"]
    return [position, f"prompt {prompt}, adapter {adapter}, seed {seed}"]


def difference(records: Records, identity: str) -> str:
    """Return a unified diff to a program from its nearest neighbour, as the verdict has it."""
    program, row = find_program(records, identity)
    other = row.get("nearest_id")
    if other is None:
        raise InputError(
            f"{identity} has no nearest neighbour on record; the command neighbours looks for some"
        )

    nearest, _ = find_program(records, other)
    how = "exact" if row["nearest_exact"] else "MinHash estimate"
    source = row["nearest_source"]
    similarity = f"{row['nearest_similarity']:.3f}"
    head = f"{identity} and its nearest, {other} of {source}: similarity {similarity} ({how})"

    # Not splitlines, which ends lines at characters that Python does not.
    before = nearest.split("\n")
    after = program.split("\n")
    if max(len(before), len(after)) > LONGEST_DIFF:
        return f"{head}\nMore than {LONGEST_DIFF} lines: too long for a diff"
    lines = difflib.unified_diff(before, after, other, identity, lineterm="", n=2)
    return "\n".join([head, *lines])


def find_program(records: Records, identity: str) -> tuple[str, CandidateRow]:
    """Return (program, row) of an id, with the verdict where it was a candidate.

    Raises InputError for an unknown id, and for a candidate whose answer holds no program.
    """
    for frame in (records.candidates, records.corpus):
        rows = frame.filter(id=identity)
        if not rows.height:
            continue
        row = cast(CandidateRow, rows.row(0, named=True))
        if row["program"] is None:
            why = f"{row['outcome']}, {row['detail']}"
            raise InputError(f"{identity} has no program: {why}")
        return row["program"], row

    known = [*records.candidates["id"], *records.corpus["id"]]
    raise InputError(f"there is no {identity}{did_you_mean(identity, known)}")


def did_you_mean(identity: str, known: Sequence[str]) -> str:
    """Return the question for an id that is not known; nothing where none is like it."""
    near = difflib.get_close_matches(identity, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def table(rows: Sequence[Cells]) -> str:
    """Return rows as aligned text, the first as headings."""
    texts = []
    for row in rows:
        texts.append([_text(value) for value in row])
    widths = [max(map(len, column)) for column in zip(*texts)]

    lines = []
    for row in texts:
        cells = map(str.ljust, row, widths)
        lines.append("  ".join(cells).rstrip())

    return "\n".join(lines)


def _text(value: object) -> str:
    """Return a value as a table shows it: nothing for null, four decimals."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)


def _accuracy(value: float | None) -> str:
    return "no accuracy" if value is None else f"accuracy {value:.4f}"
