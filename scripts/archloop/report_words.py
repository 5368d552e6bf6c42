"""Figures as people read them, and what a chain's first and last cycle tell, in careful words."""

import polars as pl

MEASURES = {
    "new_above": "new and at or above the threshold, of the valid",
    "copies": "copies, of the valid",
    "similarity": "similarity to the nearest (mean)",
    "accuracy": "accuracy of the valid (mean)",
    "accuracy_once": "accuracy, each program once (mean)",
    "at_threshold": "at or above the threshold, of the valid",
    "valid": "valid, of all generated",
    "yield": "admitted, of all generated (yield)",
}


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share (0 to 1) in per cent, `–` for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def interval(low: float | None, high: float | None) -> str:
    """Return a 95 % interval of shares in per cent, in brackets; nothing for None."""
    return "" if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"


def signed(share: float | None) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return "–" if share is None else f"{100 * share:+.1f}"


def points(share: float | None) -> str:
    """Return a spread of shares in percentage points."""
    return "–" if share is None else f"{100 * share:.1f}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, thousands apart, `–` for None."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def verdict(shift: pl.DataFrame, chain: str) -> dict:
    """Return what the first and the last cycle of a chain tell: a headline, and whether it is a shift (`kind`).

    It asks whether the intervals of two differences leave out 0: that of the share of new designs at the threshold, and
    that of the share of copies. The peak in between is not looked at: it was found by looking.
    """
    rows = {row["measure"]: row["direction"] for row in shift.filter(chain=chain).to_dicts()}
    if not rows:
        return {"kind": "open", "headline": "One cycle: nothing to compare yet."}
    new, copies = rows["new_above"], rows["copies"]
    if "too few" in (new, copies):
        return {"kind": "open", "headline": "Too few valid candidates to tell."}
    if new == "up" and copies == "down":
        return {
            "kind": "up",
            "headline": "From memorising towards designing: fewer copies, more new designs that score.",
        }
    if new == "up":
        return {"kind": "up", "headline": f"More new designs that score; copies {_movement(copies)}."}
    if new == "down":
        return {
            "kind": "down",
            "headline": f"Away from designing: fewer new designs that score; copies {_movement(copies)}.",
        }
    if copies == "down":
        return {"kind": "open", "headline": "Fewer copies, but no more new designs that score."}
    if copies == "up":
        return {"kind": "down", "headline": "More copies, and no more new designs that score."}
    return {"kind": "open", "headline": "No shift that can be told from chance."}


def _movement(direction: str) -> str:
    return {"up": "rose too", "down": "fell", "not told apart": "did not move measurably"}[direction]


def paper_rows(paper: pl.DataFrame, chain: str) -> list[dict]:
    """Return a row a published cycle: its name, and for each measure (published, here) as text."""
    rows: dict[str, dict] = {}
    for row in paper.filter(chain=chain).to_dicts():
        count = row["measure"] == "admitted"
        texts = [
            _cell(row[side], row[f"{side}_low"], row[f"{side}_high"], 0 if count else digits)
            for side, digits in (("paper", 2), ("here", 1))
        ]
        rows.setdefault(row["cycle"], {"cycle": row["cycle"]})[row["measure"]] = texts
    return list(rows.values())


def _cell(value: float | None, low: float | None, high: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}" + (f" [{low:.{digits}f}, {high:.{digits}f}]" if low is not None else "")
