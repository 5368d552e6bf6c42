"""Questions to the corpus: counts, the best, neighbours, lineage, a diff. Each answer is text."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from archloop.corpus.tables import read_candidates, read_corpus
from archloop.errors import InputError
from archloop.layout import CANDIDATES, CORPUS, SEED, Cell, cells_with
from archloop.novelty.minhash import jaccard, shingle_sets, signatures
from archloop.novelty.neighbours import count_matches, low_bytes
from archloop.outcomes import VALID

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


def read_results(folder: Path, chain: str | None = None) -> Records:
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
    return Records(read_corpus(shards), read_candidates(_files(folder, cycles, CANDIDATES)))


def _files(folder: Path, cells: list[Cell], name: str) -> list[Path]:
    """Return the files of this name of those of the cells that have one."""
    paths = [cell.folder(folder) / name for cell in cells]
    return [path for path in paths if path.is_file()]


def counts(records: Records) -> str:
    """Return a line for each cycle: candidates, valid ones, verdicts, the corpus as it grows."""
    seeds = records.corpus.filter(chain="seed").height
    rows: list[Cells] = [
        ("chain", "cycle", "candidates", "valid", *VALID, "corpus"),
        ("seed", 0, None, None, None, None, seeds, seeds),
    ]
    size: dict[str, int] = {}
    cells = records.candidates.group_by("chain", "cycle", maintain_order=True)
    for (chain, cycle), candidates in cells:
        outcomes = dict(candidates["outcome"].value_counts().iter_rows())
        verdicts = [outcomes.get(name, 0) for name in VALID]
        size[chain] = size.get(chain, seeds) + outcomes.get("admitted", 0)
        rows.append((chain, cycle, candidates.height, sum(verdicts), *verdicts, size[chain]))

    return table(rows)


def best(records: Records, count: int) -> str:
    """Return the programs of the corpus with the highest accuracy."""
    ranked = records.corpus.sort(["accuracy", "id"], descending=[True, False]).head(count)
    return table([SHOWN, *ranked.select(SHOWN).iter_rows()])


def neighbours(records: Records, identity: str, count: int) -> str:
    """Return the corpus programs most similar to one, in the order of their exact similarity.

    Those that are compared are the best by MinHash.
    """
    row = find(records, identity)
    size = row["shingle_tokens"] or SHINGLE_TOKENS
    others = records.corpus.filter(pl.col("id") != identity, shingle_tokens=size)
    others = others.unique("id", maintain_order=True)
    if not others.height:
        return f"the corpus holds nothing beside {identity}"

    signature = signatures([row["program"]], size)[0]
    matches = count_matches(low_bytes(others["signature"]), signature).astype(int)
    order = np.argsort(-matches, kind="stable")
    near = others[order[: COMPARED * count].tolist()]

    own, *sets = shingle_sets([row["program"], *near["program"]], size)
    similarity = pl.Series("similarity", [jaccard(own, other) for other in sets])
    same_graph = pl.col("graph_digest") == pl.lit(row["graph_digest"])
    near = near.with_columns(similarity, same_graph=same_graph)
    near = near.sort(["similarity", "id"], descending=[True, False]).head(count)
    columns = ("id", "similarity", "same_graph", *SHOWN[1:])
    return table([columns, *near.select(columns).iter_rows()])


def lineage(records: Records, identity: str) -> str:
    """Return where a program comes from, and so on for what its prompt showed.

    That is chain, cycle, prompt, adapter and seed.
    """
    return "\n".join(_lineage(records, identity, 0, set()))


def _lineage(records: Records, identity: str, depth: int, seen: set[str]) -> Iterator[str]:
    """Yield the lines of a program's lineage; seen: ids that were described above."""
    margin = "    " * depth
    row = find(records, identity)
    parameters = row["parameters"] or "?"
    yield (
        f"{margin}{identity}: {row['outcome']}, {_accuracy(row['accuracy'])},"
        f" {parameters} parameters"
    )
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


def _origin(row: dict[str, Any]) -> list[str]:
    """Return the lines that say how a program was made."""
    if row["chain"] == "seed":
        return [f"seed corpus, family {row['family']}"]
    position = f"chain {row['chain']}, cycle {row['cycle']}, candidate {row['index']}"
    if row["prompt_id"] is None and row["family"]:
        return [position, f"drawn from family {row['family']}, seed {row['seed']}"]
    return [
        position,
        f"prompt {row['prompt_id']}, adapter {row['adapter']}, seed {row['seed']}",
    ]


def difference(records: Records, identity: str) -> str:
    """Return a unified diff to a program from its nearest neighbour, as the verdict has it."""
    row = find(records, identity)
    other = row.get("nearest_id")
    if other is None:
        raise InputError(
            f"{identity} has no nearest neighbour on record; the command neighbours looks for some"
        )

    known = find(records, other)
    how = "exact" if row["nearest_exact"] else "MinHash estimate"
    head = (
        f"{identity} and its nearest, {other} of {row['nearest_source']}:"
        f" similarity {row['nearest_similarity']:.3f} ({how})"
    )

    before, after = known["program"].split("\n"), row["program"].split("\n")
    if max(len(before), len(after)) > LONGEST_DIFF:
        return f"{head}\nMore than {LONGEST_DIFF} lines: too long for a diff"
    lines = difflib.unified_diff(before, after, other, identity, lineterm="", n=2)
    return "\n".join([head, *lines])


def find(records: Records, identity: str) -> dict[str, Any]:
    """Return the row of an id, with the verdict where it was a candidate.

    Raises InputError for an unknown id.
    """
    for frame in (records.candidates, records.corpus):
        rows = frame.filter(id=identity)
        if not rows.height:
            continue
        row = rows.row(0, named=True)
        if row["program"] is None:
            raise InputError(f"{identity} has no program: {row['outcome']}, {row['detail']}")
        return row

    known = [*records.candidates["id"], *records.corpus["id"]]
    near = difflib.get_close_matches(identity, known, n=1)
    question = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"there is no {identity}{question}")


def table(rows: Sequence[Cells]) -> str:
    """Return rows as aligned text, the first as headings."""
    texts = [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    lines = []
    for row in texts:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
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
