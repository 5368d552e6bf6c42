"""The paper's numbers and protocol beside those of a chain; which is better is never said."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from archloop.layout import PAGE
from archloop.report.results import Results
from archloop.report.tables.rows import table_of
from archloop.settings.chains import SECTIONS, effective

CycleRow = Mapping[str, Any]  # of the table `cycles`: numbers, by column


class Estimate(NamedTuple):
    """A value with the ends of its interval, where it has them; None where nothing is known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Published:
    """A published number beside that of a chain: a row of `paper`."""

    chain: str
    cycle: str
    measure: str
    paper: float | None
    paper_low: float | None
    paper_high: float | None
    here: float | None
    here_low: float | None
    here_high: float | None


@dataclass(frozen=True)
class ProtocolPoint:
    """One point of the protocol: a row of `protocol`. differs: None where nothing is known."""

    chain: str
    item: str
    paper: str
    here: str | None = None
    differs: bool | None = None


def paper(results: Results, cycles: pl.DataFrame) -> pl.DataFrame:
    """Return the published numbers beside those of every chain; in per cent, but for `admitted`.

    Cycle `all`: the mean of the cycles' valid rates, the best, the mean over all valid candidates,
    all admitted.
    """
    rows = []
    for chain in results.chains:
        of_cycle = {}
        for row in cycles.filter(chain=chain).to_dicts():
            of_cycle[str(row["cycle"])] = row

        for published in _read(PAGE / "paper.csv"):
            cycle, measure = published["cycle"], published["measure"]
            if cycle == "all":
                here = _over_all(measure, list(of_cycle.values()))
            else:
                here = _of_cycle(measure, of_cycle.get(cycle))

            rows.append(
                Published(
                    chain=chain,
                    cycle=cycle,
                    measure=measure,
                    paper=_number(published["value"]),
                    paper_low=_number(published["low"]),
                    paper_high=_number(published["high"]),
                    here=here.value,
                    here_low=here.low,
                    here_high=here.high,
                )
            )

    return table_of(Published, rows)


def _of_cycle(measure: str, row: CycleRow | None) -> Estimate:
    if row is None:
        return Estimate()
    if measure == "admitted":
        return Estimate(float(row["admitted"]))
    if measure in ("valid", "at_threshold"):
        columns = [f"{measure}_{part}" for part in ("share", "low", "high")]
    elif measure == "mean":
        columns = ["accuracy_mean", "accuracy_low", "accuracy_high"]
    else:
        columns = [f"accuracy_{measure}"]
    return _percent(*[row[column] for column in columns])


def _over_all(measure: str, rows: list[CycleRow]) -> Estimate:
    """Return a value over all cycles.

    The interval of the valid rate is over cycles, as the paper's is; that of the mean over all
    valid candidates.
    """
    if not rows:
        return Estimate()
    if measure == "admitted":
        admitted = sum(row["admitted"] for row in rows)
        return Estimate(float(admitted))
    if measure == "best":
        best = max(_known(rows, "accuracy_best"), default=None)
        return _percent(best)
    if measure == "valid":
        return _mean_share(_known(rows, "valid_share"))
    return _pooled_mean([row for row in rows if row["accuracy_n"]])


def _known(rows: list[CycleRow], column: str) -> list[float]:
    values = [row[column] for row in rows]
    return [value for value in values if value is not None]


def _mean_share(shares: list[float]) -> Estimate:
    """Return the mean of the cycles' shares with its t interval over cycles."""
    if not shares:
        return Estimate()
    mean = float(np.mean(shares))
    count = len(shares)
    if count < 2:
        return _percent(mean)
    quantile = stats.t.ppf(0.975, count - 1)
    deviation = np.std(shares, ddof=1)
    half = float(quantile * deviation / count**0.5)
    return _within_half(mean, half)


def _within_half(mean: float, half: float) -> Estimate:
    """Return a share with its interval, cut at 0 and 1, beyond which no share is."""
    return _percent(mean, max(0.0, mean - half), min(1.0, mean + half))


