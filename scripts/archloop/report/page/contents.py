"""What the page says beside its figures, by the names that its template has for it."""

from dataclasses import dataclass, fields

import polars as pl

from archloop.report.figures.findings import named
from archloop.report.figures.theme import FATE_COLORS
from archloop.report.groups import ROLES, Groups, called, label
from archloop.report.loop_verdict import MEASURE_WORDS, Verdict
from archloop.report.page.best_design import BestDesign, best_design
from archloop.report.page.failures import Failures, what_fails
from archloop.report.results import Results, Verified
from archloop.report.tables.comparisons import Compared, ContrastRow
from archloop.report.tables.paper import ProtocolPoint, PublishedCycle, paper_rows
from archloop.report.tables.typed_tables import TablesByName, of_chains, total, total_count
from archloop.report.wording import GLOSSARY
from archloop.settings.chains import SEED

# How a contrast was made, by its method.
METHODS = {
    "runs": "t over runs",
    "points": "too few runs: no interval",
    "cycles": "one run: blocks of its cycles",
}
COSTS = (
    "jobs",
    "seconds",
    "gpu_seconds",
    "tokens",
    "evaluations",
    "reused",
)


@dataclass(frozen=True)
class Loop:
    """The loop as the first line of the page names it."""

    label: str
    dataset: str
    planned: int


@dataclass(frozen=True)
class GroupName:
    """What a group is called: with what it does, and in short."""

    name: str
    label: str


@dataclass(frozen=True)
class ChainProgress:
    """How many cycles each run of a group has finished."""

    label: str
    done: list[int]
    planned: int

    @property
    def begun(self) -> bool:
        return any(self.done)


@dataclass(frozen=True)
class Spent:
    """The seconds of all jobs, those of cycle 0 too, in all and by stage. on: what they are of."""

    all: float
    on: str
    generate: float
    evaluate: float
    finetune: float


@dataclass(frozen=True)
class Trust:
    """What speaks for the results. whole: chains that have finished. levels: of isolation."""

    whole: int
    chains: int
    levels: list[str]
    candidates: int
    verified: Verified | None


@dataclass(frozen=True)
class GroupMeans:
    """The means of a group of runs, out of the table `results`; label: what the group is called."""

    label: str
    dataset: str
    differs: str
    cycles: int
    candidates: float
    new_good: float | None
    valid: float | None
    admitted: float | None
    distinct: float | None
    top_test: float | None
    gpu_seconds: float | None
    cpu_seconds: float | None
    before_gpu_seconds: float | None
    reused: float | None


@dataclass(frozen=True)
class ShownContrast(ContrastRow):
    """A row of the table `contrasts`; how: its method, in words."""

    how: str


@dataclass(frozen=True)
class CycleCounts:
    """What became of the candidates of a cycle; accuracies are those of the valid ones."""

    cycle: int
    candidates: int
    new_good: int
    valid: int
    admitted: int
    distinct: int
    accuracy_mean: float | None
    accuracy_best: float | None


@dataclass(frozen=True)
class ChainCounts:
    """A chain, out of the table of that name. top, top_test: accuracies of its best design."""

    chain: str
    dataset: str
    start: str
    source: str
    planned: int
    finished: int
    candidates: int | None
    valid: int | None
    admitted: int | None
    top: float | None
    top_test: float | None
    cycles: list[CycleCounts]


@dataclass(frozen=True)
class StageCost:
    """What the jobs of one stage of a group of runs took together."""

    label: str
    stage: str
    jobs: int
    seconds: float
    gpu_seconds: float
    tokens: int
    evaluations: int
    reused: int


@dataclass(frozen=True)
class BesidePaper:
    """The paper's numbers beside those of a chain."""

    chain: str
    rows: list[PublishedCycle]


@dataclass(frozen=True)
class Contents:
    """Everything, each field by the name that the template has for it."""

    verdict: Verdict
    measured: dict[str, str]
    roles: dict[str, tuple[str, str]]
    fate_words: dict[str, tuple[str, str]]
    words: dict[str, str]
    threshold: float | None
    tested: int
    elsewhere: list[str]
    spent: Spent
    groups: dict[str, GroupName]
    the_loop: Loop
    status: list[ChainProgress]
    best: BestDesign | None
    results: list[GroupMeans]
    contrasts: list[ShownContrast]
    trust: Trust
    failures: Failures
    chains: list[ChainCounts]
    paper: BesidePaper
    protocol: list[ProtocolPoint]
    costs: list[StageCost]
    versions: list[tuple[str, str]]


def contents(results: Results, tables: TablesByName, sides: Compared) -> Contents:
    """Return what the template wants."""
    groups = {"loop": sides.loop, **sides.controls}
    first = sides.loop[0]
    chain = results.chains[first]
    contrasts = sides.verdict.contrasts.values()

    return Contents(
        verdict=sides.verdict,
        measured=MEASURE_WORDS,
        roles=ROLES,
        fate_words=FATE_COLORS,
        words=GLOSSARY,
        threshold=_threshold(tables["cycles"], sides.loop),
        tested=sum(contrast.p is not None for contrast in contrasts),
        elsewhere=_elsewhere(results, chain.dataset),
        spent=_spent(tables["cost"]),
        groups=_names(groups),
        the_loop=Loop(label(sides.loop), chain.dataset, chain.planned),
        status=_status(results, sides),
        best=best_design(results, tables, groups),
        results=_results(tables["results"], sides),
        contrasts=_contrasts(tables["contrasts"]),
        trust=_trust(results, tables),
        failures=what_fails(results, tables, groups),
        chains=_chains(tables),
        paper=BesidePaper(first, paper_rows(tables["paper"], first)),
        protocol=_protocol(tables["protocol"], first),
        costs=_costs(tables["cost"], sides),
        versions=_versions(results),
    )


