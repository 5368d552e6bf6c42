"""The paper's numbers and protocol beside those of a chain; which is better is never said."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np
import polars as pl
from scipy import stats

from archloop.layout import PAGE
from archloop.report.results import Results
from archloop.report.summarize import Distribution, Rate, Summary
from archloop.report.tables.typed_tables import table_of
from archloop.settings.chains import SECTIONS, effective
from archloop.settings.sections import Section

T = TypeVar("T")


class Estimate(NamedTuple):
    """A value with the ends of its interval, where it has them; None where nothing is known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Moments(NamedTuple):
    """Of the accuracies of a cycle: how many, their mean, and their standard deviation."""

    n: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class PublishedLine:
    """A line of report/paper.csv, as text; low, high: empty where no interval was published."""

    cycle: str
    measure: str
    value: str
    low: str
    high: str


@dataclass(frozen=True)
class ProtocolLine:
    """A line of report/protocol.csv.

    setting: its path, empty where no setting decides. same: the values that are the paper's, as
    JSON. here: what is done whatever the settings are.
    """

    item: str
    setting: str
    paper: str
    same: str
    here: str


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


def paper(results: Results) -> pl.DataFrame:
    """Return the published numbers beside those of every chain; in per cent, but for `admitted`.

    Cycle `all`: the mean of the cycles' valid rates, the best, the mean over all valid candidates,
    all admitted.
    """
    published = _read(PAGE / "paper.csv", PublishedLine)
    rows = []
    for chain in results.chains:
        summaries = {}
        for summary in results.summaries:
            if summary["chain"] == chain:
                summaries[str(summary["cycle"])] = summary

        for line in published:
            if line.cycle == "all":
                here = _over_all(line.measure, list(summaries.values()))
            else:
                here = _of_cycle(line.measure, summaries.get(line.cycle))

            rows.append(
                Published(
                    chain=chain,
                    cycle=line.cycle,
                    measure=line.measure,
                    paper=_number(line.value),
                    paper_low=_number(line.low),
                    paper_high=_number(line.high),
                    here=here.value,
                    here_low=here.low,
                    here_high=here.high,
                )
            )

    return table_of(Published, rows)


def _of_cycle(measure: str, summary: Summary | None) -> Estimate:
    if summary is None:
        return Estimate()
    accuracy = summary["accuracy"]
    if measure == "admitted":
        return Estimate(float(summary["funnel"]["admitted"]))
    if measure == "valid":
        return _share(summary["valid"])
    if measure == "at_threshold":
        return _share(summary["at_threshold"])
    if measure == "mean":
        return _percent(accuracy["mean"], accuracy["low"], accuracy["high"])
    return _percent(accuracy["best"] if measure == "best" else accuracy["median"])


def _share(rate: Rate) -> Estimate:
    """Return the share of a rate, with its interval, in per cent."""
    return _percent(rate["share"], rate["low"], rate["high"])


def _over_all(measure: str, summaries: list[Summary]) -> Estimate:
    """Return a value over all cycles.

    The interval of the valid rate is over cycles, as the paper's is; that of the mean over all
    valid candidates.
    """
    if not summaries:
        return Estimate()
    if measure == "admitted":
        admitted = sum(summary["funnel"]["admitted"] for summary in summaries)
        return Estimate(float(admitted))
    accuracies = [summary["accuracy"] for summary in summaries]
    if measure == "best":
        of_cycles = _known(accuracy["best"] for accuracy in accuracies)
        return _percent(max(of_cycles, default=None))
    if measure == "valid":
        return _mean_share(_known(summary["valid"]["share"] for summary in summaries))
    return _pooled_mean(accuracies)


def _known(values: Iterable[float | None]) -> list[float]:
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


def _pooled_mean(accuracies: list[Distribution]) -> Estimate:
    """Return the mean accuracy over all valid candidates with its t interval, from the cycles'."""
    cycles = []
    total, mean = 0, 0.0
    for accuracy in accuracies:
        if accuracy["mean"] is not None:
            # The deviation of a single value is not defined, and adds nothing.
            moments = Moments(accuracy["n"], accuracy["mean"], accuracy["sd"] or 0.0)
            cycles.append(moments)
            total += moments.n
            mean += moments.mean * moments.n

    if not total:
        return Estimate()

    mean /= total
    if total < 2:
        return _percent(mean)

    # The squares within cycles and those between them add up to those of all candidates.
    within, between = 0.0, 0.0
    for cycle in cycles:
        within += (cycle.n - 1) * cycle.deviation**2
        between += cycle.n * (cycle.mean - mean) ** 2

    variance = (within + between) / (total - 1)
    quantile = stats.t.ppf(0.975, total - 1)
    half = float(quantile * (variance / total) ** 0.5)
    return _within_half(mean, half)


def protocol(results: Results) -> pl.DataFrame:
    """Return what the paper did and what each chain does, point by point."""
    points = _read(PAGE / "protocol.csv", ProtocolLine)
    rows = []
    for chain in results.chains:
        for point in points:
            unknown = ProtocolPoint(chain, point.item, point.paper)
            if not point.setting:
                rows.append(replace(unknown, here=point.here, differs=True))
                continue

            values = _setting(results, chain, point.setting)
            if not values:
                rows.append(unknown)
                continue

            value = values[0]
            same = _same(value, json.loads(point.same))
            rows.append(replace(unknown, here=_plain(value), differs=not same))

    return table_of(ProtocolPoint, rows)


def _setting(results: Results, chain: str, path: str) -> list[object]:
    """Return a setting of a chain, as a list of one, or of none where the folder does not say.

    path: `section.key`, or `dataset`.
    """
    if not results.settings:
        return []
    if path == "dataset":
        return [results.chains[chain].dataset]

    section, key = path.split(".")
    if section in SECTIONS:
        values = effective(results.settings, section, chain)
    else:
        # A section of the run alone, such as seed_corpus.
        values = cast(Mapping[str, Section], results.settings).get(section, {})
    return [values[key]] if key in values else []


def _same(value: object, accepted: list[object]) -> bool:
    """Say whether a value is one of those accepted; two numbers are the ends of a range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value in accepted

    is_range = len(accepted) == 2 and not isinstance(accepted[0], list)
    if not is_range:
        return value in accepted
    low, high = cast(list[float], accepted)
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


def _read(path: Path, line: type[T]) -> list[T]:
    """Return the lines of a CSV file. line: a class whose fields are its columns."""
    with open(path, newline="", encoding="utf-8") as opened:
        return [line(**row) for row in csv.DictReader(opened)]


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
    for row in paper.filter(chain=chain).iter_rows(named=True):
        published = Published(**row)
        theirs = Estimate(published.paper, published.paper_low, published.paper_high)
        ours = Estimate(published.here, published.here_low, published.here_high)

        is_count = published.measure == "admitted"
        cycle = cycles.setdefault(published.cycle, PublishedCycle(published.cycle, {}))
        cycle.estimates[published.measure] = (
            _cell(theirs, digits=0 if is_count else 2),
            _cell(ours, digits=0 if is_count else 1),
        )

    return list(cycles.values())


def _cell(estimate: Estimate, digits: int) -> str:
    if estimate.value is None:
        return "–"
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None:
        return text
    low = f"{estimate.low:.{digits}f}"
    high = f"{estimate.high:.{digits}f}"
    return f"{text} [{low}, {high}]"
