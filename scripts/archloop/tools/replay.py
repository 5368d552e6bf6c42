"""Make one candidate again from its record: prompt, answer, evaluation, verdict, each compared with what was recorded.

On a CPU of the same kind, with the same versions, all of it comes out byte for byte. On a GPU, or with other versions,
rounding may tip a token, and the training of a network ends within noise of the same accuracy: what differs is told,
and so is what was other when the candidate was made.
"""

import difflib
import itertools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archloop.corpus.admit import KNOWN_COLUMNS, admit, read_records
from archloop.corpus.draw_families import draw_families
from archloop.corpus.tables import read_candidates, read_corpus
from archloop.corpus.transfer import KEPT, transfer
from archloop.data.dataset_file import read_facts
from archloop.errors import InputError
from archloop.files import read_jsonl
from archloop.generation.write_prompts import (
    Contents,
    PromptTexts,
    References,
    any_prompt_fits,
    cycle_prompts,
    read_hints,
    read_template,
    room_for_answer,
    task_of,
)
from archloop.machine import host, versions
from archloop.settings.sections import Generation, Loading
from archloop.workflow.provenance import locate, provenance_path, read_provenance

VERDICT = (
    "outcome",
    "accuracy",
    "nearest_id",
    "nearest_similarity",
    "nearest_source",
    "graph_match_id",
)
GPU_TOLERANCE = 0.02  # of the accuracy, where both trainings were on a GPU
# What a program, its protocol, data and seed determine on a CPU.
SCORE = ("outcome", "detail", "parameters", "accuracy", "accuracy_sd", "test_accuracy")


@dataclass(frozen=True)
class Step:
    """One step of a replay: its name, whether it came out as recorded, and what to say of it."""

    name: str
    same: bool
    said: str


def replay(results: Path, identity: str, device: str, isolation: str) -> Iterator[Step]:
    """Yield the steps of a candidate's making, each made again.

    Raises InputError for an id that is no candidate, and where a file that it was made from is gone.
    """
    chain, cycle, row = find(results, identity)
    place = results / chain / f"cycle-{cycle}"
    made = _made(place / "generated" / f"{row['shard']}.jsonl")
    if made["script"] == "generate":
        yield _prompt(results, place, row)
        yield from _answer(results, made, place, row, device)
    else:
        yield _design(results, made, row)
    yield from _evaluation(results, place, row, device, isolation)
    yield _verdict(results, place, row)


def find(results: Path, identity: str) -> tuple[str, int, dict]:
    """Return (chain, cycle, row of candidates.parquet) of a candidate; raise InputError for an unknown id."""
    known = []
    for path in sorted(results.glob("*/cycle-*/candidates.parquet")):
        frame = read_candidates([path])
        known += frame["id"].to_list()
        found = frame.filter(id=identity)
        if found.height:
            return (
                path.parent.parent.name,
                int(path.parent.name.removeprefix("cycle-")),
                found.row(0, named=True),
            )
    near = difflib.get_close_matches(identity, known, n=1)
    raise InputError(
        f"{results}: no candidate {identity}" + (f"; did you mean {near[0]}?" if near else "")
    )


def _prompt(results: Path, place: Path, row: dict) -> Step:
    made = _made(place / "prompts.jsonl")
    paths = _inputs(results, made)
    template, hints = (
        next(path for path in paths if path.suffix == suffix) for suffix in (".j2", ".yaml")
    )
    options, settings = made["options"], made["settings"]["prompts"]
    shown = settings["references"]
    model = next((path for path in paths if path.name == "manifest.json"), None)
    room = (options.get("max_new_tokens"), options.get("opening"))
    contents = Contents(
        PromptTexts(read_template(template), read_hints(hints)),
        task_of(read_facts(_dataset(paths)), options["epochs"], options["parameter_budget"]),
        References(
            corpus=read_corpus(_corpora(paths)).to_dicts() if shown else [],
            count=shown,
            fits=room_for_answer(model.parent, *room) if model else any_prompt_fits,
        ),
    )
    count = row["index"] + 1
    rows = cycle_prompts(options["chain"], options["cycle"], options["seed"], count, contents)
    return _compare("prompt", rows[row["index"]]["prompt"], row["prompt"])


def _design(results: Path, made: dict, row: dict) -> Step:
    """Make a program again that no language model wrote: drawn from the families, or another chain's design."""
    options = {name: made["options"][name] for name in ("chain", "cycle", "shard", "shards")}
    if made["script"] == "draw_families":
        count, families = made["options"]["candidates"], made["options"]["families"]
        rows = draw_families(
            count=count, seed=made["options"]["seed"], families=families, **options
        )
    else:
        rows = transfer(read_corpus(_corpora(_inputs(results, made)), ("id", *KEPT)), **options)
    (again,) = (each["program"] for each in rows if each["index"] == row["index"])
    return _compare("program", again, row["program"], made)


