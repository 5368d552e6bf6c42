"""Make candidates again from their records: prompt, answer, evaluation, verdict, each compared.

On a CPU of the same kind, with the same versions, all of it comes out byte for byte. On a GPU, or
with other versions, rounding may tip a token, and the training of a network ends within noise of
the same accuracy: what differs is told, and so is what was other when the candidate was made.
"""

import functools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from archloop.corpus.admit import KNOWN_COLUMNS, admit
from archloop.corpus.candidate_rows import (
    Candidate,
    EvaluationRecord,
    join,
    read_candidates_of_shards,
    read_evaluations,
)
from archloop.corpus.draw_families import draw_families
from archloop.corpus.tables import read_corpus
from archloop.corpus.transfer import COLUMNS, transfer
from archloop.data.dataset_file import read_metadata
from archloop.errors import InputError
from archloop.evaluation.records import Record
from archloop.files import read_jsonl
from archloop.generation.prompts import (
    PromptTexts,
    Reference,
    ShardPrompt,
    read_hints,
    read_template,
    task_of,
)
from archloop.generation.write_prompts import (
    PromptParts,
    References,
    any_prompt_fits,
    cycle_prompts,
    room_for_answer,
)
from archloop.layout import (
    CANDIDATES,
    EVALUATED,
    GENERATED,
    PROMPTS,
    Cell,
    evaluated,
    generated,
)
from archloop.machine import host, versions
from archloop.model.prepared import ADAPTER, MANIFEST
from archloop.settings.old_names import section_with_present_names
from archloop.settings.sections import (
    Admission,
    Evaluation,
    Generation,
    Loading,
    Novelty,
)
from archloop.tools.recorded import Recorded, RecordedJob, find_candidate

if TYPE_CHECKING:
    from archloop.evaluation.judge import Judge

VERDICT = (
    "outcome",
    "accuracy",
    "nearest_id",
    "nearest_similarity",
    "nearest_source",
    "graph_match_id",
)
# What a program, its protocol, data and seed determine on a CPU.
SCORE = (
    "outcome",
    "detail",
    "parameters",
    "accuracy",
    "accuracy_sd",
    "test_accuracy",
)
# How far two trainings on a GPU may end from each other, in accuracy.
GPU_TOLERANCE = 0.02


@dataclass(frozen=True)
class Step:
    """One step of a replay: its name, whether it came out as recorded, and what to say of it."""

    name: str
    same: bool
    remark: str


def replay(
    results: Path, identities: Iterable[str], device: str, isolation: str
) -> Iterator[tuple[str, Step]]:
    """Yield (id, step) for each step of each candidate's making, made again.

    Raises InputError for an id that is no candidate, and where a file that it was made from is
    gone.
    """
    with ExitStack() as stack:
        # One for all candidates of a data set, for its start takes longer than most trainings.
        @functools.cache
        def judge_of(dataset: Path) -> "Judge":
            from archloop.evaluation.judge import Judge

            return stack.enter_context(Judge(dataset, device, isolation))

        for identity in identities:
            for step in _steps(find_candidate(results, identity), device, judge_of):
                yield identity, step


def _steps(recorded: Recorded, device: str, judge_of: Callable[[Path], "Judge"]) -> Iterator[Step]:
    shard = recorded.row["shard"]
    job = recorded.job(generated(shard))
    if job.script == "generate":
        yield replay_prompt(recorded)
        yield from _answer(recorded, job, device)
    else:
        yield _design(recorded, job)

    yield _evaluation(recorded, judge_of)
    yield _verdict(recorded)


def replay_prompt(recorded: Recorded) -> Step:
    """Write the prompt of a candidate again."""
    job = recorded.job(PROMPTS)
    options = job.options
    template = read_template(_by_suffix(job, ".j2"))
    hints = read_hints(_by_suffix(job, ".yaml"))
    metadata = read_metadata(job.dataset())
    shown = job.settings["prompts"]["references"]
    fits: Callable[[str], bool] = any_prompt_fits
    model = job.input(MANIFEST)
    if model is not None:
        answer = section_with_present_names("generation", options)
        fits = room_for_answer(model.parent, answer["max_new_tokens"], answer["response_prefix"])

    # Tables of the corpus are large; most prompts show none of it.
    corpus = read_corpus(job.corpora()).to_dicts() if shown else []
    contents = PromptParts(
        PromptTexts(template, hints),
        task_of(metadata, options["epochs"], options["parameter_budget"]),
        References(
            corpus=cast(list[Reference], corpus),
            count=shown,
            fits=fits,
        ),
    )
    chain, cycle, seed = options["chain"], options["cycle"], options["seed"]
    index = recorded.row["index"]
    rows = cycle_prompts(chain, cycle, seed, index + 1, contents)
    return _compare("prompt", rows[index]["prompt"], recorded.row["prompt"])


def _by_suffix(job: RecordedJob, suffix: str) -> Path:
    matching = [path for path in job.inputs if path.suffix == suffix]
    return matching[0]


