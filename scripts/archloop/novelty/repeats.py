"""Whether a valid candidate repeats another one: for the reports, beside the gate's verdict, which compares with less.

The gate looks for copies of what was admitted. A program that scores below the threshold enters nowhere, so its copies
are new to the gate for ever, and how many copies a cycle seems to hold would move with accuracy. Here a candidate is
compared with all that is known to the gate, with every valid candidate of earlier cycles and with every better one of
its own.
"""

import polars as pl

from archloop.novelty.neighbours import (
    Neighbours,
    Programs,
    is_copy,
    known_programs,
    nearest,
    neighbours,
    pick,
)
from archloop.outcomes import VALID

# What is read of earlier candidates.
COLUMNS = ("id", "program", "signature", "shingle_tokens", "graph_digest", "outcome")


def repeats(
    own: Programs,
    digests: list[str],
    known: list[dict],
    to_own: list[Neighbours],
    earlier: pl.DataFrame,
    novelty: dict,
) -> list[dict]:
    """Return {"repeat_of", "repeat_similarity"} for each valid candidate, the better ones first.

    own, digests, to_own: the candidates, their graphs' digests, and what resembles each among them. known: of each the
    nearest program and the twin that the gate knows. earlier: COLUMNS of the candidates of earlier cycles. A copy is
    what the gate would call one, or, where it is none, what `either` would. repeat_of: the id of the most similar such
    program, or of one that computes the same graph; None where there is none. repeat_similarity: exact, else None.
    """
    novelty = novelty | {"gate": "either"} if novelty["gate"] == "none" else novelty
    valid = earlier.filter(pl.col("outcome").is_in(VALID)).sort("id")
    programs = known_programs(valid, novelty["shingle_tokens"])
    to_earlier = neighbours(own, programs, novelty["threshold"], novelty["shingle_tokens"])
    graphs = dict(reversed(list(valid.select("graph_digest", "id").iter_rows())))
    found = []
    for place, (digest, facts) in enumerate(zip(digests, known)):
        better = Neighbours(
            {row: value for row, value in to_own[place].exact.items() if row < place}
        )
        best = pick(
            [
                facts["nearest"],
                nearest(to_earlier[place], programs, "earlier"),
                nearest(better, own, "same_cycle"),
            ]
        )
        twin = facts["twin"] or graphs.get(digest)
        graphs.setdefault(digest, own.ids[place])
        by_text = best.exact and best.id is not None and best.similarity >= novelty["threshold"]
        copy = is_copy(best, twin, novelty)
        found.append(
            {
                "repeat_of": (best.id if by_text and novelty["gate"] != "graph" else twin)
                if copy
                else None,
                "repeat_similarity": best.similarity
                if best.exact and best.id is not None
                else None,
            }
        )
    return found
