"""The paper's published figures and its protocol, each beside those of a chain; which is better is never said."""

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from archloop.layout import PAGE
from archloop.report.results import Results
from archloop.report.tables.per_cycle import SHARE, TEXT, frame
from archloop.settings.chains import SECTIONS, effective


def paper(results: Results, cycles: pl.DataFrame) -> pl.DataFrame:
    """Return the published figures, each beside that of every chain; in per cent, but for `admitted`.

    Cycle `all`: the mean of the cycles' valid rates, the best, the mean over all valid candidates, all admitted.
    """
    schema = {
        "chain": TEXT,
        "cycle": TEXT,
        "measure": TEXT,
        "paper": SHARE,
        "paper_low": SHARE,
        "paper_high": SHARE,
    }
    schema |= {"here": SHARE, "here_low": SHARE, "here_high": SHARE}
    rows = []
    for chain in results.chains:
        own = {str(row["cycle"]): row for row in cycles.filter(chain=chain).iter_rows(named=True)}
        for given in _read(PAGE / "paper.csv"):
            published = {
                f"paper{end}": _number(given[key]) for end, key in (("", "value"), ("_low", "low"))
            }
            published["paper_high"] = _number(given["high"])
            if given["cycle"] == "all":
                here = _over_all(given["measure"], list(own.values()))
            else:
                here = _of_cycle(given["measure"], own.get(given["cycle"]))
            found = dict(zip(("here", "here_low", "here_high"), here))
            rows.append(
                {"chain": chain, "cycle": given["cycle"], "measure": given["measure"]}
                | published
                | found
            )
    return frame(rows, schema)


def _of_cycle(measure: str, row: dict | None) -> tuple:
    if row is None:
        return None, None, None
    if measure == "admitted":
        return float(row["admitted"]), None, None
    if measure in ("valid", "at_threshold"):
        return tuple(_percent(row[f"{measure}_{part}"]) for part in ("share", "low", "high"))
    interval = ("low", "high") if measure == "mean" else (None, None)
    return tuple(
        _percent(row[f"accuracy_{part}"]) if part else None for part in (measure, *interval)
    )


def _over_all(measure: str, rows: list[dict]) -> tuple:
    """Return (value, low, high) over all cycles.

    The interval of the valid rate is over cycles, as the paper's is; that of the mean over all valid candidates.
    """
    if not rows:
        return None, None, None
    if measure == "admitted":
        return float(sum(row["admitted"] for row in rows)), None, None
    if measure == "best":
        best = [row["accuracy_best"] for row in rows if row["accuracy_best"] is not None]
        return _percent(max(best, default=None)), None, None
    if measure == "valid":
        shares = [row["valid_share"] for row in rows if row["valid_share"] is not None]
        mean = float(np.mean(shares)) if shares else None
        if len(shares) < 2:
            return _percent(mean), None, None
        half = float(
            stats.t.ppf(0.975, len(shares) - 1) * np.std(shares, ddof=1) / len(shares) ** 0.5
        )
        return _percent(mean), _percent(max(0.0, mean - half)), _percent(min(1.0, mean + half))
    trained = [row for row in rows if row["accuracy_n"]]
    total = sum(row["accuracy_n"] for row in trained)
    if not total:
        return None, None, None
    mean = sum(row["accuracy_mean"] * row["accuracy_n"] for row in trained) / total
    if total < 2:
        return _percent(mean), None, None
    squares = sum((row["accuracy_n"] - 1) * (row["accuracy_sd"] or 0) ** 2 for row in trained)
    squares += sum(row["accuracy_n"] * (row["accuracy_mean"] - mean) ** 2 for row in trained)
    half = float(stats.t.ppf(0.975, total - 1) * (squares / (total - 1) / total) ** 0.5)
    return _percent(mean), _percent(max(0.0, mean - half)), _percent(min(1.0, mean + half))


def protocol(results: Results) -> pl.DataFrame:
    """Return what the paper did and what each chain does, item by item; `differs` is null where nothing is known."""
    schema = {"chain": TEXT, "item": TEXT, "paper": TEXT, "here": TEXT, "differs": pl.Boolean}
    rows = []
    for chain in results.chains:
        for given in _read(PAGE / "protocol.csv"):
            row = {"chain": chain, "item": given["item"], "paper": given["paper"]}
            if not given["setting"]:
                row |= {"here": given["here"], "differs": True}
            elif results.settings:
                value = _setting(results, chain, given["setting"])
                row |= {
                    "here": _plain(value),
                    "differs": not _same(value, json.loads(given["same"])),
                }
            rows.append(row)
    return frame(rows, schema)


def _setting(results: Results, chain: str, place: str) -> object:
    if place == "dataset":
        return results.chains[chain]["dataset"]
    section, key = place.split(".")
    return (
        effective(results.settings, section, chain)
        if section in SECTIONS
        else results.settings[section]
    )[key]


def _same(value: object, accepted: list) -> bool:
    """Say whether a value is one of those accepted; two numbers are the ends of a range."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and len(accepted) == 2 and not isinstance(accepted[0], list):
        return accepted[0] <= value <= accepted[1]
    return value in accepted


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(text: str) -> float | None:
    return float(text) if text else None


def _read(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


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
    return f"{value:.{digits}f}" + (
        f" [{low:.{digits}f}, {high:.{digits}f}]" if low is not None else ""
    )