def _design(recorded: Recorded, job: RecordedJob) -> Step:
    """Make a program again that no language model wrote: drawn, or another chain's design."""
    options = job.options
    cell = Cell(options["chain"], options["cycle"])
    position = {name: options[name] for name in ("shard", "shards")}
    if job.script == "draw_families":
        candidates = draw_families(
            cell,
            count=options["candidates"],
            seed=options["seed"],
            families=options["families"],
            **position,
        )
    else:
        designs = read_corpus(job.corpora(), COLUMNS)
        candidates = transfer(designs, cell, **position)

    program = _of_index(candidates, recorded.row["index"])["program"]
    return _compare("program", program, recorded.row["program"], job)


def _of_index(candidates: list[Candidate], index: int) -> Candidate:
    return next(candidate for candidate in candidates if candidate["index"] == index)


def _answer(recorded: Recorded, job: RecordedJob, device: str) -> Iterator[Step]:
    from archloop.generation.generate import GenerationJob, generate

    row = recorded.row
    model = job.input(MANIFEST)
    if model is None:
        raise InputError(f"{recorded.cycle_folder}: a job of generate names no model")
    adapter = job.input(ADAPTER)
    prompts = cast(list[ShardPrompt], read_jsonl(recorded.cycle_folder / PROMPTS))
    asked = [prompt for prompt in prompts if prompt["index"] == row["index"]]
    settings = job.section(Generation)
    loading = job.section(Loading)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "answers.jsonl"
        work = GenerationJob(model.parent, adapter, settings, loading, log)
        (again,), record = generate(asked, work, device)

    device = record.device
    yield _compare("answer", again["raw"], row["raw"], job, device)
    yield _compare("program", again["program"], row["program"], job, device)


def _evaluation(recorded: Recorded, judge_of: Callable[[Path], "Judge"]) -> Step:
    from archloop.random_seeds import derive

    row = recorded.row
    output = evaluated(row["shard"])
    job = recorded.job(output)
    evaluations = read_evaluations([recorded.cycle_folder / output])
    by_id = {evaluation["id"]: evaluation for evaluation in evaluations}
    record = by_id[row["id"]]
    judge = judge_of(job.dataset())
    seed = derive(job.options["seed"], "evaluate")
    settings = Evaluation(**json.loads(record["protocol"]))
    again = judge.judge(row["program"], settings, seed)

    remark = _score(record["outcome"], record["accuracy"])
    differing = [name for name in SCORE if again.get(name) != record.get(name)]
    if not differing:
        return Step("evaluation", True, remark)
    now = _score(again["outcome"], again["accuracy"])
    remark += f" on record; again {now}{_differences(job, judge.device)}"
    on_gpus = "cpu" not in (judge.device, job.host.get("device"))
    same = on_gpus and _within_noise(record, again)
    return Step("evaluation", same, remark)


def _score(outcome: str, accuracy: float | None) -> str:
    return f"{outcome}, accuracy {accuracy}"


def _within_noise(record: EvaluationRecord, again: Record) -> bool:
    """Say whether a training on a GPU came out as well as one can expect."""
    before, now = record["accuracy"], again["accuracy"]
    if before is None or now is None:
        return False
    if again["outcome"] != record["outcome"]:
        return False
    return abs(now - before) <= GPU_TOLERANCE


def _verdict(recorded: Recorded) -> Step:
    row = recorded.row
    job = recorded.job(CANDIDATES)
    candidates = read_candidates_of_shards(job.inputs_in(GENERATED))
    evaluations = read_evaluations(job.inputs_in(EVALUATED))
    table, _ = admit(
        join(candidates, evaluations),
        read_corpus(job.corpora(), KNOWN_COLUMNS),
        read_metadata(job.dataset()),
        job.section(Admission),
        job.section(Novelty),
    )

    rows = table.filter(id=row["id"])
    again = rows.row(0, named=True)
    on_record: Mapping[str, object] = row
    differing = [name for name in VERDICT if again[name] != on_record[name]]
    remark = f"{row['outcome']}, nearest {row['nearest_id']}"
    if differing:
        remark += f"; {', '.join(differing)} came out otherwise"
    return Step("verdict", not differing, remark)


def _compare(
    name: str,
    again: str | None,
    recorded: str | None,
    job: RecordedJob | None = None,
    device: str = "cpu",
) -> Step:
    again, recorded = again or "", recorded or ""
    if again == recorded:
        return Step(name, True, f"{len(recorded)} characters, byte for byte")
    common = 0
    for character, of_record in zip(again, recorded):
        if character != of_record:
            break
        common += 1
    differences = "" if job is None else _differences(job, device)
    return Step(name, False, f"differs from character {common} on{differences}")


def _differences(job: RecordedJob, device: str) -> str:
    """Return what was other when a job was done, for a reader who wonders what changed."""
    then = job.host
    changes = []
    for key, value in host(device).items():
        if then.get(key) != value:
            before_value = then.get(key)
            changes.append(f"{key} {before_value}, now {value}")

    before = job.versions
    installed = versions(before)
    for name, version in before.items():
        now = installed.get(name)
        if now != version:
            changes.append(f"{name} {version}, now {now}")

    listed = "; ".join(changes)
    return f" (made with {listed})" if changes else ""
