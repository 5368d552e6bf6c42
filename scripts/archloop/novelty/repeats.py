"""Whether a valid candidate repeats another one: for the reports, beside the gate's verdict.

The gate looks for copies of what was admitted. A program that scores below the threshold enters
nowhere, so its copies are new to the gate for ever, and how many copies a cycle seems to hold would
move with accuracy. Here a candidate is compared with all that is known to the gate, with every
valid candidate of earlier cycles and with every better one of its own.
"""

from dataclasses import dataclass, replace

import polars as pl

from archloop.novelty.gate import Gate, Match, first_ids, most_similar, nearest
from archloop.novelty.neighbours import Neighbours, known_programs, neighbours
from archloop.outcomes import VALID
from archloop.settings.sections import Novelty

# What is read of earlier candidates.
COLUMNS = ("id", "program", "signature", "shingle_tokens", "graph_digest", "outcome")


@dataclass(frozen=True)
class Repeat:
    """What a candidate repeats.

    of: the id of the most similar program that it is a copy of, or of one that computes the same
    graph; None where there is none. similarity: to the nearest of all, where that is exact.
    """

    of: str | None
    similarity: float | None


def repeats(gate: Gate, earlier: pl.DataFrame, novelty: Novelty) -> list[Repeat]:
    """Return what each of the gate's programs repeats; they are valid candidates, the better first.

    earlier: COLUMNS of the candidates of earlier cycles. A copy is what the gate would call one or,
    where it is `none`, what `either` would.
    """
    if novelty.gate == "none":
        novelty = replace(novelty, gate="either")
    valid = earlier.filter(pl.col("outcome").is_in(VALID)).sort("id")
    known = known_programs(valid, novelty.shingle_tokens)
    to_earlier = neighbours(gate.programs, known, novelty.threshold, novelty.shingle_tokens)
    graphs = first_ids(valid)

    result = []
    for position, graph in enumerate(gate.graphs):
        # With what the gate knew before this cycle.
        of_gate = gate.match(position, [])
        # With the cycle's own that are better, admitted or not.
        exact = gate.among_themselves[position].exact
        better = Neighbours({other: exact[other] for other in exact if other < position})
        best = most_similar(
            [
                of_gate.nearest,
                nearest(to_earlier[position], known, "earlier"),
                nearest(better, gate.programs, "same_cycle"),
            ]
        )

        same_graph = of_gate.graph_match_id or graphs.get(graph)
        result.append(_repeat(Match(best, same_graph), novelty))
        graphs.setdefault(graph, gate.programs.ids[position])

    return result


def _repeat(match: Match, novelty: Novelty) -> Repeat:
    best = match.nearest
    similarity = best.similarity if best is not None and best.exact else None
    if not match.is_copy(novelty):
        return Repeat(None, similarity)
    by_text = novelty.gate != "graph" and match.is_near_copy_by_text(novelty.threshold)
    if best is not None and by_text:
        return Repeat(best.id, similarity)
    return Repeat(match.graph_match_id, similarity)