def _pooled_mean(rows: list[CycleRow]) -> Estimate:
    """Return the mean accuracy over all valid candidates with its t interval, from the cycles'."""
    total, mean = 0, 0.0
    for row in rows:
        total += row["accuracy_n"]
        mean += row["accuracy_mean"] * row["accuracy_n"]

    if not total:
        return Estimate()

    mean /= total
    if total < 2:
        return _percent(mean)

    # The squares within cycles and those between them add up to those of all candidates.
    within, between = 0.0, 0.0
    for row in rows:
        n, deviation = row["accuracy_n"], row["accuracy_sd"] or 0
        within += (n - 1) * deviation**2
        between += n * (row["accuracy_mean"] - mean) ** 2

    variance = (within + between) / (total - 1)
    quantile = stats.t.ppf(0.975, total - 1)
    half = float(quantile * (variance / total) ** 0.5)
    return _within_half(mean, half)


def protocol(results: Results) -> pl.DataFrame:
    """Return what the paper did and what each chain does, point by point."""
    rows = []
    for chain in results.chains:
        for point in _read(PAGE / "protocol.csv"):
            unknown = ProtocolPoint(chain, point["item"], point["paper"])
            if not point["setting"]:
                rows.append(replace(unknown, here=point["here"], differs=True))
                continue
            values = _setting(results, chain, point["setting"])
            if not values:
                rows.append(unknown)
                continue
            value = values[0]
            same = _same(value, json.loads(point["same"]))
            rows.append(replace(unknown, here=_plain(value), differs=not same))

    return table_of(ProtocolPoint, rows)


def _setting(results: Results, chain: str, path: str) -> list[Any]:
    """Return a setting of a chain, as a list of one, or of none where the folder does not say.

    path: `section.key`, or `dataset`.
    """
    if not results.settings:
        return []
    if path == "dataset":
        return [results.chains[chain].dataset]

    section, key = path.split(".")
    values = results.settings.get(section, {})
    if section in SECTIONS:
        values = effective(results.settings, section, chain)
    return [values[key]] if key in values else []


def _same(value: Any, accepted: list[Any]) -> bool:
    """Say whether a value is one of those accepted; two numbers are the ends of a range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value in accepted

    is_range = len(accepted) == 2 and not isinstance(accepted[0], list)
    if not is_range:
        return value in accepted
    low, high = accepted
    return bool(low <= value <= high)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _percent(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    """Return shares as values in per cent."""
    return Estimate(_times_100(value), _times_100(low), _times_100(high))


def _times_100(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(text: str) -> float | None:
    return float(text) if text else None


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


@dataclass(frozen=True)
class PublishedCycle:
    """A published cycle beside that of a chain.

    estimates: measure -> (published, here), as text.
    """

    cycle: str
    estimates: dict[str, Sequence[str]]


def paper_rows(paper: pl.DataFrame, chain: str) -> list[PublishedCycle]:
    """Return a chain's rows of the table `paper`, one a cycle."""
    cycles: dict[str, PublishedCycle] = {}
    for row in paper.filter(chain=chain).to_dicts():
        name, measure = row["cycle"], row["measure"]
        is_count = measure == "admitted"
        cycle = cycles.setdefault(name, PublishedCycle(name, {}))
        cycle.estimates[measure] = (
            _cell(_estimate(row, "paper"), digits=0 if is_count else 2),
            _cell(_estimate(row, "here"), digits=0 if is_count else 1),
        )

    return list(cycles.values())


def _estimate(row: Mapping[str, Any], side: str) -> Estimate:
    """Return an estimate of a row of `paper`. side: `paper` or `here`."""
    return Estimate(row[side], row[f"{side}_low"], row[f"{side}_high"])


def _cell(estimate: Estimate, digits: int) -> str:
    if estimate.value is None:
        return "–"
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None:
        return text
    low = f"{estimate.low:.{digits}f}"
    high = f"{estimate.high:.{digits}f}"
    return f"{text} [{low}, {high}]"