def _answer(results: Path, made: dict, place: Path, row: dict, device: str) -> Iterator[Step]:
    from archloop.generation.generate import GenerationJob, generate

    paths = _inputs(results, made)
    model = next(path for path in paths if path.name == "manifest.json")
    adapter = next((path for path in paths if path.name == "adapter_model.safetensors"), None)
    settings = Generation(**made["settings"]["generation"])
    loading = Loading(**made["settings"]["loading"])
    asked: list[Any] = [
        each for each in read_jsonl(place / "prompts.jsonl") if each["index"] == row["index"]
    ]
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "answers.jsonl"
        job = GenerationJob(model.parent, adapter, settings, loading, kept)
        (again,), record = generate(asked, job, device)
    yield _compare("answer", again["raw"], row["raw"], made, record.device)
    yield _compare("program", again["program"] or "", row["program"] or "", made, record.device)


def _evaluation(
    results: Path, place: Path, row: dict, device: str, isolation: str
) -> Iterator[Step]:
    from archloop.evaluation.judge import Judge
    from archloop.random_seeds import derive
    from archloop.settings.sections import Evaluation

    path = place / "evaluated" / f"{row['shard']}.json"
    made = _made(path)
    (record,) = [each for each in read_records([path]) if each["id"] == row["id"]]
    with Judge(_dataset(_inputs(results, made)), device, isolation) as judge:
        seed = derive(made["options"]["seed"], "evaluate")
        settings = Evaluation(**json.loads(record["protocol"]))
        again = judge.judge(row["program"], settings, seed)
        where = judge.device
    said = f"{record['outcome']}, accuracy {record['accuracy']}"
    if all(again.get(name) == record.get(name) for name in SCORE):
        yield Step("evaluation", True, said)
        return
    said += f" on record; again {again['outcome']}, accuracy {again['accuracy']}{_why(made, where)}"
    near = again["outcome"] == record["outcome"] and None not in (
        again["accuracy"],
        record["accuracy"],
    )
    near = near and abs(again["accuracy"] - record["accuracy"]) <= GPU_TOLERANCE
    yield Step("evaluation", near and "cpu" not in (where, made["host"].get("device")), said)


def _verdict(results: Path, place: Path, row: dict) -> Step:
    made = _made(place / "candidates.parquet")
    paths = _inputs(results, made)
    candidates = [
        each for path in paths if path.parent.name == "generated" for each in read_jsonl(path)
    ]
    records = read_records(path for path in paths if path.parent.name == "evaluated")
    corpus, facts = read_corpus(_corpora(paths), KNOWN_COLUMNS), read_facts(_dataset(paths))
    whole, _ = admit(
        candidates,
        records,
        corpus,
        facts,
        made["settings"]["admission"],
        made["settings"]["novelty"],
    )
    again = whole.filter(id=row["id"]).row(0, named=True)
    differing = [name for name in VERDICT if again[name] != row[name]]
    said = f"{row['outcome']}, nearest {row['nearest_id']}"
    return Step(
        "verdict",
        not differing,
        said + (f"; {', '.join(differing)} came out otherwise" if differing else ""),
    )


def _made(output: Path) -> dict:
    return read_provenance(provenance_path(output))


def _inputs(results: Path, made: dict) -> list[Path]:
    """Return the files that a job read; raise InputError for one that is gone."""
    paths = [locate(results, name) for name in made["inputs"]]
    gone = [path for path in paths if not path.is_file()]
    if gone:
        raise InputError(f"{gone[0]}: it was made from this file, which is gone")
    return paths


def _dataset(paths: list[Path]) -> Path:
    return next(path for path in paths if path.parent.name == "datasets")


def _corpora(paths: list[Path]) -> list[Path]:
    """Return the corpus files in the order of the rules: the seed's, then by cycle."""
    found = [path for path in paths if path.name == "corpus.parquet"]
    return sorted(found, key=lambda path: int(path.parent.name.partition("-")[2] or 0))


def _compare(
    name: str, again: str, recorded: str, made: dict | None = None, where: str = "cpu"
) -> Step:
    if again == recorded:
        return Step(name, True, f"{len(recorded)} characters, byte for byte")
    place = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(again, recorded))
    )
    return Step(
        name, False, f"differs from character {place} on{_why(made, where) if made else ''}"
    )


def _why(made: dict, where: str) -> str:
    """Return what was other when a job was done, for a reader who wonders why something came out otherwise."""
    now, then = host(where), made["host"]
    other = [
        f"{key} {then.get(key)}, now {value}"
        for key, value in now.items()
        if then.get(key) != value
    ]
    installed = versions(made["versions"])
    for name, version in made["versions"].items():
        if installed.get(name) != version:
            other.append(f"{name} {version}, now {installed.get(name)}")
    return f" (made with {'; '.join(other)})" if other else ""
