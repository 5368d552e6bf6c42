"""Questions to the corpus from the terminal: counts, the best, neighbours, lineage, a diff. Each answer is text."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from archloop.corpus.tables import read_candidates, read_corpus
from archloop.errors import InputError
from archloop.layout import CANDIDATES, CORPUS, SEED, Cell, cells_with
from archloop.novelty.neighbours import count_matches, low_bytes
from archloop.novelty.shingles import jaccard, shingle_sets, signatures
from archloop.outcomes import VALID

LONGEST_DIFF = 2000  # lines of a program; the time grows with their square
SHOWN = ("id", "accuracy", "parameters", "family", "cycle")


@dataclass(frozen=True)
class Records:
    """What the results hold: all corpus rows, and all candidates with their verdicts."""

    corpus: pl.DataFrame
    candidates: pl.DataFrame


def read_results(folder: Path, chain: str | None = None) -> Records:
    """Return the records of a results folder, of one chain and the seed corpus or of all.

    Raises InputError when there are none or a file is broken.
    """
    seed = [path for path in [Cell(SEED, 0).folder(folder) / CORPUS] if path.is_file()]
    asked = chain or "*"
    shards = [cell.folder(folder) / CORPUS for cell in cells_with(folder, CORPUS, asked)]
    tables = [cell.folder(folder) / CANDIDATES for cell in cells_with(folder, CANDIDATES, asked)]
    if chain and not cells_with(folder, chain=chain):
        chains = sorted({cell.chain for cell in cells_with(folder)})
        raise InputError(
            f"{folder}: there is no chain {chain}; there are {', '.join(chains) or 'none'}"
        )
    if not seed and not shards:
        raise InputError(f"{folder}: no corpus here; run the workflow first")
    return Records(read_corpus(seed + shards), read_candidates(tables))


def counts(records: Records) -> str:
    """Return a line for each cycle: candidates, valid ones, verdicts, and the corpus as it grows."""
    seed = records.corpus.filter(chain="seed").height
    rows = [
        ("chain", "cycle", "candidates", "valid", *VALID, "corpus"),
        ("seed", 0, None, None, None, None, seed, seed),
    ]
    size: dict[str, int] = {}
    for (chain, cycle), cell in records.candidates.group_by("chain", "cycle", maintain_order=True):
        found = dict(cell["outcome"].value_counts().iter_rows())
        size[chain] = size.get(chain, seed) + found.get("admitted", 0)
        verdicts = [found.get(name, 0) for name in VALID]
        rows.append((chain, cycle, cell.height, sum(verdicts), *verdicts, size[chain]))
    return table(rows)


def best(records: Records, count: int) -> str:
    """Return the programs of the corpus with the highest accuracy."""
    ranked = records.corpus.sort(["accuracy", "id"], descending=[True, False]).head(count)
    return table([SHOWN, *ranked.select(SHOWN).iter_rows()])


def neighbours(records: Records, identity: str, count: int) -> str:
    """Return the corpus programs most similar to one: the best by MinHash, in the order of their exact similarity."""
    row = find(records, identity)
    size = row["shingle_tokens"] or 10
    others = records.corpus.filter(pl.col("id") != identity, shingle_tokens=size).unique(
        "id", maintain_order=True
    )
    if not others.height:
        return f"the corpus holds nothing beside {identity}"
    matches = count_matches(low_bytes(others["signature"]), signatures([row["program"]], size)[0])
    near = others[np.argsort(-matches.astype(int), kind="stable")[: 4 * count].tolist()]
    own, *sets = shingle_sets([row["program"], *near["program"]], size)
    near = near.with_columns(pl.Series("similarity", [jaccard(own, other) for other in sets]))
    near = near.with_columns(same_graph=pl.col("graph_digest") == pl.lit(row["graph_digest"]))
    near = near.sort(["similarity", "id"], descending=[True, False]).head(count)
    columns = ("id", "similarity", "same_graph", *SHOWN[1:])
    return table([columns, *near.select(columns).iter_rows()])


def lineage(records: Records, identity: str) -> str:
    """Return where a program comes from (chain, cycle, prompt, adapter, seed), and so on for what its prompt showed."""
    lines, seen = [], set()

    def describe(name: str, depth: int) -> None:
        margin = "    " * depth
        row = find(records, name)
        lines.append(
            f"{margin}{name}: {row['outcome']}, {_share(row['accuracy'])}, {row['parameters'] or '?'} parameters"
        )
        if name in seen:
            lines.append(f"{margin}  (see above)")
            return
        seen.add(name)
        if row["chain"] == "seed":
            lines.append(f"{margin}  seed corpus, family {row['family']}")
        else:
            lines.append(
                f"{margin}  chain {row['chain']}, cycle {row['cycle']}, candidate {row['index']}"
            )
            if row["prompt_id"] is None and row["family"]:
                lines.append(f"{margin}  drawn from family {row['family']}, seed {row['seed']}")
            else:
                lines.append(
                    f"{margin}  prompt {row['prompt_id']}, adapter {row['adapter']}, seed {row['seed']}"
                )
        if row["origin"]:
            lines.append(f"{margin}  the same program as")
            describe(row["origin"], depth + 1)
            return
        for reference in row["references"] or []:
            lines.append(f"{margin}  its prompt showed")
            describe(reference, depth + 1)

    describe(identity, 0)
    return "\n".join(lines)


def difference(records: Records, identity: str) -> str:
    """Return a unified diff from the nearest neighbour, as the verdict recorded it, to a program."""
    row = find(records, identity)
    other = row.get("nearest_id")
    if other is None:
        raise InputError(
            f"{identity} has no nearest neighbour on record; the command neighbours looks for some"
        )
    known = find(records, other)
    how = "exact" if row["nearest_exact"] else "MinHash estimate"
    likeness = f"similarity {row['nearest_similarity']:.3f} ({how})"
    head = f"{identity} and its nearest, {other} of {row['nearest_source']}: {likeness}"
    before, after = (each["program"].split("\n") for each in (known, row))
    if max(len(before), len(after)) > LONGEST_DIFF:
        return f"{head}\nMore than {LONGEST_DIFF} lines: too long for a diff"
    lines = difflib.unified_diff(before, after, other, identity, lineterm="", n=2)
    return "\n".join([head, *lines])


def find(records: Records, identity: str) -> dict:
    """Return the row of an id, with the verdict where it was a candidate; raise InputError for an unknown id."""
    for frame in (records.candidates, records.corpus):
        found = frame.filter(id=identity)
        if found.height:
            row = found.row(0, named=True)
            if row["program"] is None:
                raise InputError(f"{identity} has no program: {row['outcome']}, {row['detail']}")
            return row
    near = difflib.get_close_matches(
        identity, [*records.candidates["id"], *records.corpus["id"]], n=1
    )
    raise InputError(f"there is no {identity}" + (f"; did you mean {near[0]}?" if near else ""))


def table(rows: list[tuple]) -> str:
    """Return rows as aligned text, the first as headings."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _share(value: float | None) -> str:
    return "no accuracy" if value is None else f"accuracy {value:.4f}"