def _names(groups: Groups) -> dict[str, GroupName]:
    names = {}
    for role, group in groups.items():
        names[role] = GroupName(named(role, group), called(role, group))
    return names


def _elsewhere(results: Results, dataset: str) -> list[str]:
    """Return the data sets but this one that chains are on."""
    others: list[str] = []
    for chain in results.chains.values():
        if chain.dataset not in (dataset, *others):
            others.append(chain.dataset)

    return others


def _status(results: Results, sides: Compared) -> list[ChainProgress]:
    """Return how far each group is; empty when all have finished."""
    if results.finished:
        return []
    rows = []
    for group in sides.groups:
        done = [len(results.chains[name].cycles) for name in group]
        rows.append(ChainProgress(label(group), done, results.chains[group[0]].planned))

    return rows


def _threshold(cycles: pl.DataFrame, loop: list[str]) -> float | None:
    """Return the threshold of admission that the loop's last cycle was judged by."""
    of_loop = of_chains(cycles, loop).sort("cycle")
    return of_loop["threshold"][-1] if of_loop.height else None


def _spent(cost: pl.DataFrame) -> Spent:
    on_gpu = total(cost, "gpu_seconds") > 0
    column = "gpu_seconds" if on_gpu else "seconds"
    generate = total(cost.filter(stage="generate"), column)
    evaluate = total(cost.filter(stage="evaluate"), column)
    finetune = total(cost.filter(stage="finetune"), column)

    return Spent(
        all=generate + evaluate + finetune,
        on="GPU" if on_gpu else "processor",
        generate=generate,
        evaluate=evaluate,
        finetune=finetune,
    )


def _trust(results: Results, tables: TablesByName) -> Trust:
    whole = [chain for chain in results.chains.values() if len(chain.cycles) >= chain.planned]
    return Trust(
        whole=len(whole),
        chains=len(results.chains),
        levels=sorted({job.isolation for job in results.jobs if job.isolation}),
        candidates=total_count(tables["fates"], "candidates"),
        verified=results.verified,
    )


def _results(table: pl.DataFrame, sides: Compared) -> list[GroupMeans]:
    """Return the means of each group, in the order of the groups."""
    columns = _columns_of(GroupMeans, without="label")
    rows = []
    for group in sides.groups:
        means = table.filter(chain=", ".join(group)).select(columns)
        rows += [GroupMeans(label=label(group), **row) for row in means.to_dicts()]

    return rows


def _columns_of(row: type, without: str) -> list[str]:
    """Return the fields of a class that are columns of a table: all but one."""
    return [field.name for field in fields(row) if field.name != without]


def _contrasts(table: pl.DataFrame) -> list[ShownContrast]:
    return [ShownContrast(**row, how=METHODS[row["method"]]) for row in table.to_dicts()]


def _chains(tables: TablesByName) -> list[ChainCounts]:
    """Return every chain with its cycles, in the order of the groups."""
    accuracies = tables["cycles"].select("chain", "cycle", "accuracy_mean", "accuracy_best")
    cycles = tables["fates"].join(accuracies, on=["chain", "cycle"], how="left").sort("cycle")
    columns = [field.name for field in fields(CycleCounts)]

    rows = []
    chains = tables["chains"].select(_columns_of(ChainCounts, without="cycles"))
    for chain in chains.to_dicts():
        of_chain = cycles.filter(chain=chain["chain"]).select(columns)
        counts = [CycleCounts(**row) for row in of_chain.to_dicts()]
        rows.append(ChainCounts(**chain, cycles=counts))

    return rows


def _protocol(table: pl.DataFrame, chain: str) -> list[ProtocolPoint]:
    """Return the points of a chain, those that differ first."""
    points = [ProtocolPoint(**row) for row in table.filter(chain=chain).to_dicts()]
    return sorted(points, key=lambda point: (point.differs is not True, point.item))


def _costs(cost: pl.DataFrame, sides: Compared) -> list[StageCost]:
    """Return the totals of each group, and of cycle 0, by stage."""
    groups = [("cycle 0", [SEED])]
    groups += [(label(group), group) for group in sides.groups]

    rows = []
    for name, group in groups:
        of_group = of_chains(cost, group)
        stages = of_group.group_by("stage", maintain_order=True).agg(pl.col(COSTS).sum())
        rows += [StageCost(label=name, **row) for row in stages.to_dicts()]

    return rows


def _versions(results: Results) -> list[tuple[str, str]]:
    """Return (name, version) of what the jobs ran with; two versions of one thing give two rows."""
    versions: set[tuple[str, str]] = set()
    for job in results.jobs:
        versions.update(job.versions.items())
    return sorted(versions)
