"""Candidates of a cycle with their records, for the tests of what comes after the judge."""

import polars as pl
from small_data import dataset_metadata

from archloop.corpus.candidate_rows import CandidateRow, join
from archloop.corpus.tables import CORPUS
from archloop.families.programs import family_programs
from archloop.layout import Cell
from archloop.settings.sections import Admission, Novelty

DATASET = dataset_metadata(name="digits", chance=0.1)
ADMISSION = Admission(0.4, relative_to_chance=False, measure="accuracy", minimum_admitted=15, fill_accuracy=None)
NOVELTY = Novelty(gate="either", threshold=0.9, shingle_tokens=10)
EMPTY = pl.DataFrame(schema=CORPUS)
# Programs of different families: none is a near-copy of another.
FAMILIES = ("plain", "residual", "dense", "inception", "shuffle", "convnext", "gated", "dilated")
PROGRAMS = [family_programs(family)[0].program for family in FAMILIES]


def cycle(*entries: tuple, chain: str = "main", number: int = 1) -> tuple[list[dict], list[dict]]:
    """Return candidates and records of a cycle from (program, accuracy, graph digest) or (outcome,)."""
    candidates, records = [], []
    for index, entry in enumerate(entries):
        identity = Cell(chain, number).candidate_id(index)
        trained = len(entry) > 1
        program, accuracy, digest = (*entry, None)[:3] if trained else (None, None, None)
        candidates.append(
            {"id": identity, "chain": chain, "cycle": number, "index": index, "shard": 0, "program": program}
            | {"prompt_id": f"{identity}-p", "prompt": "Design.\n", "references": [], "raw": "```", "hint": "plain"}
            | {"prompt_tokens": 3, "new_tokens": 9, "stopped": "end", "seed": index, "adapter": "ab"}
        )
        graph = {"digest": digest * 64, "method": "trace", "operations": 3, "nodes": []} if digest else None
        records.append(
            {"id": identity, "key": f"key{index}", "outcome": "trained" if trained else entry[0], "detail": ""}
            | {"parameters": 1000 if trained else None, "multiply_adds": None, "accuracy": accuracy, "graph": graph}
        )
    return candidates, records


def joined(*entries: tuple, chain: str = "main", number: int = 1) -> list[CandidateRow]:
    """Return the candidates of a cycle with their evaluations, from entries as `cycle` takes them."""
    return join(*cycle(*entries, chain=chain, number=number))
