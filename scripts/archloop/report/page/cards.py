"""The gallery's cards: a dozen designs worth a first look, drawn and told in HTML, so that they need no script.

They are chosen by the accuracy that selects, never by that of the test set, which is shown beside it.
"""

from collections import Counter
from urllib.parse import quote

import polars as pl
from markupsafe import Markup

from archloop.report.results import Results

CARDS = 12
SIZES = (30_000, 100_000, 300_000)  # parameters, the upper ends of the classes but the last
NEWEST = 4
MOST_BLOCKS, MOST_ARCS, MOST_CHANGES = 60, 40, 3
BINS, BAR_WIDTH, BAR_HEIGHT = 40, 6, 24


def cards(results: Results, rows: pl.DataFrame) -> list[dict]:
    """Return what the page says on each card. rows: of `listed`; the cards are of its first data set."""
    if rows.is_empty():
        return []
    own = rows.filter(dataset=rows["dataset"].first())
    # Of a run whose judge scored no test set, the validation split is all there is to compare by.
    measure = "accuracy" if own["test_accuracy"].null_count() == own.height else "test_accuracy"
    scores = own[measure].drop_nulls().sort()
    middle = own["nearest_similarity"].median()
    return [
        row
        | {
            "why": why,
            "href": f"#design={quote(row['id'], safe='')}",
            "nearest_href": f"#design={quote(row['nearest_id'], safe='')}"
            if row["nearest_id"]
            else None,
            "picture": drawing((results.graphs.get(row["id"]) or {}).get("blocks") or []),
            "scale": scale(scores, row[measure]),
            "better": None if row[measure] is None else (scores < row[measure]).mean(),
            "middle": middle,
            "changes": changes(results.graphs, row["nearest_id"], row["id"]),
        }
        for row, why in chosen(own)
    ]


def chosen(own: pl.DataFrame) -> list[tuple[dict, str]]:
    """Return (design, why it is shown), no two of one graph. own: the designs of one data set, best first."""
    found: dict[str, tuple[dict, str]] = {}

    def take(among: pl.DataFrame, why: str, most: int = 1) -> None:
        for row in among.iter_rows(named=True):
            if most and len(found) < CARDS and (row["graph_digest"] or row["id"]) not in found:
                found[row["graph_digest"] or row["id"]] = row, why
                most -= 1

    for low, high in zip((0, *SIZES), (*SIZES, None)):
        inside = (
            pl.col("parameters") >= low
            if high is None
            else pl.col("parameters").is_between(low, high, "left")
        )
        bounds = f"of {low:,} and more" if high is None else f"below {high:,}"
        take(own.filter(inside), f"best {bounds} parameters")
    good = own.head(max(1, own.height // 4)).drop_nulls("nearest_similarity")
    take(
        good.sort("nearest_similarity", "id"),
        "least like anything known, among the best quarter",
        NEWEST,
    )
    for (family,), members in own.drop_nulls("family").group_by("family", maintain_order=True):
        take(members, f"best whose line leads to the family {family}")
    take(own, "among the best", CARDS)
    return list(found.values())


def changes(graphs: dict[str, dict], before: str | None, after: str) -> dict[str, list[str]] | None:
    """Return the blocks that a design has more of than its neighbour, and fewer; None where a graph is not known."""
    labels = [
        Counter(block[0] for block in (graphs.get(name) or {}).get("blocks") or [])
        for name in (before, after)
    ]
    if not all(labels):
        return None
    more, less = labels[1] - labels[0], labels[0] - labels[1]
    return {
        sign: [
            f"{count} × {label}" if count > 1 else label
            for label, count in found.most_common(MOST_CHANGES)
        ]
        for sign, found in (("more", more), ("less", less))
    }


def drawing(blocks: list[list]) -> Markup:
    """Return a network from left to right: a bar a block, as high as its channels; below it, how wide its images are.

    Arcs are what skips blocks. What does not fit is left out.
    """
    shown = blocks[:MOST_BLOCKS]
    parts, arcs = [], []
    for at, (_, kind, shape, inputs) in enumerate(shown):
        sizes = [int(size) for size in shape.split("×") if size.isdecimal()]
        high = 3 + min(BAR_HEIGHT - 3, 2.2 * (sizes[0] if sizes else 0).bit_length())
        wide = 1.5 * (sizes[1] if len(sizes) > 2 else 1).bit_length()
        left = at * (BAR_WIDTH + 1)
        name = {"+": "a"}.get(kind, kind)
        parts.append(
            f'<rect class="b-{name}" x="{left}" y="{40 - high:.1f}" width="{BAR_WIDTH}" height="{high:.1f}"/>'
        )
        parts.append(
            f'<rect class="b-n" x="{left}" y="41" width="{BAR_WIDTH}" height="{wide:.1f}"/>'
        )
        for source in inputs:
            if at - source > 1 and len(arcs) < MOST_ARCS:
                start, end = (each * (BAR_WIDTH + 1) + BAR_WIDTH / 2 for each in (source, at))
                arcs.append(
                    f"M{start:g} 15Q{(start + end) / 2:g} {15 - min(26, 5 + (end - start) / 4):.1f} {end:g} 15"
                )
    wide = max(1, len(shown)) * (BAR_WIDTH + 1)
    size = f'width="{wide}" height="52" viewBox="0 0 {wide} 52" preserveAspectRatio="xMinYMid"'
    more = f'<path class="arc" d="{"".join(arcs)}"/>' if arcs else ""
    return (
        Markup(f'<svg class="net" {size} aria-hidden="true">{more}{"".join(parts)}</svg>')
        if shown
        else Markup("")
    )


def scale(scores: pl.Series, value: float | None) -> Markup:
    """Return where a score lies among all: grey bars for how many score so, a line for this one."""
    low, high = scores.min(), scores.max()
    if value is None or low == high:
        return Markup("")
    places = ((scores - low) / (high - low) * (BINS - 1e-9)).cast(pl.Int32)
    counts = Counter(places.to_list())
    most = max(counts.values())
    bars = "".join(
        f"M{4 * at + 2} 20v-{2 + 16 * count / most:.1f}" for at, count in sorted(counts.items())
    )
    mark = 4 * BINS * (value - low) / (high - low)
    return Markup(
        f'<svg class="scale" width="{4 * BINS}" height="21" aria-hidden="true"><path class="all" d="{bars}"/>'
        f'<path class="own" d="M{mark:.1f} 0v21"/></svg>'
    )
