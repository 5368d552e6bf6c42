"""The gate: whether a program is a near-copy of one that is known, for candidates and for seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from archloop.novelty.neighbours import (
    NO_PROGRAMS,
    Neighbours,
    Programs,
    known_programs,
    neighbours,
    signature_matrix,
    with_signatures,
)
from archloop.settings.sections import Novelty

# What counts as a copy among the programs of the seed corpus, whatever the settings say of
# candidates: another gate is another verdict on candidates, and the seeds that the model was
# fine-tuned on are the same.
AMONG_SEEDS = Novelty(gate="either", threshold=0.9, shingle_tokens=10)


@dataclass(frozen=True)
class Nearest:
    """The known program whose text is most similar.

    exact: whether the similarity is, else it is MinHash's estimate. source: where the program
    comes from (seed, earlier, inherited, same_cycle).
    """

    id: str
    similarity: float
    exact: bool
    source: str | None = None


@dataclass(frozen=True)
class Match:
    """What resembles a program: the nearest by its text, the id of one with the same graph."""

    nearest: Nearest | None
    graph_match_id: str | None

    def is_near_copy_by_text(self, threshold: float) -> bool:
        """Say whether the nearest is exactly known to be as similar as the threshold."""
        nearest = self.nearest
        return nearest is not None and nearest.exact and nearest.similarity >= threshold

    def is_copy(self, novelty: Novelty) -> bool:
        """Say whether the gate refuses: by the text, the graph, either of them, or never."""
        by_text = self.is_near_copy_by_text(novelty.threshold)
        by_graph = self.graph_match_id is not None
        return (by_text and novelty.gate in ("text", "either")) or (
            by_graph and novelty.gate in ("graph", "either")
        )


@dataclass(frozen=True)
class Known:
    """The corpus, as programs are compared with it.

    sources: where each program comes from. graphs: digest of a graph -> id of a program.
    """

    programs: Programs
    sources: pl.Series
    graphs: Mapping[str | None, str]


NOTHING_KNOWN = Known(NO_PROGRAMS, pl.Series(dtype=pl.String), {})


class Gate:
    """Programs in the order of their claim, beside all that they are compared with.

    Those are the known ones, and of the programs themselves the ones before that were admitted,
    given by their positions. graphs: digests of what the programs compute.
    """

    def __init__(
        self,
        programs: Programs,
        graphs: Sequence[str | None],
        novelty: Novelty,
        known: Known = NOTHING_KNOWN,
    ) -> None:
        threshold, size = novelty.threshold, novelty.shingle_tokens
        self.programs = programs
        self.graphs = graphs
        self.novelty = novelty
        self.known = known

        self.to_known = neighbours(programs, known.programs, threshold, size)
        self.among_themselves = neighbours(programs, programs, threshold, size)
        self.hashes = signature_matrix(programs.signatures)

    def match(self, position: int, admitted: Sequence[int]) -> Match:
        """Return what resembles a program among the known and the admitted ones."""
        known = nearest(self.to_known[position], self.known.programs, self.known.sources)
        best = most_similar([known, self._nearest_admitted(position, admitted)])
        return Match(best, self._graph_match(position, admitted))

    def exact_match(self, position: int, admitted: Sequence[int]) -> Match:
        """Return what resembles a program among the admitted ones, without an estimate."""
        close = Neighbours(self._exact(position, admitted))
        best = nearest(close, self.programs, "same_cycle")
        return Match(best, self._graph_match(position, admitted))

    def _exact(self, position: int, admitted: Sequence[int]) -> dict[int, float]:
        """Return position -> similarity of the admitted programs that were compared exactly."""
        allowed = set(admitted)
        exact = self.among_themselves[position].exact
        return {other: similarity for other, similarity in exact.items() if other in allowed}

    def _nearest_admitted(self, position: int, admitted: Sequence[int]) -> Nearest | None:
        exact = self._exact(position, admitted)
        if exact or not admitted:
            return nearest(Neighbours(exact), self.programs, "same_cycle")

        rows = self.hashes[list(admitted)]
        shares = (rows == self.hashes[position]).mean(axis=1).tolist()
        estimates = []
        for other, share in zip(admitted, shares):
            estimates.append(Nearest(self.programs.ids[other], share, False, "same_cycle"))
        return most_similar(estimates)

    def _graph_match(self, position: int, admitted: Sequence[int]) -> str | None:
        """Return the id of a known or admitted program of the same graph, None without one."""
        graph = self.graphs[position]
        if graph is None:
            return None
        if graph in self.known.graphs:
            return self.known.graphs[graph]
        for other in admitted:
            if self.graphs[other] == graph:
                return str(self.programs.ids[other])

        return None


def known_corpus(
    corpus: pl.DataFrame, chain: str, graphs: Sequence[str | None], shingle_tokens: int
) -> Known:
    """Return the corpus for a gate of the chain's programs, whose graphs are `graphs`.

    corpus: columns id, chain, program, signature, shingle_tokens and graph_digest.
    """
    source = (
        pl.when(chain="seed")
        .then(pl.lit("seed"))
        .when(chain=chain)
        .then(pl.lit("earlier"))
        .otherwise(pl.lit("inherited"))
    )

    same = corpus.filter(pl.col("graph_digest").is_in(set(graphs)))
    return Known(
        programs=known_programs(corpus, shingle_tokens),
        sources=corpus.select(source).to_series(),
        graphs=first_ids(same),
    )


def first_ids(programs: pl.DataFrame) -> dict[str | None, str]:
    """Return graph_digest -> the smallest id of the programs that compute that graph."""
    ids: dict[str | None, str] = {}
    for graph, identity in programs.sort("id").select("graph_digest", "id").iter_rows():
        ids.setdefault(graph, identity)
    return ids


def most_similar(options: Iterable[Nearest | None]) -> Nearest | None:
    """Return the most similar: exact before estimates, the higher similarity, the smaller id."""
    known = [option for option in options if option is not None]
    return min(known, key=_rank, default=None)


def _rank(option: Nearest) -> tuple[bool, float, str]:
    return not option.exact, -option.similarity, option.id


def nearest(close: Neighbours, known: Programs, sources: pl.Series | str) -> Nearest | None:
    """Return the most similar of the known programs.

    sources: where each of them, or all, come from.
    """
    rows = [(row, similarity, True) for row, similarity in close.exact.items()]
    if not rows and close.row is not None:
        rows = [(close.row, close.estimate, False)]

    options = []
    for row, similarity, exact in rows:
        source = sources if isinstance(sources, str) else sources[row]
        options.append(Nearest(known.ids[row], similarity, exact, source))

    return most_similar(options)


def near_copies(
    ids: list[str], texts: list[str], graphs: Sequence[str | None], novelty: Novelty
) -> tuple[dict[str, str], pl.Series]:
    """Return (id -> why, for each near-copy of an earlier program that stays; all signatures).

    graphs: digests of what the programs compute, None where that is not known.
    """
    gate = Gate(with_signatures(ids, texts, novelty.shingle_tokens), graphs, novelty)
    reasons: dict[str, str] = {}
    kept: list[int] = []
    for position, identity in enumerate(ids):
        match = gate.exact_match(position, kept)
        if not match.is_copy(novelty):
            kept.append(position)
        elif match.nearest is not None and match.is_near_copy_by_text(novelty.threshold):
            similarity = match.nearest.similarity
            reasons[identity] = f"near-copy of {match.nearest.id} ({similarity:.3f})"
        else:
            reasons[identity] = f"computes the same graph as {match.graph_match_id}"

    return reasons, gate.programs.signatures
