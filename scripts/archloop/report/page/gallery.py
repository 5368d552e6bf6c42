"""The gallery: cards, a list of all designs, and what a person opens of one, packed in parts.

A part is JSON, compressed and written in base64: it is inert text, whatever a program holds, and
only what is looked at is unpacked. The parts stand in the page; where they are many, in scripts
beside it, which open without a server too.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypedDict, TypeVar

import polars as pl

from archloop.files import write_text
from archloop.layout import SEED, Cell
from archloop.report.graph_drawing import KINDS, GraphBlock, strip
from archloop.report.graphs import Graph
from archloop.report.page.cards import Card, cards
from archloop.report.page.designs import ListedDesign, designs_of, listed
from archloop.report.results import Results
from archloop.settings.chains import trains
from archloop.texts import visible

T = TypeVar("T")
PART = 50  # programs packed together
PARTS_A_FILE = 10  # parts in a script beside the page
MOST_INSIDE = 5_000_000  # characters that the page carries itself
DATA = "data"  # the folder beside the page
# What the list shows of each design, as it is.
COLUMNS = (
    "id",
    "chain",
    "dataset",
    "group",
    "rank",
    "cycle",
    "accuracy",
    "test_accuracy",
    "accuracy_sd",
    "parameters",
    "nearest_id",
    "nearest_source",
    "nearest_accuracy",
    "hint",
    "family",
    "found",
)


@dataclass(frozen=True)
class CorpusProgram:
    """What the gallery needs of a program of the corpus, by its columns there."""

    id: str
    program: str
    prompt: str | None
    references: list[str] | None
    origin: str | None
    family: str | None
    accuracy: float | None


class PackedGraph(TypedDict):
    """A computed graph, as the scripts of the page take it."""

    blocks: list[GraphBlock] | None
    cut: bool


class PackedProgram(PackedGraph):
    """What opens of a program that is no design."""

    program: str


class PackedDesign(PackedProgram):
    """What opens of a design. seed: as text, for it has more digits than a number of JavaScript."""

    prompt_id: str | None
    adapter: str | None
    evaluation: str | None
    multiply_adds: int | None
    seed: str
    prompt: str
    references: list[str]
    origin: str | None
    drawn_from: str | None


@dataclass(frozen=True)
class Gallery:
    """What the page needs.

    packed: texts that stand in it, by name. beside: scripts beside it, by file name. kinds: letter
    of a kind of block -> its name. choices: what the filters offer, by filter.
    """

    cards: list[Card]
    packed: dict[str, str]
    beside: dict[str, str]
    kinds: dict[str, str]
    choices: dict[str, list[str]]


@dataclass(frozen=True)
class AdapterTraining:
    """What an adapter was trained on, the loss that it ended at, whether it was kept unchanged."""

    pairs: int | None
    loss: float | None
    carried_on: bool


@dataclass(frozen=True)
class Lineage:
    """Where a chain starts, which of its cycles make an adapter. training: on what, by cycle."""

    start: str
    start_cycle: int
    trains: list[int]
    training: dict[int, AdapterTraining | None]


def gallery(results: Results, architectures: pl.DataFrame) -> Gallery:
    """Return the gallery of a report. architectures: the table of that name."""
    rows = listed(results, architectures)
    inside, beside = apart(_packed(results, rows))
    choices = {
        "dataset": _different(rows["dataset"]),
        "group": _different(rows["group"]),
        "family": sorted(_different(rows["family"])),
    }

    kinds = dict(KINDS)
    # Images and what is none of the other kinds need no word.
    for letter in ("i", "n"):
        del kinds[letter]
    return Gallery(cards(results, rows), inside, beside, kinds, choices)


def _different(values: pl.Series) -> list[str]:
    """Return the different values that there are, in their order."""
    return values.drop_nulls().unique(maintain_order=True).to_list()


def apart(packed: dict[str, str], most: int = MOST_INSIDE) -> tuple[dict[str, str], dict[str, str]]:
    """Return (what stands in the page, the scripts beside it by file name).

    All stands in the page where that is not too much. A script hands its parts over by a function
    of the page: from a page that was opened as a file, nothing else of the folder may be read.
    """
    if sum(map(len, packed.values())) <= most:
        return packed, {}

    inside = dict(packed)
    parts = [name for name in packed if name.startswith("part-")]
    files = {}
    for number, names in enumerate(_batches(parts, PARTS_A_FILE)):
        moved = {name: inside.pop(name) for name in names}
        files[f"parts-{number}.js"] = f"keepParts({json.dumps(moved)});\n"

    return inside, files


def _batches(things: list[T], count: int) -> Iterator[list[T]]:
    """Yield so many things at a time, in their order."""
    for start in range(0, len(things), count):
        yield things[start : start + count]


def write_scripts(beside: dict[str, str], folder: Path) -> list[Path]:
    """Write the scripts beside the page and return them; those of an earlier report go."""
    for path in folder.glob("parts-*.js"):
        if path.name not in beside:
            path.unlink()

    for name, text in beside.items():
        write_text(folder / name, text)
    return [folder / name for name in beside]


def _packed(results: Results, rows: pl.DataFrame) -> dict[str, str]:
    """Return name -> packed text: `index` with a column for all that the list shows, and the parts.

    They are `part-0`, `part-1` ... Their programs are in the order of the index's `programs`: all
    designs, then those other programs that are somebody's nearest neighbour or reference, the seed
    programs among them.
    """
    designs = list(designs_of(rows))
    corpus = results.corpus.unique("id", keep="first", maintain_order=True)
    is_design = pl.col("id").is_in(rows["id"].implode())
    stored = {program.id: program for program in _programs(corpus.filter(is_design))}

    shown = {design.nearest_id for design in designs}
    for program in stored.values():
        shown.update(program.references or [])
    is_other = pl.col("id").is_in(shown - stored.keys())
    others = _programs(corpus.filter(is_other).sort("id"))

    programs: list[PackedProgram] = []
    for design in designs:
        graph = results.graphs.get(design.id, Graph())
        programs.append(_design(design, stored[design.id], graph))
    for other in others:
        graph = results.graphs.get(other.id, Graph())
        programs.append({"program": visible(other.program), **_graph(graph)})

    packed = {"index": pack(_index(results, rows, others))}
    for number, part in enumerate(_batches(programs, PART)):
        packed[f"part-{number}"] = pack(part)
    return packed


def _programs(corpus: pl.DataFrame) -> list[CorpusProgram]:
    columns = [field.name for field in fields(CorpusProgram)]
    rows = corpus.select(columns).iter_rows()
    return [CorpusProgram(*row) for row in rows]


def _index(results: Results, rows: pl.DataFrame, others: list[CorpusProgram]) -> dict[str, object]:
    """Return what the list shows. others: programs of the corpus that are no design."""
    names = rows["id"].to_list()
    blocks = [results.blocks(name) for name in names]
    made_of = list(map(_words, blocks))
    words = sorted(set().union(*made_of))
    position = {word: index for index, word in enumerate(words)}

    # By their positions: the same few words are in hundreds of designs.
    has = []
    for words_of_design in made_of:
        positions = [position[word] for word in words_of_design]
        has.append(sorted(positions))

    lines = {}
    for other in others:
        letters = strip(results.blocks(other.id))
        lines[other.id] = [other.family, other.accuracy, letters]

    chains = {}
    for name in results.chains:
        chains[name] = asdict(_lineage(results, name))

    return {
        **{name: rows[name].to_list() for name in COLUMNS},
        "similarity": list(map(_rounded, rows["nearest_similarity"])),
        "exact": rows["nearest_exact"].fill_null(False).to_list(),
        "front": rows["front"].arg_true().to_list(),
        "strips": list(map(strip, blocks)),
        "words": words,
        "has": has,
        "others": lines,
        "programs": [*names, *lines],
        "kinds": KINDS,
        "part": PART,
        "parts_a_file": PARTS_A_FILE,
        "chains": chains,
        "seed_training": _as_json(_training(results, Cell(SEED, 0))),
    }


def pack(value: object) -> str:
    """Return a value as gzipped JSON in base64; equal values give equal text."""
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False
    )
    # gzip writes the time of packing into its header, which would differ from run to run.
    compressed = gzip.compress(text.encode(), 6, mtime=0)
    return base64.b64encode(compressed).decode()


def _design(design: ListedDesign, stored: CorpusProgram, graph: Graph) -> PackedDesign:
    """Return what opens of a design. stored: of the corpus."""
    return {
        "prompt_id": design.prompt_id,
        "adapter": design.adapter,
        "evaluation": design.evaluation,
        "multiply_adds": design.multiply_adds,
        "seed": str(design.seed),
        "program": visible(stored.program or ""),
        "prompt": visible(stored.prompt or ""),
        "references": stored.references or [],
        "origin": stored.origin,
        "drawn_from": stored.family,
        **_graph(graph),
    }


def _graph(graph: Graph) -> PackedGraph:
    return {"blocks": graph.blocks, "cut": graph.cut}


def _words(blocks: Sequence[GraphBlock]) -> set[str]:
    """Return what a design is made of, as a person would search for it."""
    words: set[str] = set()
    for block in blocks:
        words.update(block.label.split(" · "))
    return words - {"image"}


def _lineage(results: Results, name: str) -> Lineage:
    chain = results.chains[name]
    start, _, cycle = chain.start.partition("/")
    start_cycle = int(cycle or 0)
    if start in results.chains and not cycle:
        start_cycle = results.chains[start].planned

    training_cycles = list(range(1, chain.planned + 1))
    if results.settings:
        training_cycles = [
            number for number in training_cycles if trains(results.settings, name, number)
        ]

    training = {}
    for number in chain.cycles:
        training[number] = _training(results, Cell(name, number))
    return Lineage(start, start_cycle, training_cycles, training)


def _training(results: Results, cell: Cell) -> AdapterTraining | None:
    record = results.training.get(cell)
    if record is None:
        return None

    losses = record.get("losses")
    return AdapterTraining(
        pairs=record["pairs"],
        loss=losses[-1] if losses else None,
        carried_on=record["carried_on"],
    )


def _as_json(training: AdapterTraining | None) -> dict[str, object] | None:
    return asdict(training) if training else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
